"""The multiple-choice knapsack: one option a group, least loss, costs that add up; solved to the proven best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sapwood.allocation.costs import FloatArray, IntArray

_MOST_COMBINATIONS = 4_000_000
"""States times options that one step of the dynamic programme makes at most."""
_FIRST_STATES = 200
"""States of a first, quick run, whose solution makes the gap of the full one smaller."""
_ROUNDING = 1e-13
"""Relative to the largest losses: what is better by less than this is not looked for."""


@dataclass(frozen=True)
class Choice:
    """A solution and what is known of the best.

    Attributes:
        picks: The option of each group.
        loss: Their losses together.
        bound: No solution has less.
    """

    picks: tuple[int, ...]
    loss: float
    bound: float


@dataclass(frozen=True)
class _Options:
    """Options of N groups in rows, padded with infinite losses; each row by rising cost and falling loss.

    Attributes:
        losses: Shape (N, M).
        costs: Shape (N, M); the least of each row is 0.
        origin: Which option of its group each is, shape (N, M).
    """

    losses: FloatArray
    costs: FloatArray
    origin: IntArray

    def of(self, picks: IntArray) -> tuple[float, float]:
        """Loss and cost of one column a row."""
        rows = np.arange(len(picks))
        return float(self.losses[rows, picks].sum()), float(self.costs[rows, picks].sum())


@dataclass(frozen=True)
class _Dual:
    """The Lagrangian bound: every solution within the budget has a loss of at least ``bound + its reduced losses``.

    Attributes:
        room: What the costs may add up to.
        multiplier: Loss a unit of cost is worth.
        bound: The bound.
        picks: The best solution within the budget that was met on the way.
    """

    room: float
    multiplier: float
    bound: float
    picks: IntArray

    def excess(self, states: _States, most_left: float) -> FloatArray:
        """How far above the bound each partial solution ends at least; the rest can cost up to ``most_left``."""
        unspent = np.maximum(self.room - states.costs - most_left, 0.0)
        excess: FloatArray = states.sums + self.multiplier * unspent
        return excess


@dataclass(frozen=True)
class _States:
    """Partial solutions.

    Attributes:
        costs: Shape (S,).
        sums: Their reduced losses, shape (S,).
    """

    costs: FloatArray
    sums: FloatArray

    def at(self, numbers: IntArray) -> _States:
        """Some of them."""
        return _States(self.costs[numbers], self.sums[numbers])

    def losses(self, dual: _Dual) -> FloatArray:
        """Their losses, up to a constant."""
        losses: FloatArray = self.sums - dual.multiplier * self.costs
        return losses


def solve_separable(
    losses: Sequence[FloatArray], costs: Sequence[FloatArray], budget: float, *, max_states: int = 20_000
) -> Choice | None:
    r"""Minimises the sum of losses over one option a group, with the sum of costs at most ``budget``.

    The Lagrangian bound is found by intersecting the lines of its two best solutions; options whose reduced loss
    exceeds the gap to the best known solution cannot be part of a better one and go; what is left is solved by a
    dynamic programme over lists of undominated (cost, loss), widest steps first, with the same bound.

    .. math:: \min \sum_g \ell_g(x_g) \quad \text{with} \quad \sum_g c_g(x_g) \le B

    Args:
        losses: For each group its options' losses, shape (W_g,), any finite numbers.
        costs: Their costs, any finite numbers in any order.
        budget: In the unit of ``costs``.
        max_states: Most partial solutions the dynamic programme keeps. Where it needs more, those with the worst bounds
            are dropped, and the result's ``bound`` says what that may have cost.

    Returns:
        The solution, or None where no options fit. ``loss == bound`` means that it is proven to be the best.

    Examples:
        >>> losses = [np.array([5.0, 1.0, 0.0]), np.array([4.0, 0.0])]
        >>> costs = [np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0])]
        >>> solve_separable(losses, costs, 5.0)
        Choice(picks=(1, 1), loss=1.0, bound=1.0)

    References:
        Pisinger, A minimal algorithm for the multiple-choice knapsack problem, 1995, doi:10.1016/0377-2217(95)00015-I.
    """
    options, offset = _sorted_options(losses, costs)
    room = budget - offset
    dual = _dual(options, room)
    if dual is None:
        return None
    best = dual.picks
    tolerance = _ROUNDING * float(sum(np.abs(own).max() for own in losses))
    missed = np.inf
    for states in sorted({min(_FIRST_STATES, max_states), max_states}):
        columns = _worth_trying(options, dual, options.of(best)[0] - dual.bound - tolerance)
        best = _filled(options, best, columns, room)
        gap = options.of(best)[0] - dual.bound - tolerance
        found, missed = _programme(options, dual, gap, states)
        best = best if found is None else found
        if missed == np.inf:
            break
    loss = options.of(best)[0]
    picks = options.origin[np.arange(len(best)), best]
    return Choice(tuple(picks.tolist()), loss, min(loss, dual.bound + missed))


def lagrangian_bound(
    losses: Sequence[FloatArray], costs: Sequence[FloatArray], budget: float
) -> tuple[float, IntArray]:
    """The Lagrangian bound of :func:`solve_separable` alone, and options that fit, not far from it.

    Raises:
        ValueError: If no options fit.
    """
    options, offset = _sorted_options(losses, costs)
    dual = _dual(options, budget - offset)
    if dual is None:
        raise ValueError("no options fit the budget")
    return dual.bound, options.origin[np.arange(len(dual.picks)), dual.picks]


def _sorted_options(losses: Sequence[FloatArray], costs: Sequence[FloatArray]) -> tuple[_Options, float]:
    """The options that no other of the group beats in both loss and cost, and the sum of the least costs."""
    rows = []
    for loss, cost in zip(losses, costs, strict=True):
        order = np.lexsort((loss, cost))
        least = np.minimum.accumulate(loss[order])
        rows.append(order[np.append(True, loss[order][1:] < least[:-1])])
    shape = (len(rows), max((len(row) for row in rows), default=0))
    options = _Options(np.full(shape, np.inf), np.zeros(shape), np.zeros(shape, dtype=np.int64))
    offset = 0.0
    for number, row in enumerate(rows):
        options.losses[number, : len(row)] = losses[number][row]
        options.costs[number, : len(row)] = costs[number][row] - costs[number][row[0]]
        options.origin[number, : len(row)] = row
        offset += float(costs[number][row[0]])
    return options, offset


def _dual(options: _Options, room: float) -> _Dual | None:
    """The best Lagrangian bound: the multiplier at which a solution within the budget and one above it are equal."""
    cheap = np.zeros(len(options.losses), dtype=np.int64)
    dear = np.argmin(options.losses, axis=1)
    (cheap_loss, cheap_cost), (dear_loss, dear_cost) = options.of(cheap), options.of(dear)
    if cheap_cost > room:
        return None
    if dear_cost <= room:
        return _Dual(room, 0.0, dear_loss, dear)
    while True:
        multiplier = (cheap_loss - dear_loss) / (dear_cost - cheap_cost)
        value = cheap_loss + multiplier * cheap_cost
        picks = np.argmin(options.losses + multiplier * options.costs, axis=1)
        loss, cost = options.of(picks)
        if loss + multiplier * cost >= value - 1e-15 * abs(value) or cost in (cheap_cost, dear_cost):
            bound = min(value, loss + multiplier * cost) - multiplier * room
            return _Dual(room, multiplier, bound, cheap)
        if cost <= room:
            cheap, cheap_loss, cheap_cost = picks, loss, cost
        else:
            dear_loss, dear_cost = loss, cost


def _reduced(options: _Options, dual: _Dual) -> FloatArray:  # shape: (N, M)
    """What each option adds to the bound."""
    priced = options.losses + dual.multiplier * options.costs
    reduced: FloatArray = priced - priced.min(axis=1, keepdims=True)
    return reduced


def _worth_trying(options: _Options, dual: _Dual, gap: float) -> list[IntArray]:
    """Each group's columns that a solution better by more than rounding may hold; never none."""
    reduced = _reduced(options, dual)
    return [np.flatnonzero((row < gap) | (row == 0.0)) for row in reduced]


