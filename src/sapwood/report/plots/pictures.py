"""The chosen pictures with what each case found in them, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sapwood.report.findings import Tone
from sapwood.report.record import CaseResult, Comparison, Found, PictureResult, ShownPicture

SAME_OBJECT_IOU = 0.5
"""Boxes of one class that overlap at least this much are the same object."""
MOST_CAPTIONED = 8
"""How many finds a caption lists before it says how many more there are."""


@dataclass(frozen=True)
class Box:
    """A box in the picture's pixels, with its label's place and colour."""

    x: float
    y: float
    width: float
    height: float
    label: str
    label_y: float
    label_width: float
    color: int


@dataclass(frozen=True)
class Shot:
    """One case's view of a picture."""

    case: str
    boxes: tuple[Box, ...]
    caption: str
    verdict: str
    tone: Tone


@dataclass(frozen=True)
class PictureRow:
    """A picture and every case's view of it, the unpruned network first."""

    picture: ShownPicture
    anchor: str
    font_size: float
    shots: tuple[Shot, ...]


def picture_rows(comparison: Comparison) -> tuple[PictureRow, ...]:
    """Lays out each chosen picture once a case."""
    rows = []
    for number, picture in enumerate(comparison.pictures):
        dense = _result(comparison.baseline, picture.id)
        font_size = max(picture.width, picture.height) / 22
        colors = _colors(comparison, picture.id)
        shots = tuple(
            _shot(case, result, dense, colors, font_size)
            for case in comparison.cases
            if (result := _result(case, picture.id)) is not None
        )
        rows.append(PictureRow(picture, f"picture-{number}", round(font_size, 1), shots))
    return tuple(rows)


def _result(case: CaseResult, picture_id: str) -> PictureResult | None:
    return next((result for result in case.pictures if result.id == picture_id), None)


def _colors(comparison: Comparison, picture_id: str) -> dict[str, int]:
    """A colour for each class, in the order in which the cases find them."""
    colors: dict[str, int] = {}
    for case in comparison.cases:
        result = _result(case, picture_id)
        for found in result.found if result else ():
            colors.setdefault(found.class_name, len(colors) % 8)
    return colors


def _shot(
    case: CaseResult, result: PictureResult, dense: PictureResult | None, colors: dict[str, int], font_size: float
) -> Shot:
    boxes = tuple(_box(found, colors[found.class_name], font_size) for found in reversed(result.found) if found.box)
    verdict, tone = _against(result, dense)
    return Shot(case.name, boxes, _caption(result.found), verdict, tone)


def _box(found: Found, color: int, font_size: float) -> Box:
    assert found.box is not None
    left, top, right, bottom = found.box
    label = f"{found.class_name} {found.score:.2f}"
    above = top - 1.25 * font_size
    return Box(
        x=round(left, 1),
        y=round(top, 1),
        width=round(max(0.0, right - left), 1),
        height=round(max(0.0, bottom - top), 1),
        label=label,
        label_y=round(above if above >= 0.0 else max(0.0, top), 1),
        label_width=round((0.58 * len(label) + 0.6) * font_size, 1),
        color=color,
    )


def _caption(found: Sequence[Found]) -> str:
    if not found:
        return "nothing found"
    named = [f"{entry.class_name} {entry.score:.2f}" for entry in found[:MOST_CAPTIONED]]
    more = len(found) - len(named)
    return ", ".join(named) + (f", and {more} more" if more else "")


def _against(result: PictureResult, dense: PictureResult | None) -> tuple[str, Tone]:
    """How much of what the unpruned network found is found here as well."""
    if result is dense or dense is None:
        return ("the unpruned network", "plain")
    if not dense.found:
        return (f"{len(result.found)} found where the unpruned network finds nothing", "plain")
    same = _num_same(dense.found, result.found)
    new = len(result.found) - same
    text = f"{same} of {len(dense.found)} of the unpruned network's finds"
    if new:
        text += f", {new} of its own"
    tone: Tone = "good" if same == len(dense.found) and not new else "bad" if same == 0 else "mixed"
    return text, tone


def _num_same(first: Sequence[Found], second: Sequence[Found]) -> int:
    """How many entries of ``first`` have a partner of their own in ``second``: one class, and boxes that overlap."""
    left = list(second)
    count = 0
    for entry in first:
        partner = next((other for other in left if _same(entry, other)), None)
        if partner is not None:
            left.remove(partner)
            count += 1
    return count


def _same(first: Found, second: Found) -> bool:
    if first.class_name != second.class_name:
        return False
    if first.box is None or second.box is None:
        return True
    return _iou(first.box, second.box) >= SAME_OBJECT_IOU


def _iou(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0.0 or height <= 0.0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return width * height / (sum(areas) - width * height)
