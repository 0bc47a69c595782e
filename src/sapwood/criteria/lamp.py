"""LAMP: the share that a weight has of all that are not smaller, which makes layers comparable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sapwood.criteria.criterion import CRITERIA, WeightCriterion
from sapwood.criteria.norm import powers
from sapwood.criteria.view import ModelView


@CRITERIA.register("lamp")
@dataclass(frozen=True)
class Lamp(WeightCriterion):
    r"""Scores by the squared norm over the sum of the squared norms that are not smaller, in (0, 1].

    .. math:: s_c = \frac{\|w_c\|^2}{\sum_{u: \|w_u\|^2 \ge \|w_c\|^2} \|w_u\|^2}

    over the channels of a group, or over the elements of a parameter. Equal ones have equal scores (the paper lets the
    order of indices decide); where all are zero, all scores are.

    References:
        Lee et al., Layer-adaptive sparsity for the Magnitude-based Pruning, 2021, arXiv:2010.07611, eq. 1.
    """

    name: ClassVar[str] = "lamp"

    def values(self, name: str, view: ModelView) -> Tensor:
        """Squares."""
        return powers(view.parameter(name), 2.0)

    def finished(self, values: Tensor) -> Tensor:
        """Each value's share of all values that are not smaller."""
        return share_of_larger(values)


def share_of_larger(
    values: Tensor,  # shape: (C,), non-negative
) -> Tensor:  # shape: (C,)
    """Divides each value by the sum of those that are at least as large.

    Examples:
        >>> share_of_larger(torch.tensor([1.0, 3.0, 6.0, 0.0]))
        tensor([0.1000, 0.3333, 1.0000, 0.0000])
        >>> share_of_larger(torch.tensor([2.0, 2.0]))
        tensor([0.5000, 0.5000])
    """
    ascending = values.sort().values
    above = ascending.flip(0).cumsum(0).flip(0)  # of each and all after it
    totals = above[torch.searchsorted(ascending, values)]
    return torch.where(totals > 0, values / totals.where(totals > 0, torch.ones_like(totals)), 0.0)
