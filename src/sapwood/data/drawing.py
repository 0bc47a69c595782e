"""Draws detections on a picture."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sapwood.errors import DataError
from sapwood.types import Detections, Picture

_Font: TypeAlias = "ImageFont.ImageFont | ImageFont.FreeTypeFont"

_PAD = 2
_GOLDEN_ANGLE = 0.381966
_WHITE, _BLACK = (255, 255, 255), (16, 16, 16)


def class_color(label: int) -> tuple[int, int, int]:
    """Returns the RGB colour of a class: neighbours far apart on the colour wheel, never pale.

    Examples:
        >>> len({class_color(label) for label in range(80)})
        80
    """
    hue = (0.02 + label * _GOLDEN_ANGLE) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, (0.85, 0.65, 1.0)[label % 3], (0.95, 0.80)[label % 2])
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_detections(picture: Picture, detections: Detections, class_names: Sequence[str]) -> Picture:
    """Draws boxes with class and score; line and letters grow with the picture, the best detection lies on top.

    Args:
        picture: uint8, shape (height, width, 3); left as it is.
        detections: Boxes in pixels of ``picture``.
        class_names: One name a class.

    Returns:
        A new picture of the same shape.

    Raises:
        DataError: If a label has no name.
    """
    if detections.labels.numel() and int(detections.labels.max()) >= len(class_names):
        raise DataError(f"label {int(detections.labels.max())} has no name; there are {len(class_names)} class names")
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    height, width = picture.shape[:2]
    line = max(1, round(min(height, width) / 220))
    font = ImageFont.load_default(size=max(9, round(min(height, width) / 32)))
    rows = list(zip(detections.boxes.tolist(), detections.scores.tolist(), detections.labels.tolist(), strict=True))
    for box, _, label in reversed(rows):
        x1, y1, x2, y2 = (round(edge) for edge in box)
        draw.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=class_color(label), width=line)
    plates: list[_Plate] = []
    for box, score, label in rows:
        text = f"{class_names[label]} {score:.2f}"
        plates.append(_Plate(text, class_color(label), _place(draw, text, font, box, plates)))
    for plate in reversed(plates):
        _draw_plate(draw, plate, font)
    return np.asarray(image)


@dataclass(frozen=True)
class _Plate:
    """A label: its text on a ground of the class's colour, ``box`` is left, top, right, bottom."""

    text: str
    color: tuple[int, int, int]
    box: tuple[int, int, int, int]


def _place(
    draw: ImageDraw.ImageDraw, text: str, font: _Font, box: Sequence[float], taken: Sequence[_Plate]
) -> tuple[int, int, int, int]:
    """Where the plate of a box goes: above it, or the first free place below that; above all the same if none is."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    plate_width, plate_height = int(right - left) + 2 * _PAD, int(bottom - top) + 2 * _PAD
    width, height = draw.im.size
    x = min(max(round(box[0]), 0), max(0, width - plate_width))
    highest = min(max(round(box[1]) - plate_height, 0), max(0, height - plate_height))
    tries = range(highest, max(highest + 1, min(round(box[3]), height - plate_height)), plate_height)
    places = [(x, y, x + plate_width, y + plate_height) for y in tries]
    return next((place for place in places if not any(_touch(place, plate.box) for plate in taken)), places[0])


def _touch(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


def _draw_plate(draw: ImageDraw.ImageDraw, plate: _Plate, font: _Font) -> None:
    left, top, right, bottom = plate.box
    draw.rectangle((left, top, right - 1, bottom - 1), fill=plate.color)
    offset = draw.textbbox((0, 0), plate.text, font=font)
    light = (299 * plate.color[0] + 587 * plate.color[1] + 114 * plate.color[2]) / 1000
    ink = _BLACK if light > 140 else _WHITE
    draw.text((left + _PAD - offset[0], top + _PAD - offset[1]), plate.text, fill=ink, font=font)
