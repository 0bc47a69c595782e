"""Search for good widths where costs are products, and a bound that says how much better others could be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sapwood.allocation.costs import CostState, FloatArray, IntArray
from sapwood.allocation.problem import Problem
from sapwood.allocation.separable import lagrangian_bound, solve_separable

_SWEEPS = 4
"""Most rounds over the groups at one price."""
_REFINED_STATES = 200
"""States of the exact step on the linearised problem."""
_REFINEMENTS = 40
"""Most of those steps from the first start."""
_FURTHER_REFINEMENTS = 450
"""Those from each further start, times groups: large networks all but always end where the first start does."""
_CORRECTIONS = 4
"""How often a step is tried again with the budget lowered by what its true cost was above it."""
_MOST_DOUBLINGS = 60
_PRICE_HALVINGS = 12
_WORTH = 1e-12
"""The least relative fall of the loss that an exchange is made for, above rounding."""
_TINY = 1e-300
_EXCHANGE_VISITS = 6_000
"""Largest number of pairs of a changed group and another one that the exchange looks at in a round."""


class Search:
    """A point of a problem without sets of equal groups, moved one group at a time.

    Args:
        problem: The options.
        budget: What the cost may be.

    Attributes:
        places: For each group the position of its width in ``problem.widths``.
    """

    def __init__(self, problem: Problem, budget: float) -> None:
        self.problem = problem
        self.budget = budget
        self._widths = [widths.astype(np.float64) for widths in problem.widths]
        self._num_groups = len(problem.names)
        self.restart([len(widths) - 1 for widths in problem.widths])

    def restart(self, places: Sequence[int]) -> None:
        """Goes to other widths."""
        self.places = [int(place) for place in places]
        self._state = CostState(self.problem.cost, self.kept)
        self.cost = self.problem.cost.total(self.kept)

    @property
    def kept(self) -> IntArray:
        """The widths, shape (G,)."""
        return np.array([own[place] for own, place in zip(self.problem.widths, self.places, strict=True)], np.int64)

    @property
    def loss(self) -> float:
        """The sum of the losses."""
        return float(sum(own[place] for own, place in zip(self.problem.losses, self.places, strict=True)))

    def changes(self, group: int, first: int = 0, last: int | None = None) -> FloatArray:
        """How the cost changes if a group takes each of its widths from ``first`` to before ``last``."""
        return self._state.changes(group, self._widths[group][first:last])

    def move(self, group: int, place: int, change: float) -> None:
        """Gives a group another width, which changes the cost by ``change``."""
        self.places[group] = place
        self._state.move(group, int(self.problem.widths[group][place]))
        self.cost += change

    def sweep(self, price: float) -> None:
        """Lets each group in turn take the width of least loss + price * cost, until none moves."""
        for _ in range(_SWEEPS):
            moved = False
            for group in range(self._num_groups):
                changes = self.changes(group)
                place = int(np.argmin(self.problem.losses[group] + price * changes))
                if place != self.places[group]:
                    self.move(group, place, float(changes[place]))
                    moved = True
            if not moved:
                return

    def fill(self) -> None:
        """Widens groups while that fits, the largest fall of the loss a unit of cost first."""
        taken = True
        while taken:
            taken = False
            offers = [(self._widening(group), group) for group in range(self._num_groups)]
            for _, group in sorted(((offer[0], group) for offer, group in offers if offer), reverse=True):
                offer = self._widening(group)
                if offer is not None:
                    self.move(group, *offer[1:])
                    taken = True

    def _widening(self, group: int) -> tuple[float, int, float] | None:
        """The widening of a group that fits and brings most a unit of cost: that ratio, the place, the change."""
        start = self.places[group] + 1
        if start == len(self._widths[group]):
            return None
        changes = self.changes(group, start)
        gains = self.problem.losses[group][start - 1] - self.problem.losses[group][start:]
        ratios = np.where(self.cost + changes <= self.budget, gains / np.maximum(changes, _TINY), 0.0)
        best = int(np.argmax(ratios))
        return (float(ratios[best]), start + best, float(changes[best])) if ratios[best] > 0 else None


def solve_coupled(problem: Problem, budget: float, starts: Sequence[Sequence[int]]) -> tuple[IntArray, float]:
    """Looks for widths of small loss.

    A price on cost is raised until the widths that suit it fit the budget, each group choosing in turn with the others
    as they are. From there, and from every other start, the cost is written as a sum over groups around the present
    widths; the exact knapsack of that sum within a window is a step, taken where the true cost fits and the loss falls,
    and otherwise tried again with half the window. Then single groups are widened, and pairs exchanged.

    Args:
        problem: Without sets of equal groups; its smallest widths fit.
        budget: In the unit of the cost.
        starts: Widths that fit, for further descents.

    Returns:
        Widths that fit, and a loss that no widths within the budget can be below: see :func:`log_bound`.
    """
    search = Search(problem, budget)
    descend(search)
    points = [search.places]
    points += [
        [int(np.searchsorted(own, width)) for own, width in zip(problem.widths, kept, strict=True)] for kept in starts
    ]
    best: tuple[float, list[int]] | None = None
    further = min(_REFINEMENTS, max(2, _FURTHER_REFINEMENTS // len(problem.names)))
    for number, places in enumerate(points):
        search.restart(places)
        search.fill()
        refine(search, further if number else _REFINEMENTS)
        if best is None or search.loss < best[0]:
            best = search.loss, list(search.places)
    assert best is not None
    search.restart(best[1])
    exchange(search)
    return search.kept, min(search.loss, log_bound(problem, search.kept, budget))


def descend(search: Search) -> float:
    """From the widest, raises the price of cost until the widths fit, then narrows the price down and returns it."""
    losses = search.problem.losses
    price = 1e-4 * float(sum(own[0] - own[-1] for own in losses)) / max(search.cost, _TINY)
    low, above = 0.0, list(search.places)
    for _ in range(_MOST_DOUBLINGS):
        if search.cost <= search.budget:
            break
        low, above = price, list(search.places)
        price *= 2.0
        search.sweep(price)
    if search.cost > search.budget:  # what no price tells apart
        search.restart([0] * len(losses))
    fitting, high = list(search.places), price
    for _ in range(_PRICE_HALVINGS):
        search.restart(above)
        middle = (low + high) / 2.0
        search.sweep(middle)
        if search.cost <= search.budget:
            fitting, high = list(search.places), middle
        else:
            above, low = list(search.places), middle
    search.restart(fitting)
    return high


def refine(search: Search, steps: int) -> None:
    """Exact steps on the cost as a sum over groups, within a window that shrinks where the sum is no good model."""
    window = 0.25
    for _ in range(steps):
        before, places = search.loss, list(search.places)
        reach = [max(1, round(window * len(own))) for own in search.problem.losses]
        _step(search, reach)
        if search.cost <= search.budget and search.loss < before:
            continue
        search.restart(places)
        if max(reach) == 1:
            return
        window /= 2.0


def _step(search: Search, reach: Sequence[int]) -> None:
    """Goes to the solution of the linearised problem within ``reach`` places of the present ones."""
    ends = [len(own) for own in search.problem.losses]
    spans = [(max(0, p - r), min(n, p + r + 1)) for p, r, n in zip(search.places, reach, ends, strict=True)]
    changes = [search.changes(group, *span) for group, span in enumerate(spans)]
    losses = [own[slice(*span)] for own, span in zip(search.problem.losses, spans, strict=True)]
    room = search.budget - search.cost
    for _ in range(_CORRECTIONS):
        choice = solve_separable(losses, changes, room, max_states=_REFINED_STATES)
        if choice is None:
            return
        search.restart([span[0] + pick for span, pick in zip(spans, choice.picks, strict=True)])
        if search.cost <= search.budget:
            search.fill()
            return
        room -= search.cost - search.budget


def exchange(search: Search) -> None:
    """Gives one group another width and the best use of the difference to one other group, while that helps."""
    groups = range(len(search.places))
    reach = _EXCHANGE_VISITS // (2 * len(groups) ** 2)
    improved = reach > 0
    while improved:
        improved = sum(_exchange_one(search, group, reach) for group in groups) > 0


def _exchange_one(search: Search, group: int, reach: int) -> bool:
    """The best exchange of one group's neighbouring widths with each other group."""
    place, cost, loss = search.places[group], search.cost, search.loss
    losses = search.problem.losses
    best, found = loss * (1 - _WORTH), None
    first, last = max(0, place - reach), min(len(losses[group]), place + reach + 1)
    changes = search.changes(group, first, last)
    for own in range(first, last):
        if own == place:
            continue
        search.move(group, own, float(changes[own - first]))
        for other in range(len(search.places)):
            if other == group:
                continue
            theirs = search.changes(other)
            total = (
                loss - losses[group][place] + losses[group][own] - losses[other][search.places[other]] + losses[other]
            )
            total = np.where(search.cost + theirs <= search.budget, total, np.inf)
            at = int(np.argmin(total))
            if total[at] < best:
                best, found = float(total[at]), (own, other, at)
        search.move(group, place, cost - search.cost)
    if found is None:
        return False
    places = list(search.places)
    places[group], places[found[1]] = found[0], found[2]
    search.restart(places)
    search.fill()
    return True


def log_bound(problem: Problem, kept: IntArray, budget: float) -> float:
    r"""A loss that no widths within the budget can be below.

    A cost that is a sum of products of widths is convex in their logarithms, so its tangent at any point is below it:

    .. math:: C(w) \ge C(v) + \sum_g v_g \, rac{\partial C}{\partial w_g}(v) \, \log rac{w_g}{v_g}

    With the right side in the place of the cost the problem is a separable knapsack with fewer limits, and its
    Lagrangian bound is one of the true problem. Steps of the cost are left out, which only lowers it.

    Args:
        problem: Without sets of equal groups.
        kept: The point of the tangent, at best a good solution; shape (G,).
        budget: In the unit of the cost.

    References:
        Boyd et al., A tutorial on geometric programming, 2007, doi:10.1007/s11081-007-9001-7.
    """
    table = problem.cost.smooth()
    state = CostState(table, kept)
    tangents = [
        width * state.slope(group) * np.log(widths / width)
        for group, (width, widths) in enumerate(zip(kept.tolist(), problem.widths, strict=True))
    ]
    return lagrangian_bound(problem.losses, tangents, budget - table.total(kept))[0]
