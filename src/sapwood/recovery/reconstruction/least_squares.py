"""Ridge regression towards what is there, from sums that grow chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

DAMPINGS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Ridges that are tried, as fractions of the mean square of an input."""

GROWTH = 0.05
"""Weights that are ten times as large have to bring 11 % of the error: an error counts times this power of the growth.

Where inputs are nearly dependent, as those of attention are, the last per cent of the error costs weights a hundred
times as large, and nothing trains such a network.
"""

FLAT = 1e-9
"""Targets whose spread is at most this fraction of their squares' sum do not vary: what is left is rounding."""

WORSE = 2
"""The search ends when so many smaller ridges in a row have been no better."""


@dataclass
class NormalSums:
    """Sums over rows of inputs x (groups g, unknowns n) and targets y (g, outputs o), in float64.

    Attributes:
        count: Rows, each by its weight.
        x: Shape (g, n).
        y: Shape (g, o).
        xx: Shape (g, n, n).
        xy: Shape (g, n, o).
        yy: Shape (g, o).
    """

    count: float
    x: Tensor
    y: Tensor
    xx: Tensor
    xy: Tensor
    yy: Tensor

    @staticmethod
    def zeros(groups: int, unknowns: int, outputs: int) -> NormalSums:
        """Sums of nothing."""
        shapes = ((groups, unknowns), (groups, outputs), (groups, unknowns, unknowns), (groups, unknowns, outputs))
        made = [torch.zeros(shape, dtype=torch.float64) for shape in (*shapes, (groups, outputs))]
        return NormalSums(0, *made)

    def add(self, inputs: Tensor, targets: Tensor) -> None:
        """Adds rows: inputs (rows, g, n), targets (rows, g, o)."""
        if not len(inputs):
            return
        x, y = inputs.transpose(0, 1), targets.transpose(0, 1)  # (g, rows, ...)
        self.count += len(inputs)
        self.x += x.sum(dim=1)
        self.y += y.sum(dim=1)
        self.xx.baddbmm_(x.transpose(1, 2), x)
        self.xy.baddbmm_(x.transpose(1, 2), y)
        self.yy += y.square().sum(dim=1)

    def joined(self, other: NormalSums, weight: float = 1.0) -> JoinedSums:
        """The sums over the rows of both, each of the other's counting ``weight``."""
        return JoinedSums(((self, 1.0), (other, weight)))

    def products(self, *, centred: bool) -> tuple[Tensor, Tensor]:
        """The sums of x x^T and x y^T, of what differs from the means if ``centred``."""
        if not centred:
            return self.xx, self.xy
        column, scale = self.x[:, :, None], -1.0 / self.count
        return (
            torch.baddbmm(self.xx, column, self.x[:, None], alpha=scale),
            torch.baddbmm(self.xy, column, self.y[:, None], alpha=scale),
        )

    def error(self, weight: Tensor, bias: Tensor) -> float:
        """The sum of squared differences between targets and ``x @ weight + bias``: (g, n, o) and (g, o)."""
        linear = self.xy - 0.5 * (self.xx @ weight)
        found = self.yy - 2.0 * (weight * linear).sum(dim=1)
        found += bias * (2.0 * ((self.x[:, None] @ weight)[:, 0] - self.y) + self.count * bias)
        return max(0.0, float(found.sum()))

    def spread(self) -> float:
        """The sum of squared differences between targets and their means."""
        return max(0.0, float((self.yy - self.y.square() / max(self.count, 1)).sum()))

    def unit(self) -> float:
        """What an error is told as a fraction of: the spread; where targets hardly vary, the sum of their squares.

        Where they are all zero, it is the number of rows.
        """
        squares = float(self.yy.sum())
        spread = self.spread()
        return spread if spread > FLAT * squares else squares or max(self.count, 1.0)


class JoinedSums:
    """Sums over several sets of rows, each with what its rows count: matrices are added when they are asked for.

    So nothing of the size of the unknowns squared is kept beside the sums themselves.

    Args:
        parts: Sums, and what each of their rows counts; at least one.

    Attributes:
        count: Rows, each by its weight.
        x: Shape (g, n).
        y: Shape (g, o).
    """

    def __init__(self, parts: Sequence[tuple[NormalSums, float]]) -> None:
        self._parts = tuple(parts)
        self.count = sum(weight * one.count for one, weight in parts)
        self.x = self._added([(one.x, weight) for one, weight in parts])
        self.y = self._added([(one.y, weight) for one, weight in parts])

    def joined(self, other: NormalSums, weight: float = 1.0) -> JoinedSums:
        """See :meth:`NormalSums.joined`."""
        return JoinedSums((*self._parts, (other, weight)))

    def products(self, *, centred: bool) -> tuple[Tensor, Tensor]:
        """See :meth:`NormalSums.products`."""
        xx = self._added([(one.xx, weight) for one, weight in self._parts])
        xy = self._added([(one.xy, weight) for one, weight in self._parts])
        if centred:
            column, scale = self.x[:, :, None], -1.0 / self.count
            xx.baddbmm_(column, self.x[:, None], alpha=scale)
            xy.baddbmm_(column, self.y[:, None], alpha=scale)
        return xx, xy

    @staticmethod
    def _added(weighted: Sequence[tuple[Tensor, float]]) -> Tensor:
        first, weight = weighted[0]
        found = first * weight
        for one, weight in weighted[1:]:
            found.add_(one, alpha=weight)
        return found


Sums: TypeAlias = NormalSums | JoinedSums
"""Sums of one set of rows, or of several."""


