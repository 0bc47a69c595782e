"""Reads detection data sets in COCO's JSON format (https://cocodataset.org/#format-data)."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sapwood.data.checks import (
    Box,
    ClassMap,
    Findings,
    OnBad,
    box_problem,
    clipped,
    image_ids,
    map_classes,
    unknown_class,
    whole,
)
from sapwood.data.formats import FORMATS, FileForm, FolderForm, Format, Opener
from sapwood.data.images import read_image
from sapwood.data.places import entries, is_dir, is_file, leads_out
from sapwood.errors import DataError, ImageError
from sapwood.reading import read_json, shown
from sapwood.types import DetectionDataset, DetectionSample, Picture

_CROWD: Mapping[int | None, bool] = {0: False, 1: True}


def annotation_files(root: Path) -> dict[str, Path]:
    """Returns the JSON files of a COCO folder by split, ``instances_`` ones where there are any.

    Examples:
        >>> annotation_files(Path("nowhere"))
        {}
    """
    folder = root / "annotations"
    files = [file for file in entries(folder) if file.suffix == ".json"] if is_dir(folder) else []
    instances = [file for file in files if file.stem.startswith("instances_")]
    return {file.stem.removeprefix("instances_"): file for file in instances or files}


def open_coco_folder(root: Path, split: str, class_names: Sequence[str], on_bad: OnBad) -> DetectionDataset:
    """Opens the split of a folder that holds ``annotations/*.json``; ``val`` finds ``instances_val2017.json`` as well.

    Raises:
        DataError: If there is no such split, or as :func:`open_coco_json`.
    """
    files = annotation_files(root)
    fitting = [name for name in files if name == split] or [name for name in files if name.startswith(split)]
    if not fitting:
        raise DataError(f"{root}: no split {split!r}; annotations/ holds the splits {', '.join(sorted(files))}")
    if len(fitting) > 1:
        raise DataError(f"{root}: split {split!r} may be any of {', '.join(sorted(fitting))}; name one of them")
    return open_coco_json(files[fitting[0]], class_names, on_bad)


def open_coco_json(file: Path, class_names: Sequence[str], on_bad: OnBad) -> DetectionDataset:
    """Opens one COCO annotation file; its pictures are looked for where COCO and its users put them.

    Args:
        file: JSON with ``images``, ``annotations`` and ``categories``. ``iscrowd`` boxes become difficult ones.
        class_names: The model's class names, empty for unknown. Categories map to them by name.
        on_bad: What a bad annotation or a missing picture does.

    Raises:
        DataError: If the file is not such JSON, holds no pictures, or (``on_bad="error"``) an entry is bad.
    """
    findings = Findings(on_bad)
    record = _read(file)
    categories = _categories(record, file)
    classes = map_classes([name for _, name in categories], class_names)
    pictures = _pictures(record, file, findings)
    rows = _boxes_by_picture(record, _Reader(file, categories, classes, pictures, findings))
    files = [path for path, _ in pictures.values()]
    samples = [
        DetectionSample(
            image_id,
            np.array([box for box, _, _ in rows[key]], np.float32).reshape(-1, 4),
            np.array([label for _, label, _ in rows[key]], np.int64),
            np.array([crowd for _, _, crowd in rows[key]], np.bool_),
            partial(_read_picture, path, size, file),
            crowd=True,
        )
        for (key, (path, size)), image_id in zip(pictures.items(), image_ids(files), strict=True)
    ]
    return DetectionDataset(file.stem, tuple(samples), classes.class_names, tuple(findings.skipped))


def _read_picture(path: Path, size: tuple[int, int], file: Path) -> Picture:
    """The picture, which must be as large as its annotations say: its boxes were checked against that."""
    picture = read_image(path)
    if picture.shape[:2] != size:
        found = f"{picture.shape[1]} x {picture.shape[0]} pixels"
        raise ImageError(f"{path}: has {found}; {file.name} says {size[1]} x {size[0]}, and its boxes lie in that")
    return picture


@dataclass(frozen=True)
class _Reader:
    """What reading one annotation needs to know."""

    file: Path
    categories: list[tuple[Any, str]]
    classes: ClassMap
    pictures: Mapping[Any, tuple[Path, tuple[int, int]]]
    findings: Findings


def _read(file: Path) -> Mapping[str, Any]:
    record = read_json(file, "COCO annotations in JSON", DataError)
    wanted = ("images", "annotations", "categories")
    if not isinstance(record, dict) or not all(isinstance(record.get(key), list) for key in wanted):
        raise DataError(f"{file}: expected a JSON object with the lists {', '.join(wanted)}")
    for key in wanted:
        if not all(isinstance(entry, dict) for entry in record[key]):
            raise DataError(f"{file}: {key} holds something that is not an object")
    return record


def _categories(record: Mapping[str, Any], file: Path) -> list[tuple[int, str]]:
    """(id, name) of each category, by ascending id: the ids of COCO have gaps."""
    categories: dict[int, str] = {}
    for number, entry in enumerate(record["categories"]):
        key, name = whole(entry.get("id")), entry.get("name")
        if key is None or not isinstance(name, str):
            came = f"id {shown(entry.get('id'))} and name {shown(name)}"
            raise DataError(f"{file}: categories[{number}]: a category without a whole-number id and a name: {came}")
        if key in categories:
            raise DataError(f"{file}: categories[{number}]: id {key} is there twice")
        categories[key] = name
    if not categories:
        raise DataError(f"{file}: holds no categories")
    return sorted(categories.items())


def _pictures(record: Mapping[str, Any], file: Path, findings: Findings) -> dict[Any, tuple[Path, tuple[int, int]]]:
    """Path and (height, width) of each picture, by the id that annotations use."""
    sizes: dict[Any, tuple[str, tuple[int, int]]] = {}
    for number, entry in enumerate(record["images"]):
        row, problem = _picture(entry)
        if row is None:
            findings.bad(f"{file}: images[{number}]: {problem}")
            continue
        key, name, size = row
        if key in sizes:
            raise DataError(f"{file}: images[{number}]: id {key} is there twice")
        sizes[key] = (name, size)
    if not record["images"]:
        raise DataError(f"{file}: holds no pictures")
    return _found(sizes, file, findings)


def _picture(entry: Mapping[str, Any]) -> tuple[tuple[Any, str, tuple[int, int]] | None, str]:
    """Id, name and (height, width) of a picture, or None and what is wrong with its entry."""
    if not all(key in entry for key in ("id", "file_name", "height", "width")):
        there = ", ".join(map(str, entry))
        return None, f"needs id, file_name, height and width; got {there[:200] or 'nothing'}"
    key, name = _identifier(entry, "id"), entry["file_name"]
    height, width = whole(entry["height"]), whole(entry["width"])
    if not isinstance(name, str):
        return None, f"file_name {shown(name)}; expected text"
    if key is None or height is None or width is None or height < 1 or width < 1:
        came = (f"{name} {shown(entry[name])}" for name in ("id", "height", "width"))
        return None, f"{', '.join(came)}; expected positive sizes, and a whole number or text as id"
    return (key, name, (height, width)), ""


def _found(
    sizes: Mapping[Any, tuple[str, tuple[int, int]]], file: Path, findings: Findings
) -> dict[Any, tuple[Path, tuple[int, int]]]:
    """The pictures that are there, each below the folder of pictures, or the one above the file's own."""
    folder = _picture_folder(file, [name for name, _ in sizes.values()])
    around = Path(os.path.abspath(file)).parent.parent
    found = {}
    for key, (name, size) in sizes.items():
        if leads_out(name, folder, around):
            findings.bad(f"{file}: the picture {shown(name)} leads out of the data set; expected one in {folder}")
        elif is_file(folder / name):
            found[key] = (folder / name, size)
        else:
            findings.bad(f"{folder / name}: no such file; {file.name} lists it as a picture", ImageError)
    return found


def _picture_folder(file: Path, names: Sequence[str]) -> Path:
    """The first folder, of those where COCO pictures are usually put, that holds any of them."""
    root = file.parent.parent if file.parent.name == "annotations" else file.parent
    tag = file.stem.removeprefix("instances_")
    candidates = (root / "images" / tag, root / tag, root / "images", root, file.parent, root.parent / "images" / tag)
    for folder in candidates:
        if is_dir(folder) and any(is_file(folder / name) for name in names):
            return folder
    looked = ", ".join(str(folder) for folder in candidates)
    raise DataError(f"{file}: none of its {len(names)} pictures is there; looked in {looked}")


def _boxes_by_picture(record: Mapping[str, Any], reader: _Reader) -> Mapping[Any, list[tuple[Box, int, bool]]]:
    rows: dict[Any, list[tuple[Box, int, bool]]] = defaultdict(list)
    listed = {_identifier(entry, "id") for entry in record["images"]} - {None}
    index = {key: position for position, (key, _) in enumerate(reader.categories)}
    for number, entry in enumerate(record["annotations"]):
        key = _identifier(entry, "image_id")
        if key in listed and key not in reader.pictures:
            continue  # the picture itself was found bad, and said so
        row, problem = _annotation(entry, index, reader)
        if row is None:
            reader.findings.bad(f"{reader.file}: annotations[{number}]: {problem}")
        else:
            rows[key].append(row)
    return rows


def _annotation(
    entry: Mapping[str, Any], index: Mapping[Any, int], reader: _Reader
) -> tuple[tuple[Box, int, bool] | None, str]:
    """The box, label and crowd flag of one annotation, or None and what is wrong with it."""
    key, category_id = _identifier(entry, "image_id"), _identifier(entry, "category_id")
    if key not in reader.pictures:
        return None, f"image_id {shown(entry.get('image_id'))} is no picture of the file"
    if category_id not in index:
        return None, f"category_id {shown(entry.get('category_id'))} is no category of the file"
    category = index[category_id]
    label = reader.classes.label_of[category]
    if label is None:
        return None, unknown_class(reader.classes.own_names[category], reader.classes.class_names)
    edges, crowd = _edges(entry.get("bbox")), _is_crowd(entry.get("iscrowd"))
    if edges is None:
        return None, f"bbox {shown(entry.get('bbox'))}; expected four numbers x, y, width, height"
    if crowd is None:
        return None, f"iscrowd {shown(entry['iscrowd'])}; expected 0 or 1"
    size = reader.pictures[key][1]
    problem = box_problem(edges, size)
    return (None, problem) if problem else ((clipped(edges, size), label, crowd), "")


def _edges(bbox: Any) -> Box | None:
    """The edges x1, y1, x2, y2 of a box x, y, width, height, or None where it is not four numbers."""
    if not isinstance(bbox, list) or len(bbox) != 4 or any(isinstance(value, bool) for value in bbox):
        return None
    try:
        x, y, width, height = (float(value) for value in bbox if isinstance(value, int | float))
    except (ValueError, OverflowError):
        return None
    return x, y, x + width, y + height


def _is_crowd(value: Any) -> bool | None:
    """Whether ``iscrowd`` says so, or None where it says neither."""
    if value is None or isinstance(value, bool):
        return bool(value)
    return _CROWD.get(whole(value))


def _identifier(entry: Mapping[str, Any], name: str) -> int | str | None:
    """The id under ``name``, or None where there is none that could be one."""
    value = entry.get(name)
    return value if isinstance(value, str) else whole(value)


def _recognise(root: Path) -> Opener | None:
    return partial(open_coco_folder, root) if annotation_files(root) else None


def _from_file(file: Path) -> Opener:
    return lambda split, class_names, on_bad: open_coco_json(file, class_names, on_bad)


FORMATS.register("coco")(
    Format(
        title="COCO json",
        layout="annotations/instances_<split>.json and images/<split>/ (COCO)",
        folders=(FolderForm(20, _recognise),),
        files=(FileForm("a .json", (".json",), _from_file, parted=False),),
    )
)
