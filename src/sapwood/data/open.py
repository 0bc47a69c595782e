"""Recognises a detection data set by its content and opens it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sapwood.data.checks import Findings, OnBad
from sapwood.data.formats import BUILT_IN, FORMATS, Opener, built_in, file_form, file_forms, folder_forms
from sapwood.data.places import entries, exists, is_dir
from sapwood.data.splits import joined
from sapwood.errors import DataError, NoDataSetError
from sapwood.meant import meant_path
from sapwood.reading import naming
from sapwood.types import DetectionDataset


def open_detection(
    path: str | Path,
    *,
    split: str = "val",
    class_names: Sequence[str] = (),
    on_bad: OnBad = "error",
) -> DetectionDataset:
    """Opens a detection data set: COCO json, YOLO txt or Pascal VOC xml, recognised by what ``path`` holds.

    Args:
        path: A folder, an annotation file (``.json``, ``data.yaml``, ``.data``), or ``"digits"`` for the built-in one.
        split: Which part, or several as ``"train+val"``. A ``.json`` file is one split by itself.
        class_names: The model's class names, so that labels are the model's class numbers. Classes are matched by name;
            where no name matches, the data set's own order is kept.
        on_bad: ``"error"`` stops at the first bad annotation, ``"skip"`` leaves it out and lists it in ``skipped``.

    Returns:
        The pictures in a fixed order; pixels are read when a sample's ``load`` is called.

    Raises:
        DataError: If nothing is recognised, the split is missing or empty, or an annotation is bad.
        ConfigError: If ``on_bad`` is neither value.
    """
    Findings(on_bad)
    form = file_form(Path(path))
    parted = form is None or form.parted
    return joined(split, class_names, lambda part, names: _open_part(path, part, names, on_bad), parted=parted)


def _open_part(path: str | Path, split: str, class_names: Sequence[str], on_bad: OnBad) -> DetectionDataset:
    made = built_in(path)
    if made is not None:
        return made(split)
    with naming(path):
        dataset = _opener(Path(path))(split, class_names, on_bad)
    if not dataset.samples:
        reason = f"; the first of {len(dataset.skipped)} reasons: {dataset.skipped[0]}" if dataset.skipped else ""
        raise DataError(f"{path}: no picture is left in split {split!r}{reason}")
    return dataset


def _opener(path: Path) -> Opener:
    """What opens the splits of what a path holds."""
    if not exists(path):
        named = " or ".join(map(repr, BUILT_IN))
        meant = BUILT_IN.meant(path) or meant_path(path)
        raise DataError(f"{path}: no such file or folder; expected a data set, or {named} for the built-in one{meant}")
    if is_dir(path):
        return _folder_opener(path)
    form = file_form(path)
    if form is None:
        *first, last = ("a folder", *(known.title for known in file_forms()))
        raise DataError(f"{path}: not a data set; expected {', '.join(first)} or {last}")
    return form.read(path)


def _folder_opener(root: Path) -> Opener:
    for form in folder_forms():
        opener = form.recognise(root)
        if opener is not None:
            return opener
    there = sorted(path.name + ("/" if is_dir(path) else "") for path in entries(root))
    held = ", ".join(there[:8]) + (f" and {len(there) - 8} more" if len(there) > 8 else "") if there else "nothing"
    layouts = "; ".join(FORMATS[name].layout for name in FORMATS)
    raise NoDataSetError(f"{root}: no data set recognised. It holds {held}; expected one of: {layouts}")
