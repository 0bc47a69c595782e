"""Other views of unlabelled pictures, made in batches: whatever they show, the dense network tells what it sees."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import overload

import torch
from torch import Tensor
from torch.nn import functional as F

SMALL = 64
"""Pictures up to this size are moved by whole pixels and not scaled, which would blur them."""

SHIFT = 0.125
"""Largest shift, as a fraction of the size."""

SCALE = 1.5
"""Largest zoom, in or out."""

CONTRAST = 0.2
"""How far the factor on all values may be from 1."""

MIXED = 0.5
"""Fraction of the batches in which pictures are cut into each other."""

MOSAICS = 0.5
"""Fraction of the varied views that are mosaics."""

MOSAIC_SCALES = (0.3, 1.7)
"""Of the pictures in a mosaic."""

MOSAIC_CUT = (0.3, 0.7)
"""Where in the middle its four pictures meet."""

COLOURS = 0.25
"""How far factors of colours may be from 1."""

TINT = 0.5
"""What part of that those of single channels may be."""

DISTURBED = 1 / 3
"""Fraction of the varied views that are blurred, and of those that get noise."""

NOISE = 0.05
"""The largest deviation of the noise, where pictures are in [0, 1]."""


def augmented(inputs: Tensor, generator: torch.Generator) -> Tensor:  # shapes: (B, C, H, W)
    """Mirrors half of the pictures, moves, scales and brightens each at random, and cuts some into others.

    What comes from outside of a picture is 0. In :data:`MIXED` of the batches a rectangle of each picture is another
    picture's.

    Args:
        inputs: Network inputs.
        generator: Decides.
    """
    moved = moved_and_mirrored(inputs, generator)
    factor = 1.0 + (torch.rand(len(inputs), generator=generator) * 2.0 - 1.0) * CONTRAST
    moved = moved * factor.to(inputs.device, inputs.dtype)[:, None, None, None]
    return _cut(moved, generator) if float(torch.rand((), generator=generator)) < MIXED else moved


def varied(inputs: Tensor, generator: torch.Generator) -> Tensor:  # shapes: (B, C, H, W)
    """Views of which no two are alike: mosaics of four pictures at other scales, and other colours, blur and noise.

    Half of the views are mosaics, the others single pictures moved and scaled; small pictures (:data:`SMALL`) are
    moved only. A third is blurred, a third gets noise.

    Args:
        inputs: Network inputs.
        generator: Decides.
    """
    if max(inputs.shape[2:]) <= SMALL:
        return _in_other_colours(_moved_by_pixels(inputs, generator), generator)
    mosaics = _mosaics(inputs, generator)
    single = _warped(inputs, generator)
    chosen = torch.rand(len(inputs), generator=generator) < MOSAICS
    found = torch.where(chosen.to(inputs.device)[:, None, None, None], mosaics, single)
    found = _in_other_colours(found, generator)
    blurred = torch.rand(len(inputs), generator=generator) < DISTURBED
    if bool(blurred.any()):
        found[blurred] = F.avg_pool2d(found[blurred], 3, stride=1, padding=1, count_include_pad=False)
    strength = torch.rand(len(inputs), generator=generator) * NOISE
    strength *= torch.rand(len(inputs), generator=generator) < DISTURBED
    noise = torch.randn(found.shape, generator=generator).to(found.device, found.dtype)
    return found + noise * strength.to(found.device, found.dtype)[:, None, None, None]


def _mosaics(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Four pictures around a place near the middle, each at a scale of its own, mirrored or not."""
    height, width = inputs.shape[2:]
    cut = [round(size * float(torch.empty(()).uniform_(*MOSAIC_CUT, generator=generator))) for size in (height, width)]
    found = torch.empty_like(inputs)
    for down in (slice(0, cut[0]), slice(cut[0], height)):
        for right in (slice(0, cut[1]), slice(cut[1], width)):
            order = torch.randperm(len(inputs), generator=generator)
            low, high = (math.log(one) for one in MOSAIC_SCALES)
            scale = torch.empty(len(inputs)).uniform_(low, high, generator=generator).exp()
            shape = (len(inputs), inputs.shape[1], down.stop - down.start, right.stop - right.start)
            found[..., down, right] = _windows(inputs[order], shape, scale, generator)
    return found


def _windows(inputs: Tensor, shape: Sequence[int], scale: Tensor, generator: torch.Generator) -> Tensor:
    """A window of each picture at a scale of its own, at a place where as much of it is seen as there can be."""
    theta = torch.zeros(len(inputs), 2, 3)
    mirrored = torch.where(torch.rand(len(inputs), generator=generator) < 0.5, -1.0, 1.0)
    for axis, (window, size) in enumerate(((shape[3], inputs.shape[3]), (shape[2], inputs.shape[2]))):
        part = window / size / scale  # of the picture's side that the window shows
        theta[:, axis, axis] = part * mirrored if axis == 0 else part
        theta[:, axis, 2] = (torch.rand(len(inputs), generator=generator) * 2.0 - 1.0) * (1.0 - part).abs()
    grid = F.affine_grid(theta.to(inputs.device, inputs.dtype), list(shape), align_corners=False)
    return F.grid_sample(inputs, grid, align_corners=False)


