"""The norm of all weights that go with a channel."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sapwood.criteria.criterion import CRITERIA, WeightCriterion
from sapwood.criteria.reduce import index_sums, slice_sums
from sapwood.criteria.view import ModelView
from sapwood.errors import ConfigError
from sapwood.graph import ChannelGroup

BLOCK = 1 << 16
"""How many weights are widened at a time."""


@CRITERIA.register("norm")
@dataclass(frozen=True)
class NormCriterion(WeightCriterion):
    r"""Scores a channel by the norm of every weight that goes with it, a weight by its magnitude.

    .. math:: s_c = \Big(\sum_{i \in c} |w_i|^n\Big)^{1/n}

    Attributes:
        n: Which norm, in (0, inf).

    References:
        Li et al., Pruning Filters for Efficient ConvNets, 2017, arXiv:1608.08710; over groups: Fang et al., DepGraph,
        2023, arXiv:2301.12900, eq. 5.
    """

    name: ClassVar[str] = "norm"
    n: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.n < float("inf"):
            raise ConfigError(f"n is {self.n}; expected a number in (0, inf)")

    @property
    def adds_as(self) -> float:
        """Norms are roots of sums."""
        return self.n

    def values(self, name: str, view: ModelView) -> Tensor:
        """Powers of magnitudes."""
        return powers(view.parameter(name), self.n)

    def sums(self, name: str, view: ModelView, dims: Collection[int]) -> Mapping[int, Tensor]:
        """Sums of powers, of a large weight some rows at a time: what is widened whole fits into no cache.

        Kernels, which are short rows of memory, are added up last, when one is left for each column.
        """
        weight = view.parameter(name).detach()
        if weight.numel() <= BLOCK or weight.dim() < 2 or set(dims) != {0, 1} or not weight.is_contiguous():
            return super().sums(name, view, dims)
        rows, kernels = [], torch.zeros(weight.shape[1:], dtype=torch.float64, device=weight.device)
        room: Tensor | None = None
        for part in torch.split(weight, max(1, BLOCK * len(weight) // weight.numel())):
            each = powers(part, self.n, room)
            room = each if room is None else room
            rows.append(each.flatten(1).sum(dim=1))
            kernels += each.sum(dim=0)
        return {0: torch.cat(rows).cpu(), 1: index_sums(kernels, 0)}

    def finished(self, values: Tensor) -> Tensor:
        """Roots."""
        return values.pow(1.0 / self.n)


@CRITERIA.register("l1")
@dataclass(frozen=True)
class L1(NormCriterion):
    """:class:`NormCriterion` with n = 1."""

    name: ClassVar[str] = "l1"
    n: float = 1.0


@CRITERIA.register("l2")
@dataclass(frozen=True)
class L2(NormCriterion):
    """:class:`NormCriterion` with n = 2."""

    name: ClassVar[str] = "l2"


def powers(weights: Tensor, n: float, room: Tensor | None = None) -> Tensor:
    """|w|^n in float64; in ``room``, which has as many rows or more, where that is given."""
    if weights.is_complex():
        weights = weights.abs()
    if room is None:
        wide = weights.detach().to(torch.float64, copy=True)
    else:
        wide = room[: len(weights)].copy_(weights.detach())
    return wide.square_() if n == 2 else wide.abs_().pow_(n)


def norm_scores(group: ChannelGroup, parameters: Mapping[str, Tensor], *, n: float = 2.0) -> Tensor:
    """Scores each channel of a group as :class:`NormCriterion` does, from nothing but the values of parameters.

    Args:
        group: The channels and their slices.
        parameters: The model's parameters by name; members that are buffers count for nothing.
        n: Which norm.

    Returns:
        One non-negative score a channel, float64, shape (C,); larger is more important.
    """
    totals = torch.zeros(group.num_channels, dtype=torch.float64)
    for member in group.members:
        if member.tensor in parameters:
            values = powers(parameters[member.tensor], n)
            totals += slice_sums(values, member.dim, member.column, group.num_channels)
    return totals.pow(1.0 / n)
