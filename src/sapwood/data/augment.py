"""Varies labelled pictures for training: windows, mosaics, mirrors and colours, all drawn from one generator.

Pixels stay uint8 and are moved by PyTorch and Pillow, which let other threads run meanwhile. What prepares pictures
shares the processor with what trains on them, so the fastest way counts: PyTorch takes a fifth of the time of Pillow's
transforms and numpy's mirrors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from PIL import Image
from torch import Tensor
from torch.nn import functional

from sapwood.config import AugmentConfig
from sapwood.data.images import as_batch
from sapwood.types import CENTER_CROP, Picture, Resize

Window: TypeAlias = "tuple[float, float, float, float]"
"""x1, y1, x2, y2 in pixels of a picture; may reach over its edges."""

Area: TypeAlias = "tuple[int, int, int, int]"
"""left, top, right, bottom in pixels of the canvas."""

Boxes: TypeAlias = "np.ndarray[Any, np.dtype[np.float32]]"
Labels: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
Matrix: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"

GREY = 128
MIN_BOX_SIDE = 2.0
"""Boxes narrower or lower than this many pixels after clipping are dropped: no cell can learn them."""

_MOSAIC_CUT = (0.25, 0.75)
_YIQ: Matrix = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
"""RGB to brightness and two colour axes (NTSC), in which hue is an angle and saturation a length."""


@dataclass(frozen=True)
class LabelledPicture:
    """A picture in memory with its boxes.

    Attributes:
        picture: uint8, shape (height, width, 3).
        boxes: float32, shape (N, 4): x1, y1, x2, y2 in pixels of ``picture``.
        labels: int64, shape (N,).
    """

    picture: Picture
    boxes: Boxes
    labels: Labels


def example_generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """Returns the generator of one picture in one epoch: the same whatever was drawn before, in whichever thread.

    Examples:
        >>> float(example_generator(0, 3, 7).random()) == float(example_generator(0, 3, 7).random())
        True
    """
    return np.random.default_rng([seed, epoch, index])


def shrink(example: LabelledPicture, max_side: int) -> LabelledPicture:
    """Returns ``example`` with its longer side at most ``max_side`` pixels; boxes follow."""
    height, width = example.picture.shape[:2]
    scale = max_side / max(height, width)
    if scale >= 1:
        return example
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = np.asarray(Image.fromarray(example.picture).resize(size, Image.Resampling.BILINEAR))
    factor = np.array([size[0] / width, size[1] / height] * 2, np.float32)
    return LabelledPicture(picture, example.boxes * factor, example.labels)


def augment(
    examples: Sequence[LabelledPicture],
    size: tuple[int, int],
    config: AugmentConfig,
    generator: np.random.Generator,
    *,
    resize: Resize = "stretch",
) -> LabelledPicture:
    """Makes one training picture of ``size`` from one picture, or a mosaic from four.

    Args:
        examples: One or four labelled pictures.
        size: (height, width) of the result in pixels.
        config: How much everything varies.
        generator: The only source of chance.
        resize: How the model's input is made of a whole picture; windows vary around that.

    Returns:
        The picture with the boxes that are still visible in it, clipped to it.

    Raises:
        ValueError: If there are neither one nor four pictures, a mistake in the program.
    """
    areas = _areas(len(examples), size, generator)
    smooth = resize == "center_crop"
    canvas = np.full((*size, 3), GREY, np.uint8)
    parts = []
    for example, area in zip(examples, areas, strict=True):
        view = _view(example.picture.shape[:2], size, resize, config, generator)
        window = view if len(examples) == 1 else _part_of(view, example.picture.shape[:2], area, size, generator)
        patch = _Patch.of(window, area, example.picture.shape[:2], whole_pixels=not smooth)
        colours = colour_matrix(config, generator)
        if patch is not None:
            _draw(canvas, example.picture, patch, colours, smooth=smooth)
            parts.append(_visible_boxes(example, patch, config.min_visible))
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *(boxes for boxes, _ in parts)])
    labels = np.concatenate([np.zeros(0, np.int64), *(labels for _, labels in parts)])
    result = LabelledPicture(canvas, boxes, labels)
    if generator.random() < config.horizontal_flip:
        result = mirror(result, axis=1)
    if generator.random() < config.vertical_flip:
        result = mirror(result, axis=0)
    return result


def _areas(count: int, size: tuple[int, int], generator: np.random.Generator) -> list[Area]:
    """The whole canvas for one picture, four quarters around a random cut for four."""
    height, width = size
    if count == 1:
        return [(0, 0, width, height)]
    if count != 4:
        raise ValueError(f"one picture or four make a training picture; got {count}")
    cut_x, cut_y = (round(side * generator.uniform(*_MOSAIC_CUT)) for side in (width, height))
    return [
        (left, top, right, bottom)
        for top, bottom in ((0, cut_y), (cut_y, height))
        for left, right in ((0, cut_x), (cut_x, width))
    ]


def mirror(example: LabelledPicture, *, axis: int) -> LabelledPicture:
    """Mirrors a picture: ``axis`` 1 exchanges left and right, 0 top and bottom.

    Examples:
        >>> boxes = np.array([[1, 0, 3, 2]], np.float32)
        >>> mirror(LabelledPicture(np.zeros((4, 10, 3), np.uint8), boxes, np.zeros(1, np.int64)), axis=1).boxes.tolist()
        [[7.0, 0.0, 9.0, 2.0]]
    """
    first = 1 - axis  # boxes are x before y, pictures y before x
    boxes = example.boxes.copy()
    boxes[:, [first, first + 2]] = example.picture.shape[axis] - example.boxes[:, [first + 2, first]]
    return replace(example, picture=_as_picture(as_batch(example.picture).flip(2 + axis)), boxes=boxes)


def whole_window(picture_size: tuple[int, int], size: tuple[int, int], resize: Resize) -> Window:
    """Returns the window of a picture that fills the model's input at evaluation, whatever the way to resize.

    Examples:
        >>> whole_window((100, 200), (50, 50), "letterbox")
        (0.0, -50.0, 200.0, 150.0)
    """
    height, width = picture_size
    if resize == "stretch":
        return 0.0, 0.0, float(width), float(height)
    fits = (height / size[0], width / size[1])
    scale = min(fits) * CENTER_CROP if resize == "center_crop" else max(fits)
    half_width, half_height = scale * size[1] / 2, scale * size[0] / 2
    return width / 2 - half_width, height / 2 - half_height, width / 2 + half_width, height / 2 + half_height


def colour_matrix(config: AugmentConfig, generator: np.random.Generator) -> Matrix | None:  # shape: (3, 3)
    """Draws a turn of the hue, and factors of saturation and brightness, as one map of RGB; None for no change."""
    hue = 2 * math.pi * config.hue * generator.uniform(-1, 1)
    saturation = _factor(config.saturation, generator)
    brightness = _factor(config.brightness, generator)
    if config.hue == config.saturation == config.brightness == 0:
        return None
    turn = saturation * np.array([[math.cos(hue), -math.sin(hue)], [math.sin(hue), math.cos(hue)]])
    change = np.eye(3)
    change[1:, 1:] = turn
    matrix: Matrix = brightness * (np.linalg.inv(_YIQ) @ change @ _YIQ)
    return matrix


def _factor(spread: float, generator: np.random.Generator) -> float:
    """A factor between 1 / (1 + spread) and 1 + spread, as likely below 1 as above."""
    return math.exp(generator.uniform(-1, 1) * math.log1p(spread))


def _view(
    picture_size: tuple[int, int],
    size: tuple[int, int],
    resize: Resize,
    config: AugmentConfig,
    generator: np.random.Generator,
) -> Window:
    """The window that fills the whole input: that of evaluation, grown or shrunk, stretched and moved."""
    x1, y1, x2, y2 = whole_window(picture_size, size, resize)
    scale, aspect = _factor(config.scale, generator), math.sqrt(_factor(config.aspect, generator))
    half_width, half_height = (x2 - x1) / 2 * scale * aspect, (y2 - y1) / 2 * scale / aspect
    x = (x1 + x2) / 2 + generator.uniform(-1, 1) * config.translate * (x2 - x1)
    y = (y1 + y2) / 2 + generator.uniform(-1, 1) * config.translate * (y2 - y1)
    return x - half_width, y - half_height, x + half_width, y + half_height


def _part_of(
    view: Window,
    picture_size: tuple[int, int],
    area: Area,
    size: tuple[int, int],
    generator: np.random.Generator,
) -> Window:
    """A window that fills ``area`` at the scale at which ``view`` fills ``size``, somewhere in the picture."""
    height, width = picture_size
    part_width = (view[2] - view[0]) * (area[2] - area[0]) / size[1]
    part_height = (view[3] - view[1]) * (area[3] - area[1]) / size[0]
    x = generator.uniform(0, 1) * (width - part_width)
    y = generator.uniform(0, 1) * (height - part_height)
    return x, y, x + part_width, y + part_height


@dataclass(frozen=True)
class _Patch:
    """The part of an area that a picture reaches, and the part of the picture that is seen there."""

    target: Area
    source: Window

    @staticmethod
    def of(window: Window, area: Area, picture_size: tuple[int, int], *, whole_pixels: bool) -> _Patch | None:
        """How ``window`` of a picture fills ``area``; None where nothing of the picture is seen.

        With ``whole_pixels`` the nearest edges between pixels of the picture are taken, less than a pixel from those of
        the window; boxes follow the patch, not the window.
        """
        scale_x, scale_y = _scale(window, area)
        left, right, source_left, source_right = _covered(window[0], scale_x, picture_size[1], area[0], area[2])
        top, bottom, source_top, source_bottom = _covered(window[1], scale_y, picture_size[0], area[1], area[3])
        if right <= left or bottom <= top:
            return None
        if whole_pixels:
            source_left, source_right = _between_pixels(source_left, source_right, picture_size[1])
            source_top, source_bottom = _between_pixels(source_top, source_bottom, picture_size[0])
        return _Patch((left, top, right, bottom), (source_left, source_top, source_right, source_bottom))


def _draw(canvas: Picture, picture: Picture, patch: _Patch, colours: Matrix | None, *, smooth: bool) -> None:
    """Draws a patch, resampled as at evaluation: from all pixels that shrink into one, or from the four nearest."""
    left, top, right, bottom = patch.target
    size = (bottom - top, right - left)
    if smooth:
        image = Image.fromarray(picture).resize((size[1], size[0]), Image.Resampling.BILINEAR, box=patch.source)
        drawn = np.asarray(image)
    else:
        x1, y1, x2, y2 = (int(edge) for edge in patch.source)
        seen = as_batch(picture)[:, :, y1:y2, x1:x2]
        drawn = _as_picture(functional.interpolate(seen, size=size, mode="bilinear", align_corners=False))
    if colours is not None:
        matrix = tuple(np.column_stack([colours, np.zeros(3)]).ravel().tolist())
        drawn = np.asarray(Image.fromarray(drawn).convert("RGB", matrix))
    canvas[top:bottom, left:right] = drawn


def _as_picture(
    batch: Tensor,  # shape: (1, 3, H, W)
) -> Picture:
    """The one picture of a batch."""
    picture: Picture = batch[0].permute(1, 2, 0).numpy()
    return picture


def _visible_boxes(example: LabelledPicture, patch: _Patch, min_visible: float) -> tuple[Boxes, Labels]:
    """The boxes of which enough is seen in the patch, clipped to it, and their labels."""
    target, source = patch.target, patch.source
    scale = np.array(_scale(source, target) * 2)
    boxes = (example.boxes - np.array(source[:2] * 2)) * scale + np.array(target[:2] * 2)
    clipped = np.concatenate([np.maximum(boxes[:, :2], target[:2]), np.minimum(boxes[:, 2:], target[2:])], axis=1)
    sides = clipped[:, 2:] - clipped[:, :2]
    visible = sides.clip(min=0).prod(axis=1) / (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    kept = (sides >= MIN_BOX_SIDE).all(axis=1) & (visible >= min_visible)
    return clipped[kept].astype(np.float32), example.labels[kept]


def _scale(window: Window, area: Area) -> tuple[float, float]:
    return (area[2] - area[0]) / (window[2] - window[0]), (area[3] - area[1]) / (window[3] - window[1])


def _covered(start: float, scale: float, length: int, low: int, high: int) -> tuple[int, int, float, float]:
    """Which canvas pixels of [low, high) the picture reaches along one axis, and what part of the picture they show."""
    first = max(low, min(high, round(low - start * scale)))
    last = max(first, min(high, round(low + (length - start) * scale)))
    source = [min(max(start + (edge - low) / scale, 0.0), float(length)) for edge in (first, last)]
    return first, last, source[0], source[1]


def _between_pixels(low: float, high: float, length: int) -> tuple[float, float]:
    """The nearest whole numbers to both ends, at least one apart."""
    first = min(round(low), length - 1)
    return float(first), float(max(round(high), first + 1))
