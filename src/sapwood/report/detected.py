"""The page of `sapwood detect`: what was found, on which picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sapwood.report import formats
from sapwood.report.answers import GET, SURE, Answer, where_text
from sapwood.report.findings import Finding
from sapwood.report.records import DetectedPicture, Detecting, DrawnBox
from sapwood.report.sheet import Photo, Sheet, SheetPart, shares
from sapwood.report.table import TextTable, columns

FOUND, LONG, LEFT_OUT = "What was found?", "How long does it take?", "What was left out?"
MOST_NAMED = 4
"""Classes that the first screen names."""
NUM_PHOTOS = 12
"""Pictures that a page shows."""


@dataclass(frozen=True)
class FoundClass:
    """A class: on how many pictures it was found, and with which scores."""

    name: str
    pictures: int
    scores: tuple[float, ...]


def detecting_sheet(record: Detecting, photos: Mapping[str, str]) -> Sheet:
    """The page of detections.

    Args:
        record: What was found.
        photos: Pictures with their boxes as addresses that hold them whole, by where they were drawn.
    """
    objects = sum(len(one.detections) for one in record.images)
    seen = sum(1 for one in record.images if one.detections)
    told = f"{objects} object{'' if objects == 1 else 's'} on {seen} of {_pictures(record)}."
    classes = found_classes(record)
    shown = tuple(_photo(one, photos[one.drawn]) for one in record.images if one.drawn in photos)
    sections: list[SheetPart] = []
    if shown:
        total = len(record.images)
        text = "" if len(shown) == total else f"The first {len(shown)} of {total}; the others are in the folder."
        sections.append(SheetPart("pictures", "The pictures", text, photos=shown))
    if classes:
        best = {one.name: max(one.scores) for one in classes}
        text = "The best score of each class. A score is the network's own figure, and no probability."
        sections.append(SheetPart("classes", "Class by class", text, shares(best, "score"), table=_classes(classes)))
    sections.append(SheetPart("all", "Every object", table=_objects(record)))
    finding = Finding("Found", told if objects else f"Nothing found on {_pictures(record)}.")
    return Sheet("detect", record.model, finding, _answers(record, classes), tuple(sections))


def found_classes(record: Detecting) -> list[FoundClass]:
    """Classes that were found, the most frequent first."""
    scores: dict[str, list[float]] = {}
    pictures: dict[str, int] = {}
    for picture in record.images:
        for found in picture.detections:
            scores.setdefault(found.class_name, []).append(found.score)
        for name in {found.class_name for found in picture.detections}:
            pictures[name] = pictures.get(name, 0) + 1
    ranked = sorted(scores, key=lambda name: (-len(scores[name]), name))
    return [FoundClass(name, pictures[name], tuple(scores[name])) for name in ranked]


def _answers(record: Detecting, classes: list[FoundClass]) -> tuple[Answer, ...]:
    total = sum(len(one.scores) for one in classes)
    named = ", ".join(f"{one.name} {len(one.scores)}" for one in classes[:MOST_NAMED])
    more = len(classes) - MOST_NAMED
    scores = [score for one in classes for score in one.scores]
    span = f"scores from {min(scores):.2f} to {max(scores):.2f}; " if scores else ""
    return (
        Answer(FOUND, str(total), named + (f", and {more} more classes" if more > 0 else "")),
        Answer(LONG, *_took(record)),
        Answer(
            LEFT_OUT,
            f"below {record.score_threshold:g}",
            f"of scores (--score-threshold), and the weaker of two boxes that overlap by {record.iou_threshold:g} "
            "(--iou-threshold)",
        ),
        Answer(SURE, "not measured", f"{span}boxes on pictures are no measure: sapwood eval compares with labels"),
        Answer(GET, "", "", record.made.commands if record.made else ()),
    )


def _took(record: Detecting) -> tuple[str, str]:
    machine = record.made.machine if record.made else {}
    if record.seconds is None or not record.images:
        return "not measured", ""
    size = "" if record.input_size is None else f" at {record.input_size[1]} × {record.input_size[0]}"
    where = where_text({"cpu": machine.get("cpu"), "threads": machine.get("threads")})
    told = [f"a picture{size} in PyTorch, the first one slower than the others", where]
    return formats.seconds(record.seconds / len(record.images)), "; ".join(part for part in told if part)


def _pictures(record: Detecting) -> str:
    return f"{len(record.images)} picture{'' if len(record.images) == 1 else 's'}"


def _photo(picture: DetectedPicture, address: str) -> Photo:
    named = ", ".join(f"{found.class_name} {found.score:.2f}" for found in picture.detections[:MOST_NAMED])
    more = len(picture.detections) - MOST_NAMED
    caption = (named + (f", and {more} more" if more > 0 else "")) or "nothing found"
    return Photo(picture.image, address, caption)


def _classes(classes: list[FoundClass]) -> TextTable:
    rows = tuple(
        (one.name, str(len(one.scores)), str(one.pictures), f"{max(one.scores):.2f}", f"{min(one.scores):.2f}")
        for one in classes
    )
    return TextTable("Classes", columns("class", "objects", "pictures", "best", "least"), rows)


def _objects(record: Detecting) -> TextTable:
    rows = tuple(
        (picture.image, found.class_name, f"{found.score:.2f}", _box(found))
        for picture in record.images
        for found in picture.detections
    )
    titles = columns("picture", "class", "score", "left, top, right, bottom", words=["class"])
    return TextTable("Objects", titles, rows)


def _box(found: DrawnBox) -> str:
    return ", ".join(f"{edge:.0f}" for edge in found.box)
