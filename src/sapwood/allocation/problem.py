"""What every allocator is asked: how many channels each group keeps, so that the loss is small and the cost fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from itertools import chain
from typing import Protocol

import numpy as np

from sapwood.allocation.costs import CostTable, FloatArray, IntArray
from sapwood.allocation.equal import Tied, tied_sets
from sapwood.errors import BudgetError, ConfigError
from sapwood.graph import Ladder
from sapwood.registry import Registry


@dataclass(frozen=True)
class Problem:
    """Options of every group, and what they cost together.

    Attributes:
        names: Names of the G groups, for messages.
        num_channels: Channels of each group before pruning.
        widths: For each group the numbers it may keep, ascending, each at least 1; shape (W_g,).
        losses: For each group and each of its widths the estimated loss, which never rises with the width; any unit,
            the same for all groups; shape (W_g,).
        cost: The cost of all groups together.
        equal: Sets of groups that must keep equal numbers.
        scores: For each group one score a channel, comparable between groups, larger = keep; shape (C_g,). Read
            by the global threshold, and by the knapsack as one of its starts where costs are not separable.
        together: Sets of groups that must keep the same share of their channels.
        ladders: Groups that are decided on together, in steps that need not be in proportion; such a group is in no
            other set, may keep no channel at all, and its widths are those of the steps.

    Raises:
        ConfigError: If the fields do not fit each other; names the group.
    """

    names: tuple[str, ...]
    num_channels: tuple[int, ...]
    widths: tuple[IntArray, ...]
    losses: tuple[FloatArray, ...]
    cost: CostTable
    equal: tuple[tuple[int, ...], ...] = ()
    scores: tuple[FloatArray, ...] | None = None
    together: tuple[tuple[int, ...], ...] = ()
    ladders: tuple[Ladder, ...] = ()

    def __post_init__(self) -> None:
        lengths = {"num_channels": self.num_channels, "widths": self.widths, "losses": self.losses}
        if self.scores is not None:
            lengths["scores"] = self.scores
        for what, values in lengths.items():
            if len(values) != len(self.names):
                raise ConfigError(
                    f"{what}: got {len(values)} entries; expected one for each of {len(self.names)} groups"
                )
        stepped = {number for ladder in self.ladders for number in ladder.groups}
        options = zip(self.names, self.num_channels, self.widths, self.losses, strict=True)
        for number, (name, channels, widths, losses) in enumerate(options):
            _check_options(name, channels, widths, losses, least=0 if number in stepped else 1)
        for name, channels, scores in zip(self.names, self.num_channels, self.scores or (), strict=False):
            if scores.shape != (channels,) or not np.isfinite(scores).all():
                raise ConfigError(f"{name}: scores of shape {scores.shape}; expected {channels} finite numbers")

    @property
    def dense_cost(self) -> float:
        """The cost before pruning."""
        return self.cost.total(np.array(self.num_channels, dtype=np.int64))

    @cached_property
    def _merged(self) -> MergedProblem:
        """What :func:`merged` returns."""
        return _merged_problem(self)

    def loss(self, kept: Sequence[int]) -> float:
        """The sum of the groups' losses at allowed widths."""
        return float(
            sum(
                losses[np.searchsorted(widths, width)]
                for width, widths, losses in zip(kept, self.widths, self.losses, strict=True)
            )
        )


@dataclass(frozen=True)
class Allocation:
    """How many channels each group keeps.

    Attributes:
        kept: One number a group.
        loss: Sum of the groups' losses.
        cost: In the unit of the problem's cost, at most the budget.
        gap: How far ``loss`` may be above that of the best allocation; 0 where this one is proven to be the best.
    """

    kept: tuple[int, ...]
    loss: float
    cost: float
    gap: float


class Allocator(Protocol):
    """A way to spend a budget; its parameters are the fields of a frozen dataclass."""

    def __call__(self, problem: Problem, budget: float) -> Allocation:
        """Chooses widths that cost at most ``budget``.

        Raises:
            BudgetError: If no allowed widths do.
        """
        ...


ALLOCATORS: Registry[type[Allocator]] = Registry(
    "allocator",
    others={"equal": "uniform", "globalthreshold": "global", "layerwise": "uniform", "local": "uniform"},
)
"""Every allocator by its name."""


