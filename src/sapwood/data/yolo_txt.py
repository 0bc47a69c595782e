"""Reads detection data sets with a text file a picture, a line ``class cx cy w h`` a box, in fractions of the picture.

Three ways to say where they are: the folders ``images/<split>`` and ``labels/<split>``; a ``data.yaml``; a Darknet
``.data`` file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

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
from sapwood.data.data_yaml import DataYaml, check_count, read_data_yaml
from sapwood.data.formats import FORMATS, FileForm, FolderForm, Format, Opener
from sapwood.data.images import picture_size, read_image
from sapwood.data.places import entries, exists, is_dir, is_file, pictures_below
from sapwood.errors import DataError, ImageError
from sapwood.limits import check_limit, limit
from sapwood.meant import meant_path
from sapwood.reading import MAX_DIGITS, parse_number, parse_whole, shown
from sapwood.types import DetectionDataset, DetectionSample

_SPLIT_NAMES = {
    "val": ("val", "valid", "validation"),
    "valid": ("valid", "val"),
    "train": ("train",),
    "test": ("test",),
}
_PICTURE_FOLDERS = ("images", "JPEGImages")
_LABEL_LINE = re.compile(r"\s*\d+(\s+[-+.\deE]+){4}")
_UP = "../"
_CORNERS = 6
"""Numbers of the smallest outline: three corners."""

_ROUNDING = 1e-3
"""How far outside [0, 1] a written coordinate may be: label files are rounded to as few as three digits."""


@dataclass(frozen=True)
class YoloSource:
    """Where the parts of a YOLO data set are.

    Attributes:
        name: For reports.
        splits: For each split the folders of its pictures, or files that list them.
        class_names: Empty where the data set does not say.
        num_keypoint_values: How many numbers of key points follow a box in a line of labels.
        polygons: Whether more than four numbers are the corners of an outline, of which the box is taken.
        elsewhere: What to say of a place that is not there.
    """

    name: str
    splits: Mapping[str, tuple[Path, ...]]
    class_names: tuple[str, ...] = ()
    num_keypoint_values: int = 0
    polygons: bool = False
    elsewhere: str = ""


def folder_source(root: Path) -> YoloSource | None:
    """Recognises ``images/<split>`` with ``labels/``, or ``<split>/images`` with ``<split>/labels``; else None."""
    if is_dir(root / "images") and is_dir(root / "labels"):
        splits = {folder.name: (folder,) for folder in _subfolders(root / "images")}
    else:
        splits = {
            folder.name: (folder / "images",)
            for folder in _subfolders(root)
            if is_dir(folder / "images") and is_dir(folder / "labels")
        }
    return YoloSource(_called(root), splits, _listed_names(root)) if splits else None


def yaml_source(file: Path) -> YoloSource:
    """Reads a ``data.yaml``: ``path`` (optional), ``train``/``val``/``test`` (folders or lists of pictures), ``names``.

    Raises:
        DataError: If it is not such YAML; the message names the key.
    """
    said = read_data_yaml(file)
    folders = (file.parent / said.root, file.parent)
    splits = {split: tuple(_place_in_yaml(place, folders) for place in places) for split, places in said.splits.items()}
    keypoints = said.num_keypoint_values
    elsewhere = _elsewhere(said, folders[0], file)
    return YoloSource(_called(file.parent), splits, said.class_names, keypoints, not keypoints, elsewhere)


def _place_in_yaml(place: str, folders: Sequence[Path]) -> Path:
    """A place of a ``data.yaml``; where ``../`` leads nowhere it is left out, as Ultralytics does for archives."""
    found = _first_existing(place, folders)
    if exists(found) or not place.startswith(_UP):
        return found
    inside = _first_existing(place.removeprefix(_UP), folders)
    return inside if exists(inside) else found


def _elsewhere(said: DataYaml, root: Path, file: Path) -> str:
    """What to say of a place that a ``data.yaml`` names, and that is not there."""
    hints = []
    if said.root and not exists(root):
        hints.append(
            f"path: {said.root} of {file.name} is not there, counted from its folder (Ultralytics looks in its "
            "datasets_dir as well): write it whole"
        )
    if said.downloads:
        hints.append("its download: is not followed, nothing is downloaded")
    return "".join(f"; {hint}" for hint in hints)


def _called(folder: Path) -> str:
    return folder.name or folder.resolve().name


def darknet_source(file: Path) -> YoloSource:
    """Reads Darknet's ``.data``: ``train =``, ``valid =`` (files that list pictures) and ``names =``.

    Raises:
        DataError: If a line is not ``key = value``.
    """
    options = {}
    for number, line in enumerate(read_text(file, "a Darknet .data file").split("\n"), start=1):
        text = line.split("#")[0].strip()
        key, equals, value = (part.strip() for part in text.partition("="))
        if text and not equals:
            raise DataError(f"{file}:{number}: {text!r}; expected key = value")
        options[key] = value
    if "classes" in options:
        check_count(_whole_or_text(options["classes"]), "classes", str(file))
    folders = (file.parent, file.parent.parent, Path())
    splits = {
        split: (_first_existing(options[split], folders),) for split in ("train", "valid", "test") if options.get(split)
    }
    names: tuple[str, ...] = ()
    if options.get("names"):
        names = _names(_first_existing(options["names"], folders))
    return YoloSource(file.stem, splits, names)


def open_yolo(source: YoloSource, split: str, class_names: Sequence[str], on_bad: OnBad) -> DetectionDataset:
    """Opens one split. A picture without a label file has no boxes; at least one picture must have a label file.

    Args:
        source: Where the parts are.
        split: Name of the split; ``val`` and ``valid`` mean the same.
        class_names: The model's class names. They name the labels where the data set has no names; else labels map to
            them by name.
        on_bad: What a bad line, label file or picture does.

    Raises:
        DataError: If there is no such split, it is empty or unlabelled, or (``on_bad="error"``) a line is bad.
    """
    found = next((name for name in _SPLIT_NAMES.get(split, (split,)) if name in source.splits), None)
    if found is None:
        there = ", ".join(sorted(source.splits)) or "none"
        raise DataError(f"{source.name}: no split {split!r}; it has the splits: {there}")
    findings = Findings(on_bad)
    places = source.splits[found]
    for place in places:
        if not exists(place):
            raise DataError(
                f"{place}: no such file; expected a folder of pictures, or a file that lists them"
                f"{source.elsewhere or meant_path(place)}"
            )
    pictures = [picture for place in places for picture in _pictures(place)]
    if not pictures:
        raise DataError(f"{', '.join(map(str, places))}: holds no pictures")
    labels = [_label_file(picture) for picture in pictures]
    if not any(is_file(label) for label in labels):
        raise DataError(f"{source.name} {split}: none of its {len(pictures)} pictures has labels; expected {labels[0]}")
    findings.skipped += _without_pictures(places, labels)
    classes = _classes(source, labels, class_names, on_bad)
    samples = []
    for picture, label, image_id in zip(pictures, labels, image_ids(pictures), strict=True):
        sample = _sample((picture, label), image_id, classes, findings, source)
        if sample is not None:
            samples.append(sample)
    return DetectionDataset(f"{source.name} {found}", tuple(samples), classes.class_names, tuple(findings.skipped))


def _without_pictures(places: Sequence[Path], labels: Sequence[Path]) -> list[str]:
    """What label files say of pictures that are not there, in folders that hold nothing but labels: one sentence."""
    folders = {_label_file(place / "x").parent for place in places if is_dir(place)} - {*places}
    known, left = set(labels), []
    for folder in sorted(filter(is_dir, folders)):
        left += [
            file for file in sorted(folder.rglob("*.txt")) if file not in known and _LABEL_LINE.match(_begin(file))
        ]
    if not left:
        return []
    one = len(left) == 1
    return [f"{left[0]}{'' if one else f' and {len(left) - 1} more label files'}: no picture of that name"]


def _begin(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(200).decode("utf-8", "replace")
    except OSError:
        return ""


def _classes(source: YoloSource, labels: Sequence[Path], class_names: Sequence[str], on_bad: OnBad) -> ClassMap:
    if source.class_names:
        return map_classes(source.class_names, class_names)
    if class_names:
        return map_classes(class_names, ())
    highest = max((_highest_class(label, on_bad) for label in labels), default=-1)
    if highest < 0:
        raise DataError(f"{source.name}: its label files hold no boxes and nothing names its classes")
    return map_classes([f"class{number}" for number in range(highest + 1)], ())


def _highest_class(label: Path, on_bad: OnBad) -> int:
    """The highest class of a label file, -1 where it holds none; what is skipped is named when it is read again."""
    try:
        lines = read_text(label, "labels").split("\n") if is_file(label) else []
    except DataError:
        if on_bad == "error":
            raise
        return -1
    most, highest = limit("classes"), -1
    for number, line in enumerate(lines, start=1):
        word = line.split(maxsplit=1)[0] if line.strip() else ""
        wanted = _wanted(word)
        if wanted >= 0:
            if wanted < most:
                highest = max(highest, wanted)
            elif on_bad == "error":
                check_limit("classes", wanted + 1, f"{label}:{number}", DataError)
    return highest


def _wanted(word: str) -> int:
    """The class that a line names, at most what 18 digits say; -1 where it names none."""
    if word.isascii() and word.isdigit():
        return int(word) if len(word) <= MAX_DIGITS else 10**MAX_DIGITS
    try:
        return _class_number(word)
    except ValueError:
        return -1


def _sample(
    files: tuple[Path, Path], image_id: str, classes: ClassMap, findings: Findings, source: YoloSource
) -> DetectionSample | None:
    picture, label = files
    try:
        size = picture_size(picture)
    except ImageError as error:
        findings.bad(str(error), ImageError)
        return None
    rows: list[tuple[Box, int]] = []
    try:
        lines = read_text(label, "lines of class cx cy w h").split("\n") if is_file(label) else []
    except DataError as error:
        findings.bad(str(error))
        return None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row, problem = _parse_line(line, size, classes, source)
        if row is None:
            findings.bad(f"{label}:{number}: {problem}")
        else:
            rows.append(row)
    return DetectionSample(
        image_id,
        np.array([box for box, _ in rows], np.float32).reshape(-1, 4),
        np.array([label for _, label in rows], np.int64),
        np.zeros(len(rows), np.bool_),
        partial(read_image, picture),
    )


def _parse_line(
    line: str, size: tuple[int, int], classes: ClassMap, source: YoloSource
) -> tuple[tuple[Box, int] | None, str]:
    """The box and label of one line, or None and what is wrong with it."""
    words = line.split()
    try:
        number, values = _class_number(words[0]), tuple(parse_number(word) for word in words[1:])
    except ValueError:
        return None, f"{shown(line.strip())}; expected a class number and four numbers cx cy w h"
    if len(values) > 4 and len(values) == 4 + source.num_keypoint_values:
        values, words = values[:4], words[:5]
    if source.polygons and len(values) >= _CORNERS and len(values) % 2 == 0:
        values = _around(values)
    if len(values) != 4:
        return None, f"{len(words)} fields; expected 5: class cx cy w h"
    if not 0 <= number < len(classes.label_of):
        return None, f"class {number} is out of range; the data set has {len(classes.label_of)} classes"
    if not all(-_ROUNDING <= value <= 1 + _ROUNDING for value in values):
        return None, f"cx cy w h = {' '.join(words[1:])}; expected fractions of the picture in [0, 1]"
    label = classes.label_of[number]
    if label is None:
        return None, unknown_class(classes.own_names[number], classes.class_names)
    height, width = size
    cx, cy, w, h = (value * side for value, side in zip(values, (width, height, width, height), strict=True))
    box = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
    problem = box_problem(box, size)
    return (None, problem) if problem else ((clipped(box, size), label), "")


def _class_number(word: str) -> int:
    """The number of a class; some tools write it as ``3.0``.

    Raises:
        ValueError: If it is none.
    """
    try:
        return parse_whole(word)
    except ValueError:
        value = parse_number(word)
        if not value.is_integer() or abs(value) >= 10**MAX_DIGITS:
            raise
        return int(value)


def _around(corners: Sequence[float]) -> tuple[float, ...]:
    """The box around the corners of an outline, ``x y x y ...``, as ``cx cy w h``."""
    x, y = corners[::2], corners[1::2]
    left, right, top, bottom = min(x), max(x), min(y), max(y)
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top


def _pictures(place: Path) -> list[Path]:
    """The pictures of a folder (and its subfolders), or of a file that lists them."""
    if is_dir(place):
        return pictures_below(place)
    lines = read_text(place, "a folder of pictures, or a file that lists them").split("\n")
    return [_first_existing(line.strip(), (place.parent, Path())) for line in lines if line.strip()]


def _label_file(picture: Path) -> Path:
    """The label file of a picture: in ``labels`` beside the innermost ``images`` folder, or beside the picture."""
    beside = Path(os.path.splitext(picture)[0] + ".txt")
    for position in reversed(range(len(beside.parts) - 1)):
        if beside.parts[position] in _PICTURE_FOLDERS and not is_file(beside):
            return Path(*beside.parts[:position], "labels", *beside.parts[position + 1 :])
    return beside


def _first_existing(name: str, folders: Sequence[Path]) -> Path:
    """``name`` below the first of ``folders`` that holds it; below the first of all where none does."""
    path = Path(os.path.expanduser(name))
    return next((folder / path for folder in folders if exists(folder / path)), folders[0] / path)


def _whole_or_text(text: str) -> int | str:
    try:
        return parse_whole(text)
    except ValueError:
        return text


def _subfolders(folder: Path) -> list[Path]:
    return [path for path in entries(folder) if is_dir(path) and not path.name.startswith(".")]


def _listed_names(root: Path) -> tuple[str, ...]:
    listed = [root / "classes.txt", *(path for path in entries(root) if path.suffix == ".names")]
    there = [file for file in listed if is_file(file)]
    return _names(there[0]) if there else ()


def _names(file: Path) -> tuple[str, ...]:
    lines = read_text(file, "class names, one a line").split("\n")
    return tuple(line.strip() for line in lines if line.strip())


def _from_yaml(file: Path) -> Opener:
    return partial(open_yolo, yaml_source(file))


def _from_darknet(file: Path) -> Opener:
    return partial(open_yolo, darknet_source(file))


def _with_yaml(root: Path) -> Opener | None:
    return _from_yaml(root / "data.yaml") if is_file(root / "data.yaml") else None


def _with_labels(root: Path) -> Opener | None:
    source = folder_source(root)
    return None if source is None else partial(open_yolo, source)


FORMATS.register("yolo")(
    Format(
        title="YOLO txt",
        layout="images/<split>/ and labels/<split>/, a data.yaml, or a Darknet .data file (YOLO)",
        folders=(FolderForm(10, _with_yaml), FolderForm(40, _with_labels)),
        files=(
            FileForm("a data.yaml", (".yaml", ".yml"), _from_yaml),
            FileForm("a .data file", (".data",), _from_darknet),
        ),
    )
)
