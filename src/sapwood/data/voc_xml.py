"""Reads detection data sets in Pascal VOC's XML format (http://host.robots.ox.ac.uk/pascal/VOC/)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from sapwood.data.checks import (
    PICTURE_SUFFIXES,
    Box,
    ClassMap,
    Findings,
    OnBad,
    box_problem,
    clipped,
    map_classes,
    read_text,
    unknown_class,
)
from sapwood.data.formats import FORMATS, FolderForm, Format, Opener
from sapwood.data.images import picture_size, read_image
from sapwood.data.places import entries, is_dir, is_file, leads_out
from sapwood.errors import DataError, ImageError
from sapwood.reading import parse_number, reading, shown
from sapwood.types import DetectionDataset, DetectionSample

_DIFFICULT = {"": False, "0": False, "false": False, "1": True, "true": True}


@dataclass(frozen=True)
class _Object:
    name: str
    edges: Box
    difficult: bool


def split_files(root: Path) -> dict[str, Path]:
    """Returns the image-set lists of a VOC folder by split, ``ImageSets/Main`` first; class lists are left out.

    Examples:
        >>> split_files(Path("nowhere"))
        {}
    """
    for folder in (root / "ImageSets" / "Main", root / "ImageSets"):
        there = entries(folder) if is_dir(folder) else []
        files = {file.stem: file for file in there if file.suffix == ".txt" and "_" not in file.stem}
        if files:
            return files
    return {}


def open_voc(root: Path, split: str, class_names: Sequence[str], on_bad: OnBad) -> DetectionDataset:
    """Opens one split of a VOC folder. VOC has no class list: without ``classes.txt``, the names used are sorted.

    VOC counts pixels from 1 and includes the last: edges become ``xmin - 1, ymin - 1, xmax, ymax``.

    Args:
        root: The folder with ``Annotations``, ``JPEGImages`` and ``ImageSets``.
        split: Name of a list in ``ImageSets``.
        class_names: The model's class names, empty for unknown. Objects map to them by name.
        on_bad: What a bad annotation or a missing picture does.

    Raises:
        DataError: If there is no such split, it is empty, or (``on_bad="error"``) an annotation is bad.
    """
    findings = Findings(on_bad)
    stems = _stems(root, split, findings)
    annotations = {}
    for stem in stems:
        objects = _read_annotation(root / "Annotations" / f"{stem}.xml", findings)
        if objects is not None:
            annotations[stem] = objects
    classes = _classes(root, annotations, class_names)
    samples = []
    for stem, objects in annotations.items():
        sample = _sample(root, stem, objects, classes, findings)
        if sample is not None:
            samples.append(sample)
    return DetectionDataset(f"{root.name} {split}", tuple(samples), classes.class_names, tuple(findings.skipped))


def _stems(root: Path, split: str, findings: Findings) -> list[str]:
    files = split_files(root)
    if split not in files:
        there = ", ".join(files) if files else "no lists"
        raise DataError(f"{root}: no split {split!r}; ImageSets holds {there}")
    lines = read_text(files[split], "picture names, one a line").split("\n")
    stems = list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))
    if not stems:
        raise DataError(f"{files[split]}: is empty; expected picture names, one a line")
    inside = []
    for stem in stems:
        if leads_out(stem, root / "JPEGImages"):
            findings.bad(f"{files[split]}: the picture {shown(stem)} leads out of the data set; expected a name")
        else:
            inside.append(stem)
    return inside


def _read_annotation(file: Path, findings: Findings) -> list[_Object] | None:
    """The objects of one annotation file, or None where the whole file is bad."""
    try:
        tree = _parse(file)
    except DataError as error:
        findings.bad(str(error))
        return None
    objects = []
    for number, node in enumerate(tree.iter("object"), start=1):
        name = (node.findtext("name") or "").strip()
        edges, difficult = _edges(node), (node.findtext("difficult") or "").strip()
        if not name:
            findings.bad(f"{file}: object {number} has no <name>")
        elif edges is None:
            findings.bad(f"{file}: object {number} ({name}) has no <bndbox> of four numbers xmin, ymin, xmax, ymax")
        elif difficult.lower() not in _DIFFICULT:
            findings.bad(f"{file}: object {number} ({name}): difficult {shown(difficult)}; expected 0 or 1")
        else:
            objects.append(_Object(name, edges, _DIFFICULT[difficult.lower()]))
    return objects


def _parse(file: Path) -> ElementTree.Element:
    """The tree of an annotation file, which declares no entities: they are what makes a small file a large tree."""
    text = read_text(file, "a VOC annotation")
    if "<!ENTITY" in text:
        raise DataError(f"{file}: declares entities; expected a VOC annotation, which has none")
    with reading(file, "a VOC annotation", DataError):
        try:
            return ElementTree.fromstring(text)
        except ElementTree.ParseError as error:
            raise DataError(f"{file}:{error.position[0]}: is not XML ({error})") from error


def _edges(node: ElementTree.Element) -> Box | None:
    try:
        x1, y1, x2, y2 = (
            parse_number(node.findtext(f"bndbox/{key}") or "") for key in ("xmin", "ymin", "xmax", "ymax")
        )
    except ValueError:
        return None
    return x1 - 1, y1 - 1, x2, y2


def _classes(root: Path, annotations: dict[str, list[_Object]], class_names: Sequence[str]) -> ClassMap:
    """The data set's own names and their map to labels.

    The names of all annotations are read only where the model's do not settle the order, so that it is the same for
    every split.
    """
    listed = root / "classes.txt"
    if is_file(listed):
        lines = read_text(listed, "class names, one a line").split("\n")
        own = [line.strip() for line in lines if line.strip()]
    else:
        own = sorted({item.name for objects in annotations.values() for item in objects})
    classes = map_classes(own, class_names)
    if is_file(listed) or (class_names and classes.class_names == tuple(class_names)):
        return classes
    everything = Findings("skip")
    for file in [file for file in entries(root / "Annotations") if file.suffix == ".xml"]:
        own += [item.name for item in _read_annotation(file, everything) or ()]
    own = sorted(set(own))
    return map_classes(own, class_names)


def _sample(
    root: Path, stem: str, objects: Sequence[_Object], classes: ClassMap, findings: Findings
) -> DetectionSample | None:
    picture = _picture(root, stem)
    if picture is None:
        findings.bad(
            f"{root / 'JPEGImages' / stem}: no such picture; expected .jpg, .png or another format", ImageError
        )
        return None
    try:
        size = picture_size(picture)
    except ImageError as error:
        findings.bad(str(error), ImageError)
        return None
    label_of = dict(zip(classes.own_names, classes.label_of, strict=True))
    kept: list[tuple[Box, int, bool]] = []
    for number, item in enumerate(objects, start=1):
        label = label_of.get(item.name)
        problem = box_problem(item.edges, size)
        if label is None:
            problem = unknown_class(item.name, classes.class_names)
        if problem or label is None:
            findings.bad(f"{root / 'Annotations' / stem}.xml: object {number} ({item.name}): {problem}")
        else:
            kept.append((clipped(item.edges, size), label, item.difficult))
    return DetectionSample(
        stem,
        np.array([box for box, _, _ in kept], np.float32).reshape(-1, 4),
        np.array([label for _, label, _ in kept], np.int64),
        np.array([difficult for _, _, difficult in kept], np.bool_),
        partial(read_image, picture),
    )


def _picture(root: Path, stem: str) -> Path | None:
    for suffix in (".jpg", ".png", ".jpeg", *sorted(PICTURE_SUFFIXES)):
        for spelled in (suffix, suffix.upper()):
            path = root / "JPEGImages" / f"{stem}{spelled}"
            if is_file(path):
                return path
    return None


def _recognise(root: Path) -> Opener | None:
    return partial(open_voc, root) if is_dir(root / "Annotations") and is_dir(root / "JPEGImages") else None


FORMATS.register("voc")(
    Format(
        title="VOC xml",
        layout="Annotations/*.xml, JPEGImages/ and ImageSets/[Main/]<split>.txt (Pascal VOC)",
        folders=(FolderForm(30, _recognise),),
    )
)
