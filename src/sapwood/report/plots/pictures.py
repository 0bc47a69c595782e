"""The chosen pictures with what each case found in them, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sapwood.report.findings import Tone
from sapwood.report.records import CaseResult, Comparison, Found, PictureResult, ShownPicture

SAME_OBJECT_IOU = 0.5
"""Boxes of one class that overlap at least this much are the same object."""
MOST_CAPTIONED = 8
"""How many finds a caption lists before it says how many more there are."""


@dataclass(frozen=True)
class Label:
    """A box's class and score, and the rectangle they stand in, in the picture's pixels."""

    text: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Box:
    """A box in the picture's pixels, its colour, and its label where there was room for one."""

    x: float
    y: float
    width: float
    height: float
    color: int
    label: Label | None


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
        colors = _colors(comparison, picture.id)
        shots = tuple(
            _shot(case, result, dense, colors, picture)
            for case in comparison.cases
            if (result := _result(case, picture.id)) is not None
        )
        rows.append(PictureRow(picture, f"picture-{number}", _font_size(picture), shots))
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
    case: CaseResult, result: PictureResult, dense: PictureResult | None, colors: dict[str, int], picture: ShownPicture
) -> Shot:
    font_size = _font_size(picture)
    boxes = _boxes(result.found, colors, picture, font_size)
    verdict, tone = _against(result, dense)
    return Shot(case.name, boxes, _caption(result.found), verdict, tone)


def _font_size(picture: ShownPicture) -> float:
    """Letters that can be read where the picture is a third of a page wide."""
    return round(max(picture.width, picture.height) / 25, 1)


def _boxes(found: Sequence[Found], colors: dict[str, int], picture: ShownPicture, font_size: float) -> tuple[Box, ...]:
    """The boxes, the best score last so that it is drawn on top; the best scores choose their labels' places first."""
    boxes: list[Box] = []
    taken: list[Label] = []
    for entry in found:
        if entry.box is None:
            continue
        label = _free_label(entry, picture, font_size, taken)
        taken += [label] if label else []
        left, top, right, bottom = entry.box
        width, height = max(0.0, right - left), max(0.0, bottom - top)
        color = colors[entry.class_name]
        boxes.append(Box(round(left, 1), round(top, 1), round(width, 1), round(height, 1), color, label))
    return tuple(reversed(boxes))


def _free_label(found: Found, picture: ShownPicture, font_size: float, taken: Sequence[Label]) -> Label | None:
    """A label above its box, else inside it, else below; None where all of these would hide another label."""
    assert found.box is not None
    left, top, _, bottom = found.box
    text = f"{found.class_name} {found.score:.2f}"
    width, height = (0.58 * len(text) + 0.6) * font_size, 1.25 * font_size
    x = max(0.0, min(left, picture.width - width))
    for y in (top - height, top, bottom - height, bottom):
        label = Label(text, round(x, 1), round(y, 1), round(width, 1), round(height, 1))
        if 0.0 <= y <= picture.height - height and not any(_overlap(label, other) for other in taken):
            return label
    return None


def _overlap(first: Label, second: Label) -> bool:
    apart = first.x + first.width <= second.x or second.x + second.width <= first.x
    return not (apart or first.y + first.height <= second.y or second.y + second.height <= first.y)


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
