"""The same sparsity everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sapwood.allocation.costs import IntArray
from sapwood.allocation.factors import held_groups
from sapwood.allocation.problem import ALLOCATORS, Allocation, Problem, allocation, decisions
from sapwood.graph import Analysis


def uniform(analysis: Analysis, sparsity: float) -> Mapping[int, float]:
    """Gives every channel group the same sparsity.

    Args:
        analysis: The model's groups.
        sparsity: Fraction of each group's channels that goes, in [0, 1).

    Returns:
        Position in ``analysis.groups`` -> fraction of its channels that goes. A dimension made of two factors loses
        from one of them only.
    """
    held = held_groups(analysis)
    return {number: 0.0 if number in held else sparsity for number in range(len(analysis.groups))}


@ALLOCATORS.register("uniform")
@dataclass(frozen=True)
class Uniform:
    """Keeps the same fraction of every group, the largest that fits the budget.

    Each group takes the allowed width that is nearest to the fraction; of two equally near ones the smaller. Losses and
    scores play no part.

    Examples:
        >>> from sapwood.allocation import CostTable, Extent, Term, allowed_widths, losses_from_scores
        >>> cost = CostTable("parameters", (Term("a", 1, (Extent(0, {0: 1}), Extent(0, {1: 1}))),))
        >>> widths = (allowed_widths(8), allowed_widths(4))
        >>> losses = tuple(losses_from_scores(np.ones(int(own[-1])), own) for own in widths)
        >>> Uniform()(Problem(("a", "b"), (8, 4), widths, losses, cost), 20.0).kept
        (6, 3)
    """

    def __call__(self, problem: Problem, budget: float) -> Allocation:
        """Returns the widths; see :class:`Allocator`."""
        reduced = decisions(problem, budget)
        return allocation(problem, reduced.expanded(uniform_widths(reduced.problem, budget)))


def uniform_widths(problem: Problem, budget: float) -> tuple[int, ...]:
    """The widths at the largest fraction that fits, of a problem without sets of equal groups."""
    edges = [
        (widths[:-1] + widths[1:]) / (2.0 * channels)  # up to here a group takes the lower of two widths
        for widths, channels in zip(problem.widths, problem.num_channels, strict=True)
    ]
    fractions = np.append(np.unique(np.concatenate(edges)), np.inf)

    def widths_at(number: int) -> IntArray:
        places = [np.searchsorted(own, fractions[number], side="left") for own in edges]
        return np.array([own[place] for own, place in zip(problem.widths, places, strict=True)], dtype=np.int64)

    fits, over = 0, len(fractions)
    while over - fits > 1:
        middle = (fits + over) // 2
        fits, over = (middle, over) if problem.cost.total(widths_at(middle)) <= budget else (fits, middle)
    return tuple(widths_at(fits).tolist())