def allowed_widths(
    num_channels: int, *, round_to: int = 1, minimum: int = 1, lower: int | None = None, upper: int | None = None
) -> IntArray:
    """The numbers of channels that a group may keep.

    Args:
        num_channels: Channels there are.
        round_to: Widths are multiples of it; the full width is allowed too. A narrower group keeps everything.
        minimum: The fewest that stay in any group; a group that has fewer keeps everything.
        lower: The fewest that stay in this one.
        upper: The most that stay in this one; the full width is then allowed only if it is not above.

    Returns:
        Ascending, shape (W,).

    Raises:
        ConfigError: If nothing is left, or a number is below 1.

    Examples:
        >>> allowed_widths(20, round_to=8).tolist(), allowed_widths(5, round_to=8).tolist()
        ([8, 16, 20], [5])
        >>> allowed_widths(4).tolist(), allowed_widths(64, round_to=16, lower=20, upper=50).tolist()
        ([1, 2, 3, 4], [32, 48])
    """
    for name, value in (("num_channels", num_channels), ("round_to", round_to), ("minimum", minimum)):
        if value < 1:
            raise ConfigError(f"{name}: got {value}; expected at least 1")
    least = max(min(minimum, num_channels), lower or 1)
    most = num_channels if upper is None else min(upper, num_channels)
    multiples = np.arange(round_to, num_channels + 1, round_to, dtype=np.int64)
    widths = np.union1d(multiples, [num_channels])
    widths = widths[(widths >= least) & (widths <= most)]
    if not len(widths):
        raise ConfigError(
            f"no width of {num_channels} channels is a multiple of {round_to}, at least {least} and at most {most}"
        )
    return widths.astype(np.int64)


def losses_from_scores(scores: FloatArray, widths: IntArray) -> FloatArray:
    """The sum of the scores that go, the smallest first, for each width.

    Args:
        scores: Non-negative, shape (C,).
        widths: Numbers of channels kept, shape (W,).

    Returns:
        Shape (W,), in the unit of the scores; 0 at the full width.

    Raises:
        ConfigError: If a score is negative or not finite: a loss would then rise with the width.

    Examples:
        >>> losses_from_scores(np.array([3.0, 1.0, 2.0]), np.array([1, 2, 3])).tolist()
        [3.0, 1.0, 0.0]
    """
    if not (np.isfinite(scores).all() and (scores >= 0).all()):
        raise ConfigError("scores: got negative or infinite ones; expected finite numbers of at least 0")
    lost = np.concatenate([[0.0], np.cumsum(np.sort(scores))])
    return np.asarray(lost[len(scores) - np.asarray(widths)], dtype=np.float64)


@dataclass(frozen=True)
class MergedProblem:
    """A problem in which groups that are decided on together are one, whose channels are their units.

    Attributes:
        problem: With ``equal``, ``together`` and ``ladders`` empty.
        members: For each group of ``problem`` the groups of the original it stands for, and their units; a group of a
            ladder has 0, for what it keeps is no multiple.
        ladders: Group of ``problem`` -> the ladder that it stands for; it has the channels of all groups of that.
    """

    problem: Problem
    members: tuple[Tied, ...]
    ladders: Mapping[int, Ladder] = field(default_factory=dict)

    def expanded(self, kept: Sequence[int]) -> tuple[int, ...]:
        """The original groups' widths."""
        widths = {
            group: int(width) * unit for width, tied in zip(kept, self.members, strict=True) for group, unit in tied
        }
        for number, ladder in self.ladders.items():
            row = ladder.rows[np.flatnonzero(ladder.rows.sum(axis=1) == kept[number])[0]]
            widths.update(zip(ladder.groups, row.tolist(), strict=True))
        return tuple(widths[group] for group in range(len(widths)))


def merged(problem: Problem) -> MergedProblem:
    """Makes one group of every set of groups that must keep equal numbers or the same share, and of every ladder.

    It is made once: who chooses widths asks for it, and who then tells which could not be narrower.

    Raises:
        ConfigError: If the groups of a set have no allowed width in common.
    """
    return problem._merged


def _merged_problem(problem: Problem) -> MergedProblem:
    stepped = {number for ladder in problem.ladders for number in ladder.groups}
    tied_ones = tied_sets(problem.names, problem.num_channels, problem.equal, problem.together)
    parts = [_merged_set(problem, tied) for tied in tied_ones if not stepped.intersection(dict(tied))]
    first = len(parts)
    parts += [_merged_ladder(problem, ladder) for ladder in problem.ladders]
    members = tuple(part.members for part in parts)
    one = Problem(
        names=tuple(problem.names[tied[0][0]] for tied in members),
        num_channels=tuple(part.num_channels for part in parts),
        widths=tuple(part.widths for part in parts),
        losses=tuple(part.losses for part in parts),
        cost=problem.cost.merged(
            [[number for number, _ in tied] for tied in members], dict(chain(*(part.units for part in parts)))
        ),
        scores=None if problem.scores is None else tuple(part.scores for part in parts),
    )
    return MergedProblem(one, members, dict(enumerate(problem.ladders, first)))


@dataclass(frozen=True)
class _Merged:
    """One group that stands for several; ``units`` says how many channels of each one of its own stands for."""

    members: Tied
    num_channels: int
    widths: IntArray
    losses: FloatArray
    scores: FloatArray
    units: tuple[tuple[int, float], ...]