@dataclass(frozen=True)
class Solved:
    """Weights (g, n, o) and bias (g, o) that fit, and how they were found.

    Attributes:
        weight: New or, where nothing fits better, the old one.
        bias: The same.
        damping: The ridge taken, as a fraction of the mean square of an input; None where the weights stay.
        before: Squared error of the old weights on the held-out rows, as a fraction of :meth:`NormalSums.unit`.
        after: Of the new ones, there.
        judged: That error times what the growth of the weights costs; the least one is chosen.
    """

    weight: Tensor
    bias: Tensor
    damping: float | None
    before: float
    after: float
    judged: float


def solve(
    fit: Sums,
    held: NormalSums,
    weight: Tensor,
    bias: Tensor,
    *,
    intercept: bool,
    dampings: Sequence[float] = DAMPINGS,
) -> Solved:
    r"""Finds weights that bring the targets back.

    .. math:: W = W_0 + (A + \lambda I)^{-1} (B - A W_0)

    with A and B the (centred, with an intercept) sums of :math:`x x^T` and :math:`x y^T`: the ridge pulls towards the
    weights that are there, so that what the rows say nothing about stays as it is. The ridge is chosen on ``held``, by

    .. math:: E \max(1, \lVert W \rVert / \lVert W_0 \rVert)^{0.05}

    with E the squared error there (:data:`GROWTH`); then all rows are used. The old weights, with and without a new
    bias, are candidates as well, so that nothing gets worse on ``held``.

    Args:
        fit: Rows to fit.
        held: Rows to choose the ridge on.
        weight: The weights that are there, (g, n, o).
        bias: Their bias, (g, o).
        intercept: Whether the bias may change.
        dampings: Ridges to try, as fractions of the mean square of an input.
    """
    kept = held.error(weight, bias)
    tried = [_Tried(kept, kept, None, False)]
    if intercept and fit.count:
        shifted = held.error(weight, intercept_of(fit, weight))
        tried.append(_Tried(shifted, shifted, None, True))
    if fit.count:

        def judge(new_weight: Tensor, damping: float) -> _Tried:
            error = held.error(new_weight, intercept_of(fit, new_weight) if intercept else bias)
            return _Tried(error * growth(new_weight, weight) ** GROWTH, error, damping, intercept)

        tried += _ridges(System(fit, weight, intercept), judge, dampings)
    best = min(tried, key=lambda one: one.judged)
    unit = held.unit()
    everything = fit.joined(held)
    new_weight = weight
    if best.damping is not None:
        again = System(everything, weight, intercept).solve(best.damping)
        if again is not None:
            new_weight = again
    new_bias = intercept_of(everything, new_weight) if best.moves else bias
    return Solved(new_weight, new_bias, best.damping, kept / unit, best.error / unit, best.judged / unit)


@dataclass(frozen=True)
class _Tried:
    """One candidate: how it is judged, its squared error on held-out rows, its ridge, and whether the bias moves."""

    judged: float
    error: float
    damping: float | None
    moves: bool


def growth(weight: Tensor, before: Tensor) -> float:
    """How many times as large weights have become, at least 1; 1 where there were none but zeros."""
    old = float(before.norm())
    return max(1.0, float(weight.norm()) / old) if old > 0.0 else 1.0


def _ridges(system: System, judge: Callable[[Tensor, float], _Tried], dampings: Sequence[float]) -> list[_Tried]:
    """The ridges that were tried, smallest first.

    The largest is tried first: what is judged falls, then rises as less and less holds the weights, and the rest is not
    tried.
    """
    found: list[_Tried] = []
    lowest, worse = float("inf"), 0
    for damping in sorted(dampings, reverse=True):
        solved = system.solve(damping)
        judged = float("inf")
        if solved is not None:
            found.insert(0, judge(solved, damping))
            judged = found[0].judged
        worse = 0 if judged <= lowest else worse + 1
        lowest = min(lowest, judged)
        if worse == WORSE:
            break
    return found


class System:
    """The normal equations of the change of the weights.

    Args:
        sums: Of the rows.
        weight: The weights that are there.
        intercept: Whether the bias moves with them.
    """

    def __init__(self, sums: Sums, weight: Tensor, intercept: bool) -> None:
        self._weight = weight
        self._xx, xy = sums.products(centred=intercept)
        self._right = xy - self._xx @ weight
        diagonal = self._xx.diagonal(dim1=1, dim2=2)
        self._scale = diagonal.clamp(min=0.0).mean(dim=1)  # (g,)

    def damped(self, damping: float) -> tuple[Tensor, Tensor]:
        """The matrix (g, n, n) and the right-hand side (g, n, o) of the weights under a ridge."""
        matrix = self._ridged(damping)
        return matrix, self._right + matrix @ self._weight

    def solve(self, damping: float) -> Tensor | None:
        """The weights under a ridge; None where the system is singular in spite of it."""
        factor, info = torch.linalg.cholesky_ex(self._ridged(damping))
        if bool(info.any()):
            return None
        weight = self._weight + torch.cholesky_solve(self._right, factor)
        return weight if bool(weight.isfinite().all()) else None

    def _ridged(self, damping: float) -> Tensor:
        ridge = torch.where(self._scale > 0, damping * self._scale, 1.0)
        matrix = self._xx.clone()
        matrix.diagonal(dim1=1, dim2=2).add_(ridge[:, None])
        return matrix


def intercept_of(sums: Sums, weight: Tensor) -> Tensor:
    """The bias that makes the mean of the outputs that of the targets."""
    return (sums.y - (sums.x[:, None] @ weight)[:, 0]) / sums.count
