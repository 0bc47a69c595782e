"""Reads detection data sets in COCO's JSON format (https://cocodataset.org/#format-data)."""

from __future__ import annotations

import json
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
    read_text,
    unknown_class,
)
from sapwood.data.images import read_image
from sapwood.errors import DataError, ImageError
from sapwood.types import DetectionDataset, DetectionSample

LAYOUT = "annotations/instances_<split>.json and images/<split>/ (COCO)"


def annotation_files(root: Path) -> dict[str, Path]:
    """Returns the JSON files of a COCO folder by split, ``instances_`` ones where there are any.

    Examples:
        >>> annotation_files(Path("nowhere"))
        {}
    """
    files = sorted((root / "annotations").glob("*.json"))
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
            partial(read_image, path),
        )
        for (key, (path, _)), image_id in zip(pictures.items(), image_ids(files), strict=True)
    ]
    return DetectionDataset(file.stem, tuple(samples), classes.class_names, tuple(findings.skipped))


@dataclass(frozen=True)
class _Reader:
    """What reading one annotation needs to know."""

    file: Path
    categories: list[tuple[Any, str]]
    classes: ClassMap
    pictures: Mapping[Any, tuple[Path, tuple[int, int]]]
    findings: Findings


def _read(file: Path) -> Mapping[str, Any]:
    expected = "COCO annotations in JSON"
    try:
        record = json.loads(read_text(file, expected))
    except json.JSONDecodeError as error:
        raise DataError(f"{file}:{error.lineno}: is not JSON ({error.msg}); expected {expected}") from error
    wanted = ("images", "annotations", "categories")
    if not isinstance(record, dict) or not all(isinstance(record.get(key), list) for key in wanted):
        raise DataError(f"{file}: expected a JSON object with the lists {', '.join(wanted)}")
    for key in wanted:
        if not all(isinstance(entry, dict) for entry in record[key]):
            raise DataError(f"{file}: {key} holds something that is not an object")
    return record


def _categories(record: Mapping[str, Any], file: Path) -> list[tuple[Any, str]]:
    """(id, name) of each category, by ascending id: the ids of COCO have gaps."""
    try:
        categories = sorted((int(entry["id"]), str(entry["name"])) for entry in record["categories"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{file}: a category without a whole-number id and a name ({error})") from error
    if not categories:
        raise DataError(f"{file}: holds no categories")
    return list(categories)


def _pictures(record: Mapping[str, Any], file: Path, findings: Findings) -> dict[Any, tuple[Path, tuple[int, int]]]:
    """Path and (height, width) of each picture, by the id that annotations use."""
    sizes: dict[Any, tuple[str, tuple[int, int]]] = {}
    for number, entry in enumerate(record["images"]):
        try:
            name, size = str(entry["file_name"]), (int(entry["height"]), int(entry["width"]))
        except (KeyError, TypeError, ValueError) as error:
            findings.bad(f"{file}: images[{number}]: needs id, file_name, height and width ({error!r})")
            continue
        key = _identifier(entry, "id")
        if key is None or min(size) < 1:
            findings.bad(
                f"{file}: images[{number}]: id {key!r}, height {size[0]}, width {size[1]}; expected positive sizes"
            )
            continue
        if key in sizes:
            raise DataError(f"{file}: images[{number}]: id {key} is there twice")
        sizes[key] = (name, size)
    if not record["images"]:
        raise DataError(f"{file}: holds no pictures")
    folder = _picture_folder(file, [name for name, _ in sizes.values()])
    found = {}
    for key, (name, size) in sizes.items():
        if (folder / name).is_file():
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
        if folder.is_dir() and any((folder / name).is_file() for name in names):
            return folder
    looked = ", ".join(str(folder) for folder in candidates)
    raise DataError(f"{file}: none of its {len(names)} pictures is there; looked in {looked}")


def _boxes_by_picture(record: Mapping[str, Any], reader: _Reader) -> Mapping[Any, list[tuple[Box, int, bool]]]:
    rows: dict[Any, list[tuple[Box, int, bool]]] = defaultdict(list)
    listed = {_identifier(entry, "id") for entry in record["images"]}
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
        return None, f"image_id {entry.get('image_id')!r} is no picture of the file"
    if category_id not in index:
        return None, f"category_id {entry.get('category_id')!r} is no category of the file"
    category = index[category_id]
    label = reader.classes.label_of[category]
    if label is None:
        return None, unknown_class(reader.classes.own_names[category], reader.classes.class_names)
    try:
        x, y, width, height = (float(value) for value in entry["bbox"])
    except (KeyError, TypeError, ValueError):
        return None, f"bbox {entry.get('bbox')!r}; expected four numbers x, y, width, height"
    size = reader.pictures[key][1]
    box = (x, y, x + width, y + height)
    problem = box_problem(box, size)
    return (None, problem) if problem else ((clipped(box, size), label, bool(entry.get("iscrowd", 0))), "")


def _identifier(entry: Mapping[str, Any], name: str) -> Any:
    """The id under ``name``, or None where there is none that could be one."""
    value = entry.get(name)
    return value if isinstance(value, (int, str)) else None
