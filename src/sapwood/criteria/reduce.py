"""From slices to one score a channel: sums over a slice, reduction over slices, normalisation within a group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

Reduction = Literal["sum", "mean", "max"]
"""How the slices that go with a channel become one value; ``"max"`` is the value farthest from zero."""

Normalize = Literal["none", "sum", "mean", "max", "standard"]
"""What the scores of a group are divided by: nothing; the sum, mean or maximum of their absolute values; or their
standard deviation, after their mean is taken off."""


def slice_sums(
    values: Tensor,
    dim: int,
    column: np.ndarray[Any, np.dtype[np.int64]],  # shape: (size of dim,)
    num_channels: int,
) -> Tensor:  # shape: (num_channels,), float64
    """Adds up everything that goes with each channel in one tensor.

    Args:
        values: One value an element of a parameter.
        dim: The dimension of ``values`` that loses indices with the channels.
        column: For each index of that dimension the channel it belongs to, or -1.
        num_channels: Channels there are.

    Examples:
        >>> slice_sums(torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), 0, np.array([1, -1, 0]), 2)
        tensor([11.,  3.], dtype=torch.float64)
    """
    return channel_sums(index_sums(values, dim), column, num_channels)


def index_sums(values: Tensor, dim: int) -> Tensor:  # shape: (size of dim,), float64
    """Adds up everything that stands at each index of a dimension."""
    others = [other for other in range(values.dim()) if other != dim]
    rows = values.to(torch.float64)
    return (rows.sum(dim=others) if others else rows).cpu()


def channel_sums(rows: Tensor, column: np.ndarray[Any, np.dtype[np.int64]], num_channels: int) -> Tensor:
    """Adds up what belongs to each channel; see :func:`slice_sums`."""
    if len(column) == num_channels and _counts(column):  # as in most parameters
        return rows.to(torch.float64, copy=True)
    return torch.from_numpy(np.bincount(column + 1, weights=rows.numpy(), minlength=num_channels + 1)[1:])


def _counts(column: np.ndarray[Any, np.dtype[np.int64]]) -> bool:
    """Whether a column is 0, 1, 2, and so on; looked at from its ends first."""
    last = len(column) - 1
    return not len(column) or bool(
        column[0] == 0 and column[-1] == last and np.count_nonzero(column[1:] - column[:-1] == 1) == last
    )


def reduced(slices: Sequence[Tensor], reduction: Reduction) -> Tensor:  # shapes: S times (C,) -> (C,)
    """Reduces the values of a channel's slices to one.

    Examples:
        >>> reduced([torch.tensor([1.0, -4.0]), torch.tensor([2.0, 3.0])], "max")
        tensor([ 2., -4.])
    """
    values = torch.stack(list(slices))
    if reduction == "sum":
        return values.sum(dim=0)
    if reduction == "mean":
        return values.mean(dim=0)
    return values.gather(0, values.abs().argmax(dim=0, keepdim=True))[0]


def normalized(scores: Tensor, how: Normalize) -> Tensor:  # shape: (C,)
    """Brings the scores of a group to a scale on which groups compare; scores that are all zero stay zero.

    Examples:
        >>> normalized(torch.tensor([1.0, 3.0]), "mean")
        tensor([0.5000, 1.5000])
        >>> normalized(torch.tensor([3.0, 3.0]), "standard")
        tensor([0., 0.])
    """
    if how == "none":
        return scores
    if how == "standard":
        centred = scores - scores.mean()
        return _divided(centred, centred.square().mean().sqrt())
    sizes = scores.abs()
    if how == "max":
        return _divided(scores, sizes.max())
    return _divided(scores, sizes.sum() if how == "sum" else sizes.mean())


def _divided(scores: Tensor, by: Tensor) -> Tensor:
    return scores / by if float(by) > 0 else torch.zeros_like(scores)
