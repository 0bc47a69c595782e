"""Draws detections on a picture."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sapwood.errors import DataError
from sapwood.types import Detections, Picture

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
    for box, score, label in reversed(rows):
        _draw_label(draw, f"{class_names[label]} {score:.2f}", box, class_color(label), font)
    return np.asarray(image)


def _draw_label(
    draw: ImageDraw.ImageDraw,
    text: str,
    box: Sequence[float],
    color: tuple[int, int, int],
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
) -> None:
    """Writes ``text`` on a plate above the box, or inside it where there is no room above."""
    pad = 2
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    plate_width, plate_height = right - left + 2 * pad, bottom - top + 2 * pad
    width, height = draw.im.size
    x = min(max(round(box[0]), 0), max(0, width - int(plate_width)))
    y = round(box[1]) - int(plate_height)
    if y < 0:
        y = min(max(round(box[1]), 0), max(0, height - int(plate_height)))
    draw.rectangle((x, y, x + plate_width - 1, y + plate_height - 1), fill=color)
    light = (299 * color[0] + 587 * color[1] + 114 * color[2]) / 1000
    draw.text((x + pad - left, y + pad - top), text, fill=_BLACK if light > 140 else _WHITE, font=font)
