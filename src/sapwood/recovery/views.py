"""Other views of unlabelled pictures, made in batches: whatever they show, the dense network tells what it sees."""

from __future__ import annotations

import math
from collections.abc import Sequence

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


def moved_and_mirrored(inputs: Tensor, generator: torch.Generator) -> Tensor:  # shapes: (B, C, H, W)
    """Mirrors half of the pictures, and moves and scales each at random."""
    return _moved_by_pixels(inputs, generator) if max(inputs.shape[2:]) <= SMALL else _warped(inputs, generator)


def looked_at_again(batches: Sequence[Tensor], views: int, seed: int) -> list[Tensor]:
    """The batches, then their mirror images, then as many random views of each as are missing to ``views``.

    Args:
        batches: Pictures, shape (B, C, H, W) each.
        views: Looks at each picture, at least 1.
        seed: Of the random ones.
    """
    generator = torch.Generator().manual_seed(seed)
    found = [*batches, *(batch.flip(3) for batch in batches)][: len(batches) * min(views, 2)]
    return found + [moved_and_mirrored(batch, generator) for _ in range(views - 2) for batch in batches]


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
