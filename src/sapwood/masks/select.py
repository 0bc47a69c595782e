"""The only top-k of Sapwood: which channels stay, given how many; ties and rounding are decided here alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sapwood.errors import ConfigError, ShapeError
from sapwood.ops import Axis


def num_kept(num_channels: int, sparsity: float, *, round_to: int = 1, minimum: int = 1) -> int:
    """How many of ``num_channels`` stay at a sparsity.

    Half channels are removed rather than kept (2.5 of 5 removed is 3). At least ``minimum`` stay; with ``round_to``
    the number is a multiple of it, the nearest one, as long as the group is that wide.

    Args:
        num_channels: Channels there are.
        sparsity: Fraction removed, in [0, 1).
        round_to: Multiple that the result should be of.
        minimum: The fewest that stay.

    Raises:
        ConfigError: If ``sparsity`` is not in [0, 1).

    Examples:
        >>> num_kept(64, 0.5), num_kept(5, 0.5), num_kept(64, 0.3, round_to=8), num_kept(3, 0.99)
        (32, 2, 48, 1)
    """
    if not 0.0 <= sparsity < 1.0:
        raise ConfigError(f"sparsity {sparsity}; expected a number in [0, 1)")
    kept = num_channels - math.floor(num_channels * sparsity + 0.5)
    if round_to > 1:
        kept = max(1, math.floor(kept / round_to + 0.5)) * round_to
    return min(num_channels, max(kept, minimum, 1))


def keep_largest(scores: Tensor, count: int) -> Tensor:  # scores shape: (C,)
    """Marks the ``count`` channels with the largest scores; of equal ones, those of lower index.

    Args:
        scores: One finite score a channel, shape (C,).
        count: How many stay.

    Returns:
        bool, shape (C,), True = keep, with exactly ``count`` True.

    Raises:
        ShapeError: If ``scores`` is not one-dimensional, not finite, or has fewer than ``count`` entries.

    Examples:
        >>> keep_largest(torch.tensor([1.0, 3.0, 3.0, 3.0]), 2).tolist()
        [False, True, True, False]
    """
    if scores.dim() != 1 or count > len(scores) or not bool(torch.isfinite(scores).all()):
        raise ShapeError(
            f"scores of shape {tuple(scores.shape)} for {count} channels; expected finite ones, (C,) with C >= {count}"
        )
    if count < 1:
        return torch.zeros(len(scores), dtype=torch.bool)
    values = scores.detach().cpu()
    threshold = values.kthvalue(len(values) - count + 1).values
    mask = values > threshold
    equal = torch.nonzero(values == threshold)[:, 0]
    mask[equal[: count - int(mask.sum())]] = True
    return mask


def lowest_units(units: Sequence[Sequence[int]], scores: Sequence[Tensor], kept: Sequence[int]) -> Axis:
    """Picks the units that go: in each group those with the smallest scores.

    Args:
        units: The units of each group.
        scores: For each group one score a unit, larger is kept first.
        kept: How many units of each group stay.

    Returns:
        The removed units of all groups, sorted, int64.
    """
    removed: list[int] = []
    for own, values, count in zip(units, scores, kept, strict=True):
        if count < len(own):
            stays = keep_largest(values, count).tolist()
            removed += [unit for unit, keep in zip(own, stays, strict=True) if not keep]
    return np.array(sorted(removed), dtype=np.int64)
