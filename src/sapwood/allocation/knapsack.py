"""The least loss within the budget: exact where costs add up over groups, a bounded heuristic where they multiply."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sapwood.allocation.costs import CostState, IntArray
from sapwood.allocation.coupled import solve_coupled
from sapwood.allocation.global_threshold import threshold_widths
from sapwood.allocation.problem import ALLOCATORS, Allocation, Problem, allocation, decisions
from sapwood.allocation.separable import Choice, solve_separable
from sapwood.allocation.uniform import uniform_widths

_TRIES = 20
"""How often a separable problem is solved again because rounding put its cost above the budget."""


@ALLOCATORS.register("knapsack")
@dataclass(frozen=True)
class Knapsack:
    """Minimises the sum of the groups' losses within the budget.

    Where every term of the cost depends on one group, the result is the best there is (``gap`` 0), unless
    ``max_states`` did not suffice. Where terms multiply widths, as MACs do, it is the best that
    :func:`sapwood.allocation.coupled.solve_coupled` finds, and ``gap`` comes from a bound that holds for every
    allocation: it is a proof of how good the result is, and larger than the true difference.

    Attributes:
        max_states: Partial solutions that the exact solver keeps at most.

    Examples:
        >>> from sapwood.allocation import CostTable, Extent, Term, allowed_widths, losses_from_scores
        >>> cost = CostTable("ms", (Term("a", 2.0, (Extent(0, {0: 1}),)), Term("b", 1.0, (Extent(0, {1: 1}),))))
        >>> widths = (allowed_widths(3), allowed_widths(3))
        >>> scores = (np.array([3.0, 2.0, 4.0]), np.array([1.0, 2.0, 2.5]))
        >>> losses = tuple(map(losses_from_scores, scores, widths))
        >>> Knapsack()(Problem(("a", "b"), (3, 3), widths, losses, cost), 7.0)
        Allocation(kept=(2, 3), loss=2.0, cost=7.0, gap=0.0)
    """

    max_states: int = 5_000

    def __call__(self, problem: Problem, budget: float) -> Allocation:
        """Returns the widths; see :class:`Allocator`."""
        reduced = decisions(problem, budget)
        kept, gap = self._solve(reduced.problem, budget)
        return allocation(problem, reduced.expanded(kept.tolist()), gap=gap)

    def _solve(self, problem: Problem, budget: float) -> tuple[IntArray, float]:
        """The widths and the gap, of a problem without sets of equal groups."""
        widest = np.array([own[-1] for own in problem.widths], dtype=np.int64)
        if problem.cost.total(widest) <= budget:
            return widest, 0.0
        if problem.cost.separable:
            return self._separable(problem, budget)
        starts = [uniform_widths(problem, budget)]
        if problem.scores is not None:
            starts.append(threshold_widths(problem, budget))
        kept, bound = solve_coupled(problem, budget, starts)
        return kept, max(0.0, problem.loss(kept.tolist()) - bound)

    def _separable(self, problem: Problem, budget: float) -> tuple[IntArray, float]:
        least = np.array([own[0] for own in problem.widths], dtype=np.int64)
        state = CostState(problem.cost, least)
        costs = [state.changes(group, own.astype(np.float64)) for group, own in enumerate(problem.widths)]
        fixed = problem.cost.total(least)
        room = (budget - fixed) + 1e-12 * abs(budget)  # a sum in another order must not lose what fits exactly
        for _ in range(_TRIES):
            choice = solve_separable(problem.losses, costs, max(room, 0.0), max_states=self.max_states)
            assert isinstance(choice, Choice)  # the smallest widths cost nothing here
            kept = np.array([own[pick] for own, pick in zip(problem.widths, choice.picks, strict=True)], dtype=np.int64)
            if problem.cost.total(kept) <= budget:
                return kept, choice.loss - choice.bound
            room = sum(float(own[pick]) for own, pick in zip(costs, choice.picks, strict=True)) * (1 - 1e-15) - 1e-300
        return least, problem.loss(least.tolist()) - float(sum(own[-1] for own in problem.losses))
