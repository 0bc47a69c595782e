"""Opens classification data sets laid out as a folder a class."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from sapwood.data.checks import Findings, OnBad, image_ids, map_classes, ordered_names, unknown_class
from sapwood.data.images import read_image
from sapwood.data.places import entries, exists, is_dir, pictures_below
from sapwood.data.splits import joined
from sapwood.errors import DataError, NoDataSetError
from sapwood.meant import meant_path
from sapwood.types import ClassificationDataset, ClassificationSample

_SPLITS = ("train", "val", "valid", "validation", "test")


def open_classification(
    path: str | Path,
    *,
    split: str = "val",
    class_names: Sequence[str] = (),
    on_bad: OnBad = "error",
) -> ClassificationDataset:
    """Opens ``root/<split>/<class>/*``, or ``root/<class>/*`` where the root has no splits.

    Args:
        path: The root folder.
        split: Which part, or several as ``"train+val"``; ignored where the root has no splits.
        class_names: The model's class names. Folders map to them by name; where no name matches, the sorted folders are
            the classes 0, 1, ...
        on_bad: What a folder that is none of the model's classes does, where others are.

    Returns:
        The pictures in a fixed order; pixels are read when a sample's ``load`` is called.

    Raises:
        DataError: If the folder, the split or all pictures are missing, or (``on_bad="error"``) a folder is bad.
    """
    root = Path(path)
    parted = any(is_dir(root / name) for name in _SPLITS)
    return joined(split, class_names, lambda part, names: _open_part(root, part, names, on_bad), parted=parted)


def _open_part(root: Path, split: str, class_names: Sequence[str], on_bad: OnBad) -> ClassificationDataset:
    findings = Findings(on_bad)
    if not is_dir(root):
        reason = "is a file" if exists(root) else "no such folder"
        raise DataError(f"{root}: {reason}; expected a folder of classes{meant_path(root)}")
    folder = _split_folder(root, split)
    folders = [entry for entry in entries(folder) if is_dir(entry) and not entry.name.startswith(".")]
    if not folders:
        raise NoDataSetError(f"{folder}: holds no folders; expected one a class, with pictures in it")
    classes = map_classes([entry.name for entry in folders], class_names)
    files: list[tuple[Path, int]] = []
    for entry, label in zip(folders, classes.label_of, strict=True):
        pictures = pictures_below(entry)
        if label is None:
            findings.bad(f"{entry}: {unknown_class(entry.name, classes.class_names)}")
        else:
            files += [(file, label) for file in pictures]
    if not files:
        raise DataError(f"{folder}: its {len(folders)} class folders hold no pictures")
    ids = image_ids([file.relative_to(folder) for file, _ in files])
    samples = [
        ClassificationSample(image_id, label, partial(read_image, file))
        for image_id, (file, label) in zip(ids, files, strict=True)
    ]
    name = root.name if folder == root else f"{root.name} {folder.name}"
    ordered = ordered_names(classes.own_names, class_names)
    return ClassificationDataset(name, tuple(samples), classes.class_names, tuple(findings.skipped), ordered)


def _split_folder(root: Path, split: str) -> Path:
    wanted = (split, "valid", "validation") if split == "val" else (split,)
    for name in wanted:
        if is_dir(root / name):
            return root / name
    there = [name for name in _SPLITS if is_dir(root / name)]
    if there:
        raise DataError(f"{root}: no split {split!r}; it has the splits: {', '.join(there)}")
    return root
