"""One threshold on scores for the whole network: the global structured pruning that torch lacks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sapwood.allocation.costs import FloatArray, IntArray
from sapwood.allocation.problem import ALLOCATORS, Allocation, Problem, allocation, decisions
from sapwood.errors import ConfigError


@ALLOCATORS.register("global")
@dataclass(frozen=True)
class GlobalThreshold:
    """Removes the lowest scores of the whole network, one after the other, until the budget fits.

    Where a group may only lose several channels at a time, they go when their mean score is the next in turn; groups
    that must stay equal lose their lowest together, by the mean. Of equal scores the earlier group's goes first.

    Examples:
        >>> from sapwood.allocation import CostTable, Extent, Term, allowed_widths, losses_from_scores
        >>> cost = CostTable("parameters", (Term("a", 1, (Extent(0, {0: 1}),)), Term("b", 1, (Extent(0, {1: 1}),))))
        >>> scores = (np.array([9.0, 1.0, 8.0]), np.array([2.0, 7.0, 3.0]))
        >>> widths = (allowed_widths(3), allowed_widths(3))
        >>> losses = tuple(map(losses_from_scores, scores, widths))
        >>> GlobalThreshold()(Problem(("a", "b"), (3, 3), widths, losses, cost, scores=scores), 3.0).kept
        (2, 1)
    """

    def __call__(self, problem: Problem, budget: float) -> Allocation:
        """Returns the widths; see :class:`Allocator`.

        Raises:
            ConfigError: If the problem has no scores.
        """
        if problem.scores is None:
            raise ConfigError("allocator 'global': the problem has no scores; expected one a channel")
        reduced = decisions(problem, budget)
        return allocation(problem, reduced.expanded(threshold_widths(reduced.problem, budget)))


def threshold_widths(problem: Problem, budget: float) -> tuple[int, ...]:
    """The widths at the lowest threshold that fits, of a problem with scores and without sets of equal groups."""
    assert problem.scores is not None
    steps = [_step_scores(scores, widths) for scores, widths in zip(problem.scores, problem.widths, strict=True)]
    owners = np.repeat(np.arange(len(steps)), [len(own) for own in steps])
    order = owners[np.argsort(np.concatenate(steps), kind="stable")]

    def widths_after(num_steps: int) -> IntArray:
        taken = np.bincount(order[:num_steps], minlength=len(steps))
        return np.array([own[len(own) - 1 - by] for own, by in zip(problem.widths, taken, strict=True)], dtype=np.int64)

    if problem.cost.total(widths_after(0)) <= budget:
        return tuple(widths_after(0).tolist())
    over, fits = 0, len(order)
    while fits - over > 1:
        middle = (fits + over) // 2
        over, fits = (over, middle) if problem.cost.total(widths_after(middle)) <= budget else (middle, fits)
    return tuple(widths_after(fits).tolist())


def _step_scores(scores: FloatArray, widths: IntArray) -> FloatArray:  # shape: (W - 1,), widest step first
    """The mean score of the channels that each step from one width to the next lower takes; never falls."""
    total = np.concatenate([[0.0], np.cumsum(np.sort(scores))])
    removed = len(scores) - widths[::-1]
    means = np.diff(total[removed]) / np.diff(removed)
    return np.asarray(np.maximum.accumulate(means), dtype=np.float64)  # rounding must not reorder a group's steps
