"""The built-in detection data set: real handwritten digits scattered on cluttered backgrounds, made from a seed.

The digits are the 1,797 of 8 x 8 pixels that scikit-learn ships (:func:`sklearn.datasets.load_digits`, from the UCI
"Optical Recognition of Handwritten Digits"). Nothing is stored: a picture is drawn, always the same, when it is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from PIL import Image, ImageDraw

from sapwood.data.formats import BUILT_IN
from sapwood.errors import ConfigError, DataError
from sapwood.types import DetectionDataset, DetectionSample, Picture

DigitsSplit = Literal["train", "val", "test"]
Color: TypeAlias = "tuple[int, int, int]"
_Bytes: TypeAlias = "np.ndarray[Any, np.dtype[np.uint8]]"

CLASS_NAMES = tuple("0123456789")
_SPLITS: tuple[str, ...] = get_args(DigitsSplit)
_SHARES = (0.70, 0.15, 0.15)
_DEFAULT_IMAGES = {"train": 2000, "val": 200, "test": 200}
_SPLIT_SEED = 20240229

_REFERENCE_SIDE = 192
_DIGIT_SIDE = (18.0, 96.0)
"""Smallest and largest height of a digit in a picture of the reference side; they grow with the picture."""
_MAX_DIGITS = 7
_MAX_TURN = 14.0
_MAX_OVERLAP = 0.05
_PLACING_TRIES = 12
_GLYPH_SIDE = 80
_INK = 128
_MIN_CONTRAST = 85


@dataclass(frozen=True)
class _PlacedDigit:
    """One digit of a picture: which glyph, turned how far, where, in which colour."""

    glyph: int
    label: int
    turn: float
    box: tuple[int, int, int, int]
    color: Color


def digits_dataset(
    split: str = "val",
    *,
    size: tuple[int, int] = (_REFERENCE_SIDE, _REFERENCE_SIDE),
    num_images: int | None = None,
    seed: int = 0,
) -> DetectionDataset:
    """Makes a split of the built-in data set: pictures with one to seven handwritten digits, ten classes.

    Splits share neither handwritten digits nor random streams. The same arguments give the same pictures on every
    machine.

    Args:
        split: ``"train"``, ``"val"`` or ``"test"``.
        size: (height, width) of each picture in pixels, at least 64 each. Digits are 9 % to 50 % of the shorter side
            high.
        num_images: Pictures; 2,000 for ``"train"`` and 200 for the others where not given. Any number may be asked for,
            and the first pictures stay the same.
        seed: Chooses another data set of the same kind.

    Returns:
        The data set; boxes are tight around the ink.

    Raises:
        DataError: If there is no such split.
        ConfigError: If ``size``, ``num_images`` or ``seed`` is out of range.

    Examples:
        >>> dataset = digits_dataset("val", num_images=2)
        >>> dataset.samples[0].load().shape
        (192, 192, 3)
    """
    if split not in _SPLITS:
        raise DataError(f"digits: no split {split!r}; it has the splits: {', '.join(_SPLITS)}")
    count = _DEFAULT_IMAGES[split] if num_images is None else num_images
    if min(size) < 64:
        raise ConfigError(f"digits: size (height, width) is at least 64 x 64; got {size[0]} x {size[1]}")
    if count < 1 or seed < 0:
        raise ConfigError(f"digits: num_images is at least 1 and seed at least 0; got {count} and {seed}")
    samples = tuple(_sample((seed, _SPLITS.index(split), index), split, size) for index in range(count))
    return DetectionDataset(f"digits {split}", samples, CLASS_NAMES)


def _sample(key: tuple[int, int, int], split: str, size: tuple[int, int]) -> DetectionSample:
    placed = _place_digits(np.random.Generator(np.random.PCG64(key)), split, size)
    return DetectionSample(
        f"digits-{split}-{key[2]:06d}",
        np.array([digit.box for digit in placed], np.float32).reshape(-1, 4),
        np.array([digit.label for digit in placed], np.int64),
        np.zeros(len(placed), np.bool_),
        partial(_draw, key, placed, size),
    )


def _place_digits(rng: np.random.Generator, split: str, size: tuple[int, int]) -> tuple[_PlacedDigit, ...]:
    """Chooses the digits of a picture and where they stand; what finds no room is left out."""
    glyphs = _split_glyphs()[split]
    labels = _digits()[1]
    scale = min(size) / _REFERENCE_SIDE
    smallest, largest = (np.log(side * scale) for side in _DIGIT_SIDE)
    placed: list[_PlacedDigit] = []
    for _ in range(int(rng.integers(1, _MAX_DIGITS + 1))):
        glyph = int(rng.choice(glyphs))
        turn = float(rng.uniform(-_MAX_TURN, _MAX_TURN))
        ink_height, ink_width = _ink(glyph, turn).shape
        height = min(float(np.exp(rng.uniform(smallest, largest))), 0.9 * size[0])
        width = min(height * ink_width / ink_height * rng.uniform(0.85, 1.2), 0.9 * size[1])
        color = tuple(int(value) for value in rng.integers(0, 256, 3))
        box = _free_place(rng, (max(2, round(height)), max(2, round(width))), size, placed)
        if box is not None:
            placed.append(_PlacedDigit(glyph, int(labels[glyph]), turn, box, (color[0], color[1], color[2])))
    return tuple(placed)


def _free_place(
    rng: np.random.Generator, extent: tuple[int, int], size: tuple[int, int], placed: Sequence[_PlacedDigit]
) -> tuple[int, int, int, int] | None:
    """A box of ``extent`` that covers hardly any of the digits already placed, nor they of it."""
    height, width = extent
    for _ in range(_PLACING_TRIES):
        top, left = int(rng.integers(0, size[0] - height + 1)), int(rng.integers(0, size[1] - width + 1))
        box = (left, top, left + width, top + height)
        if all(_overlap(box, other.box) <= _MAX_OVERLAP for other in placed):
            return box
    return None


def _overlap(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> float:
    """The intersection over the smaller box's area."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return max(width, 0) * max(height, 0) / smaller