def _filled(options: _Options, picks: IntArray, columns: Sequence[IntArray], room: float) -> IntArray:
    """Spends what is left of the budget, the largest fall of the loss first."""
    picks = picks.copy()
    width = max(len(row) for row in columns)
    padded = np.array([np.resize(row, width) for row in columns])
    rows = np.arange(len(picks))[:, None]
    losses, costs = options.losses[rows, padded], options.costs[rows, padded]
    slack = room - options.of(picks)[1]
    for _ in range(len(picks)):
        gains = options.losses[rows, picks[:, None]] - losses
        more = costs - options.costs[rows, picks[:, None]]
        gains[more > slack] = -np.inf
        row, column = np.unravel_index(int(np.argmax(gains)), gains.shape)
        if gains[row, column] <= 0:
            break
        slack -= float(more[row, column])
        picks[row] = padded[row, column]
    return picks


def _programme(options: _Options, dual: _Dual, gap: float, max_states: int) -> tuple[IntArray | None, float]:
    """Finds the best solution whose reduced losses stay below ``gap``.

    Returns:
        The solution, None where there is none; and how far above the dual bound the best dropped state may end,
        infinity where none was dropped.
    """
    if gap <= 0:
        return None, np.inf
    columns = _worth_trying(options, dual, gap)
    reduced = _reduced(options, dual)
    costs = [row[own] for row, own in zip(options.costs, columns, strict=True)]
    order = sorted(range(len(columns)), key=lambda group: -float(np.ptp(costs[group])))
    least_left, most_left = (float(sum(end(own) for own in costs)) for end in (np.min, np.max))
    states, missed = _States(np.zeros(1), np.zeros(1)), np.inf
    parents: list[IntArray] = []
    for group in order:
        keep, dropped = _best_states(states, dual, most_left, _MOST_COMBINATIONS // len(costs[group]))
        missed = min(missed, dropped)
        least_left -= float(costs[group].min())
        most_left -= float(costs[group].max())
        pairs = _States(
            (states.costs[keep, None] + costs[group]).reshape(-1),
            (states.sums[keep, None] + reduced[group, columns[group]]).reshape(-1),
        )
        alive = np.flatnonzero((pairs.costs + least_left <= dual.room) & (dual.excess(pairs, most_left) < gap))
        alive = alive[_undominated(pairs.costs[alive], pairs.at(alive).losses(dual))]
        best, dropped = _best_states(pairs.at(alive), dual, most_left, max_states)
        missed = min(missed, dropped)
        alive = alive[best]
        if not len(alive):
            return None, missed
        states = pairs.at(alive)
        parents.append(keep[alive // len(costs[group])] * len(costs[group]) + alive % len(costs[group]))
    return _traced(parents, order, columns, int(np.argmin(states.losses(dual)))), missed


def _best_states(states: _States, dual: _Dual, most_left: float, count: int) -> tuple[IntArray, float]:
    """The ``count`` states with the best bounds, and the best bound of the others."""
    if len(states.costs) <= count:
        return np.arange(len(states.costs)), np.inf
    excess = dual.excess(states, most_left)
    order = np.argpartition(excess, count)
    return np.sort(order[:count]), float(excess[order[count]])


def _undominated(costs: FloatArray, losses: FloatArray) -> IntArray:
    """The states that no other beats in both, by rising cost."""
    order = np.lexsort((losses, costs))
    if not len(order):
        return order
    least = np.minimum.accumulate(losses[order])
    return np.asarray(order[np.append(True, losses[order][1:] < least[:-1])], dtype=np.int64)


def _traced(parents: Sequence[IntArray], order: Sequence[int], columns: Sequence[IntArray], state: int) -> IntArray:
    """Walks back from the last list's ``state`` to each group's column."""
    picks = np.zeros(len(order), dtype=np.int64)
    for group, origins in zip(reversed(order), reversed(parents), strict=True):
        state, option = divmod(int(origins[state]), len(columns[group]))
        picks[group] = columns[group][option]
    return picks