def _in_other_colours(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Each picture with other contrast, other strength of each channel, and nearer to grey or farther from it."""

    def factors(*shape: int) -> Tensor:
        drawn = 1.0 + (torch.rand(len(inputs), *shape, generator=generator) * 2.0 - 1.0) * COLOURS
        return drawn.to(inputs.device, inputs.dtype)

    grey = inputs.mean(dim=1, keepdim=True)
    saturated = grey + (inputs - grey) * factors(1, 1, 1)
    tinted = 1.0 + (factors(inputs.shape[1], 1, 1) - 1.0) * TINT
    return saturated * tinted * factors(1, 1, 1)


def moved_and_mirrored(inputs: Tensor, generator: torch.Generator) -> Tensor:  # shapes: (B, C, H, W)
    """Mirrors half of the pictures, and moves and scales each at random."""
    return _moved_by_pixels(inputs, generator) if max(inputs.shape[2:]) <= SMALL else _warped(inputs, generator)


class Looks(Sequence[Tensor]):
    """The batches, then their mirror images, then as many random views of each as are missing to ``views``.

    A view is made when it is asked for, the same one each time: pictures take memory once, however often they are
    looked at.

    Args:
        batches: Pictures, shape (B, C, H, W) each.
        views: Looks at each picture, at least 1.
        seed: Of the random ones.

    Examples:
        >>> looks = Looks([torch.arange(4.0).reshape(1, 1, 1, 4)], views=2, seed=0)
        >>> [look.flatten().tolist() for look in looks]
        [[0.0, 1.0, 2.0, 3.0], [3.0, 2.0, 1.0, 0.0]]
    """

    def __init__(self, batches: Sequence[Tensor], views: int, seed: int) -> None:
        self._batches, self._views = batches, views
        self._generator = torch.Generator().manual_seed(seed)
        self._states = [self._generator.get_state()]

    def __len__(self) -> int:
        return len(self._batches) * self._views

    @overload
    def __getitem__(self, number: int) -> Tensor: ...

    @overload
    def __getitem__(self, number: slice) -> list[Tensor]: ...

    def __getitem__(self, number: int | slice) -> Tensor | list[Tensor]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        if not 0 <= number < len(self):
            raise IndexError(f"look {number} of {len(self)}")
        turn, place = divmod(number, len(self._batches))
        if turn < 2:
            return self._batches[place].flip(3) if turn else self._batches[place]
        return self._random(number - 2 * len(self._batches))

    def _random(self, number: int) -> Tensor:
        """A random view; each one's draw begins where the last one's ended."""
        for before in range(len(self._states) - 1, number):
            self._draw(before)
        return self._draw(number)

    def _draw(self, number: int) -> Tensor:
        self._generator.set_state(self._states[number])
        view = moved_and_mirrored(self._batches[number % len(self._batches)], self._generator)
        if number + 1 == len(self._states):
            self._states.append(self._generator.get_state())
        return view


def _moved_by_pixels(inputs: Tensor, generator: torch.Generator) -> Tensor:
    height, width = inputs.shape[2:]
    reach = (round(SHIFT * height), round(SHIFT * width))
    padded = F.pad(inputs, (reach[1], reach[1], reach[0], reach[0]))
    found = torch.empty_like(inputs)
    for number, picture in enumerate(padded):
        top, left = (int(torch.randint(2 * one + 1, (), generator=generator)) for one in reach)
        view = picture[:, top : top + height, left : left + width]
        found[number] = view.flip(2) if float(torch.rand((), generator=generator)) < 0.5 else view
    return found


def _warped(inputs: Tensor, generator: torch.Generator) -> Tensor:
    count = len(inputs)

    def uniform(bound: float) -> Tensor:
        return (torch.rand(count, generator=generator) * 2.0 - 1.0) * bound

    mirrored = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    scale = uniform(math.log(SCALE)).exp()
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = mirrored * scale, scale
    theta[:, 0, 2], theta[:, 1, 2] = 2.0 * uniform(SHIFT), 2.0 * uniform(SHIFT)
    theta = theta.to(inputs.device, inputs.dtype)
    return F.grid_sample(inputs, F.affine_grid(theta, list(inputs.shape), align_corners=False), align_corners=False)


def _cut(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """A rectangle, a quarter to three quarters of each side, at one place for the batch, is the next picture's."""
    height, width = inputs.shape[2:]
    sides = [
        max(1, round(size * float(torch.empty(()).uniform_(0.25, 0.75, generator=generator))))
        for size in (height, width)
    ]
    top, left = (
        int(torch.randint(size - side + 1, (), generator=generator))
        for size, side in zip((height, width), sides, strict=True)
    )
    area = (..., slice(top, top + sides[0]), slice(left, left + sides[1]))
    found = inputs.clone()
    found[area] = inputs.roll(1, dims=0)[area]
    return found