def _draw(key: tuple[int, int, int], placed: Sequence[_PlacedDigit], size: tuple[int, int]) -> Picture:
    """Draws a picture: background, then the digits, then noise and brightness over all."""
    rng = np.random.Generator(np.random.PCG64((*key, 1)))
    picture = np.array(_background(rng, size)).astype(np.int16)
    for digit in placed:
        left, top, right, bottom = digit.box
        ink = Image.fromarray(_ink(digit.glyph, digit.turn))
        alpha = np.asarray(ink.resize((right - left, bottom - top), Image.Resampling.BILINEAR))
        patch = picture[top:bottom, left:right].astype(np.int32)
        color = np.array(_contrasting(digit.color, patch.reshape(-1, 3).mean(axis=0)), np.int32)
        picture[top:bottom, left:right] = patch + (color - patch) * alpha[..., None].astype(np.int32) // 255
    noise = rng.integers(-9, 10, size=(*size, 1), dtype=np.int16)
    brightness = np.int16(rng.integers(55, 71))
    drawn: Picture = np.clip((picture * brightness >> 6) + noise, 0, 255).astype(np.uint8)
    return drawn


def _background(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A soft colour gradient with blotches, strokes, arcs and plates."""
    height, width = size
    base = rng.integers(30, 226) + rng.integers(-35, 36, size=3)
    grid = np.clip(base + rng.integers(-45, 46, size=(4, 4, 3)), 0, 255).astype(np.uint8)
    smooth = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
    blotches = rng.integers(0, 256, size=(height // 8, width // 8), dtype=np.uint8)
    rough = Image.fromarray(blotches).resize((width, height), Image.Resampling.BICUBIC)
    picture = Image.blend(smooth, rough.convert("RGB"), float(rng.uniform(0.02, 0.14)))
    draw = ImageDraw.Draw(picture)
    unit = min(size) / _REFERENCE_SIDE
    for _ in range(int(rng.integers(3, 10))):
        _draw_clutter(draw, rng, size, unit)
    return picture


def _draw_clutter(draw: ImageDraw.ImageDraw, rng: np.random.Generator, size: tuple[int, int], unit: float) -> None:
    """One thing that is no digit: a line, an arc, a plate or a ring."""
    kind = int(rng.integers(0, 4))
    x, y = int(rng.integers(0, size[1])), int(rng.integers(0, size[0]))
    w, h = (int(side * unit) for side in rng.integers(12, 80, size=2))
    thickness = max(1, int(rng.integers(1, 6) * unit))
    color = tuple(int(value) for value in rng.integers(0, 256, 3))
    if kind == 0:
        draw.line((x, y, x + int(rng.integers(-w, w + 1)), y + h), fill=color, width=thickness)
    elif kind == 1:
        start = int(rng.integers(0, 360))
        draw.arc((x, y, x + w, y + h), start, start + int(rng.integers(30, 140)), fill=color, width=thickness)
    elif kind == 2:
        draw.rectangle((x, y, x + w, y + h), fill=color)
    else:
        draw.polygon([(x, y), (x + w, y + h // 3), (x + w // 3, y + h)], outline=color, width=thickness)


def _contrasting(color: Color, ground: Any) -> Color:
    """``color``, moved in brightness until it stands out from the mean colour ``ground``."""
    weights = np.array([299, 587, 114])
    ink_light, ground_light = (int(weights @ np.rint(c).astype(np.int64)) // 1000 for c in (np.array(color), ground))
    away = 1 if ground_light < 128 else -1
    if abs(ink_light - ground_light) >= _MIN_CONTRAST:
        return color
    shift = ground_light + away * _MIN_CONTRAST - ink_light
    red, green, blue = (int(value) for value in np.clip(np.array(color) + shift, 0, 255))
    return red, green, blue


@cache
def _digits() -> tuple[_Bytes, Any]:
    """All glyphs, enlarged to smooth strokes: uint8 (1797, side, side), 255 where the ink is; and their classes."""
    from sklearn.datasets import load_digits

    values, labels = load_digits(return_X_y=True)
    padded = np.zeros((len(values), 10, 10), np.uint8)
    padded[:, 1:9, 1:9] = np.rint(values.reshape(-1, 8, 8) * (255 / 16))
    side = (_GLYPH_SIDE, _GLYPH_SIDE)
    glyphs = [np.asarray(Image.fromarray(glyph).resize(side, Image.Resampling.BICUBIC)) for glyph in padded]
    return np.stack(glyphs), labels.astype(np.int64)


@cache
def _split_glyphs() -> dict[str, Any]:
    """Indices of the glyphs of each split, the same share of every class."""
    labels = _digits()[1]
    rng = np.random.Generator(np.random.PCG64(_SPLIT_SEED))
    parts: dict[str, list[Any]] = {split: [] for split in _SPLITS}
    for label in range(len(CLASS_NAMES)):
        members = rng.permutation(np.flatnonzero(labels == label))
        cuts = np.rint(np.cumsum(_SHARES)[:-1] * len(members)).astype(int)
        for split, chosen in zip(_SPLITS, np.split(members, cuts), strict=True):
            parts[split].append(chosen)
    return {split: np.sort(np.concatenate(chosen)) for split, chosen in parts.items()}


def _ink(glyph: int, turn: float) -> _Bytes:
    """The strokes of a glyph, turned by ``turn`` degrees, with crisp edges, cut tight: uint8, 255 is ink."""
    turned = Image.fromarray(_digits()[0][glyph]).rotate(turn, Image.Resampling.BILINEAR)
    crisp: _Bytes = _crispness()[np.asarray(turned)]
    rows, columns = (np.flatnonzero((crisp >= _INK).any(axis=axis)) for axis in (1, 0))
    return crisp[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


@cache
def _crispness() -> _Bytes:
    """A table from soft to crisp ink: 0 below a third, 255 above two thirds, a smooth step between."""
    steps = np.clip((np.arange(256) - 90) / 80, 0, 1)
    table: _Bytes = np.rint(255 * steps * steps * (3 - 2 * steps)).astype(np.uint8)
    return table


BUILT_IN.register("digits")(digits_dataset)