def _merged_set(problem: Problem, tied: Tied) -> _Merged:
    """Groups that keep numbers in proportion."""
    common = _common_widths(problem, tied)
    losses = [problem.losses[number][np.searchsorted(problem.widths[number], common * unit)] for number, unit in tied]
    return _Merged(
        tied,
        min(problem.num_channels[number] // unit for number, unit in tied),
        common,
        np.sum(losses, axis=0),
        _mean_scores(problem.scores or [], tied) if problem.scores is not None else np.zeros(0),
        tied,
    )


def _merged_ladder(problem: Problem, ladder: Ladder) -> _Merged:
    """Groups that keep what the steps of a ladder say: their channels are counted together, and shares of that cost.

    What the steps really cost can be a channel more or less, where axes of several sizes are put together.
    """
    losses = np.sum(
        [
            problem.losses[number][np.searchsorted(problem.widths[number], ladder.rows[:, place])]
            for place, number in enumerate(ladder.groups)
        ],
        axis=0,
    )
    widths, number = np.unique(ladder.rows.sum(axis=1), return_index=True)
    scores = np.zeros(0)
    if problem.scores is not None:
        scores = np.sort(np.concatenate([problem.scores[number] for number in ladder.groups]))[::-1]
    return _Merged(
        tuple((number, 0) for number in ladder.groups),
        int(widths[-1]),
        widths,
        np.maximum.accumulate(losses[number][::-1])[::-1],
        scores,
        tuple((number, problem.num_channels[number] / int(widths[-1])) for number in ladder.groups),
    )


def decisions(problem: Problem, budget: float) -> MergedProblem:
    """Makes one decision of every set of groups that must keep equal numbers or the same share.

    Raises:
        ConfigError: If the groups of a set have no allowed width in common.
        BudgetError: If even the smallest widths cost more than ``budget``; gives the range that can be reached.
    """
    whole = merged(problem)
    widths, cost = whole.problem.widths, whole.problem.cost
    least = cost.total(np.array([own[0] for own in widths], dtype=np.int64))
    if not least <= budget:
        most = cost.total(np.array([own[-1] for own in widths], dtype=np.int64))
        dense, unit = problem.dense_cost, problem.cost.unit
        raise BudgetError(
            f"budget {budget:g} {unit} ({budget / dense:.4g} of the dense cost): no allowed widths cost so little; "
            f"expected {least:g} to {most:g} {unit} ({least / dense:.4g} to {most / dense:.4g} "
            "of the dense cost)"
        )
    return whole


def allocation(problem: Problem, kept: Sequence[int], *, gap: float | None = None) -> Allocation:
    """Sums up chosen widths.

    Args:
        problem: The original one.
        kept: One allowed width a group.
        gap: How far the loss may be from the best; where it is not known, the difference to the least loss there is.
    """
    loss = problem.loss(kept)
    if gap is None:
        gap = loss - float(sum(losses[-1] for losses in problem.losses))
    cost = problem.cost.total(np.array(kept, dtype=np.int64))
    return Allocation(tuple(int(width) for width in kept), loss, cost, gap)


def _check_options(name: str, channels: int, widths: IntArray, losses: FloatArray, least: int) -> None:
    """Refuses options that are not in order."""
    if widths.ndim != 1 or not len(widths) or widths.shape != losses.shape:
        raise ConfigError(f"{name}: {widths.shape} widths and {losses.shape} losses; expected as many, at least one")
    if widths[0] < least or widths[-1] > channels or np.count_nonzero(widths[1:] <= widths[:-1]):
        expected = f"expected ascending numbers in {least}..{channels}"
        raise ConfigError(f"{name}: got the widths {widths.tolist()}; {expected}")
    if not np.isfinite(losses).all() or np.count_nonzero(losses[1:] > losses[:-1]):
        raise ConfigError(f"{name}: a loss rises with the width or is not finite; expected the same or less")


def _common_widths(problem: Problem, tied: Tied) -> IntArray:
    """The numbers of units that every group may keep."""
    common = reduce(
        np.intersect1d,
        [own[own % unit == 0] // unit for own, unit in ((problem.widths[number], unit) for number, unit in tied)],
    )
    if not len(common):
        names = ", ".join(problem.names[number] for number, _ in tied)
        kept = "equal numbers" if len({unit for _, unit in tied}) == 1 else "the same share"
        raise ConfigError(f"{names} must keep {kept} and have no allowed width in common")
    return np.asarray(common, dtype=np.int64)


def _mean_scores(scores: Sequence[FloatArray], tied: Tied) -> FloatArray:
    """The mean scores of channels that go together: the best of each group, the next best, and so on, a unit at a time.

    A set of one group keeps its own, sorted; of more, as many units as the narrowest has.
    """
    length = min(len(scores[number]) // unit for number, unit in tied)
    ordered = [np.sort(scores[number])[::-1][: length * unit].reshape(length, unit).mean(1) for number, unit in tied]
    return np.asarray(np.mean(ordered, axis=0), dtype=np.float64)
