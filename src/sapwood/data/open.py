"""Recognises a detection data set by its content and opens it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sapwood.data import coco_json, voc_xml, yolo_txt
from sapwood.data.checks import Findings, OnBad
from sapwood.data.digits import digits_dataset
from sapwood.data.places import entries, exists, is_dir, is_file
from sapwood.data.splits import joined
from sapwood.errors import DataError, NoDataSetError
from sapwood.reading import naming
from sapwood.types import DetectionDataset

DIGITS = "digits"
_LAYOUTS = (coco_json.LAYOUT, voc_xml.LAYOUT, yolo_txt.LAYOUT)


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
    parted = Path(path).suffix.lower() != ".json"
    return joined(split, class_names, lambda part, names: _open_part(path, part, names, on_bad), parted=parted)


def _open_part(path: str | Path, split: str, class_names: Sequence[str], on_bad: OnBad) -> DetectionDataset:
    if str(path) == DIGITS:
        return digits_dataset(split)
    with naming(path):
        dataset = _open(Path(path), split, class_names, on_bad)
    if not dataset.samples:
        reason = f"; the first of {len(dataset.skipped)} reasons: {dataset.skipped[0]}" if dataset.skipped else ""
        raise DataError(f"{path}: no picture is left in split {split!r}{reason}")
    return dataset


def _open(path: Path, split: str, class_names: Sequence[str], on_bad: OnBad) -> DetectionDataset:
    if not exists(path):
        raise DataError(f"{path}: no such file or folder; expected a data set, or {DIGITS!r} for the built-in one")
    if is_dir(path):
        return _open_folder(path, split, class_names, on_bad)
    suffix = path.suffix.lower()
    if suffix == ".json":
        return coco_json.open_coco_json(path, class_names, on_bad)
    if suffix in (".yaml", ".yml"):
        return yolo_txt.open_yolo(yolo_txt.yaml_source(path), split, class_names, on_bad)
    if suffix == ".data":
        return yolo_txt.open_yolo(yolo_txt.darknet_source(path), split, class_names, on_bad)
    raise DataError(f"{path}: not a data set; expected a folder, a .json, a data.yaml or a .data file")


def _open_folder(root: Path, split: str, class_names: Sequence[str], on_bad: OnBad) -> DetectionDataset:
    if is_file(root / "data.yaml"):
        return yolo_txt.open_yolo(yolo_txt.yaml_source(root / "data.yaml"), split, class_names, on_bad)
    if coco_json.annotation_files(root):
        return coco_json.open_coco_folder(root, split, class_names, on_bad)
    if is_dir(root / "Annotations") and is_dir(root / "JPEGImages"):
        return voc_xml.open_voc(root, split, class_names, on_bad)
    source = yolo_txt.folder_source(root)
    if source is not None:
        return yolo_txt.open_yolo(source, split, class_names, on_bad)
    there = sorted(path.name + ("/" if is_dir(path) else "") for path in entries(root))
    held = ", ".join(there[:8]) + (f" and {len(there) - 8} more" if len(there) > 8 else "") if there else "nothing"
    raise NoDataSetError(f"{root}: no data set recognised. It holds {held}; expected one of: " + "; ".join(_LAYOUTS))
