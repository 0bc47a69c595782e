"""From groups, scores and a budget to what goes: the problem that an allocator solves, and its answer as units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
from torch import Tensor

from sapwood.allocation import (
    ALLOCATORS,
    VECTOR,
    Allocation,
    CostTable,
    Problem,
    SharedWidths,
    allowed_widths,
    channels_table,
    equal_sets,
    held_groups,
    layer_work,
    losses_from_scores,
    merged,
    params_table,
    settled,
    shared_widths,
    together_sets,
    vector_step,
)
from sapwood.errors import BudgetError, ConfigError
from sapwood.goals.even_widths import SLACK, Multiples, even_kept, even_problem, near_problem
from sapwood.goals.group_keys import GroupKey, factor_key, group_key, multiples_of
from sapwood.goals.group_sets import Naming, cuts, disjoint, matching_groups
from sapwood.goals.in_the_way import most_in_the_way
from sapwood.goals.multiples import in_multiples
from sapwood.goals.targets import Limits, Target
from sapwood.graph import Analysis, ChannelGroup, Ladder
from sapwood.masks import lowest_units, num_kept
from sapwood.models import ConfigFields
from sapwood.ops import Axis

Score: TypeAlias = Callable[[Analysis], Sequence[Tensor]]
"""One score a channel for each group, larger is kept first; sums of them compare between groups."""

Cost: TypeAlias = Callable[[Analysis, Mapping[int, str]], CostTable]
"""The cost of a network with these groups, of which some are held whole."""

Curve: TypeAlias = tuple[Sequence[float], Sequence[float]]
"""Fractions kept, ascending, and the loss when a group alone is pruned to each."""


def cost_of(target: Target, num_params: int) -> Cost:
    """What a target budgets, of a model with so many parameters; latency is put in its place once it is measured."""
    if target.kind == "params":
        return lambda analysis, held: params_table(analysis, num_params, held)
    if target.kind == "macs":
        return lambda analysis, held: layer_work(analysis, held).table("macs", "MACs")
    return channels_table


MAX_TIGHTER = 5
"""How often less is asked for where steps of a ladder cost more than their share."""


@dataclass(frozen=True)
class Chosen:
    """How many channels each group keeps, and which.

    Attributes:
        removed: The units that go, sorted.
        allocation: What each group keeps, and what that costs.
        dense_cost: What all channels cost, in the same unit.
        stuck: Groups that have no smaller width in common with what must keep the same share, and its name.
        held: Groups that stay whole for another factor of their dimension, and its name.
        whole: Groups that stay whole since a config could not say other widths, with the reason.
    """

    removed: Axis
    allocation: Allocation
    dense_cost: float
    stuck: Mapping[int, str] = field(default_factory=dict)
    held: Mapping[int, str] = field(default_factory=dict)
    whole: Mapping[int, str] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """What is left of the dense model's cost, as a fraction."""
        return self.allocation.cost / self.dense_cost


@dataclass(frozen=True)
class Chooser:
    """How many channels each group keeps, and which.

    Attributes:
        score: Scores channels.
        cost: What is budgeted.
        allocator: A name in :data:`sapwood.allocation.ALLOCATORS`.
        limits: What widths may be.
        routes: Names of the Darknet routes that take one of several equal parts, each with the number of parts.
        curves: Measured loss by :func:`group_key`, used instead of scores where there.
        fine: Any number of channels will do, though :mod:`sapwood.goals.even_widths` are taken where they do as well.
            Otherwise, unless the limits say what widths are multiples of, only numbers that vector kernels like
            (:func:`sapwood.allocation.vector_step`).
        multiple: What those numbers are multiples of in wide groups.
        multiples: By :func:`group_key`: where it is another multiple.
        both: Grouped convolutions may lose whole groups and channels of every group; by default one of the two.
        fields: What a config says of the widths, which then is all that they may be.
        naming: By which names the limits speak, where the network was made of the one that they are for.
    """

    score: Score
    cost: Cost
    allocator: str
    limits: Limits
    routes: Mapping[str, int]
    curves: Mapping[GroupKey, Curve] | None = None
    fine: bool = True
    multiple: int = VECTOR
    multiples: Mapping[GroupKey, int] = field(default_factory=dict)
    both: bool = False
    fields: ConfigFields | None = None
    naming: Naming | None = None
    _last: list[tuple[Analysis, SharedWidths]] = field(default_factory=list, init=False, repr=False, compare=False)

    def towards(self, target: Target) -> Callable[[Analysis], Chosen]:
        """Returns what chooses for a target that is reckoned, not timed.

        Examples:
            >>> chooser = Chooser(lambda analysis: (), channels_table, "uniform", Limits(), {})
            >>> chooser.towards(Target(latency=0.5))
            Traceback (most recent call last):
            ...
            sapwood.errors.ConfigError: latency is reached by measuring; expected sparsity, params or macs
        """
        if target.kind == "latency":
            raise ConfigError("latency is reached by measuring; expected sparsity, params or macs")
        if target.kind == "sparsity" and self.allocator == "uniform":
            return lambda analysis: self.choose_sparsity(analysis, target.value)
        if target.kind == "sparsity":
            return lambda analysis: self.choose(analysis, 1.0 - target.value)
        own = replace(self, both=True)
        return lambda analysis: own.choose(analysis, target.value)

    def choose(self, analysis: Analysis, fraction: float) -> Chosen:
        """Chooses the widths that cost least accuracy.

        Args:
            analysis: The groups.
            fraction: The cost that may stay, as a fraction of the dense model's.

        Raises:
            BudgetError: If no widths are that cheap; with what is most in the way.
        """
        try:
            return self._chosen(analysis, fraction)
        except BudgetError as error:
            raise BudgetError(f"{error}{most_in_the_way(analysis)}") from error

    def _chosen(self, analysis: Analysis, fraction: float) -> Chosen:
        scores = self.score(analysis)
        problem = self.problem(analysis, scores)
        dense = problem.dense_cost
        budget = fraction * dense
        wide = self._wide(analysis)
        problem, _ = in_multiples(
            problem, self._shared(analysis).multiples, lambda own: self._allocated(own, budget, wide).kept
        )
        allocation, asked = self._allocated(problem, budget, wide), budget
        for _ in range(MAX_TIGHTER if problem.ladders else 0):
            if allocation.cost <= budget:
                break
            asked -= allocation.cost - budget
            allocation = self._allocated(problem, asked, wide)
        removed = _lowest(analysis, scores, allocation.kept)
        return self._told(analysis, Chosen(removed, allocation, dense, _stuck(problem)))

    def choose_sparsity(self, analysis: Analysis, sparsity: float) -> Chosen:
        """Chooses the same fraction of every group's channels."""
        scores = self.score(analysis)
        problem = self.problem(analysis, scores)
        wide = self._wide(analysis)
        problem, kept = in_multiples(
            problem, self._shared(analysis).multiples, lambda own: self._nearest_to(own, sparsity, wide)
        )
        return self._told(analysis, _chosen(analysis, scores, problem, kept))

    def _nearest_to(self, problem: Problem, sparsity: float, wide: Multiples) -> Sequence[int]:
        """The widths that are nearest to the same fraction of every group's channels."""
        tied = merged(problem)
        kept: Sequence[int] = tied.expanded(
            [
                self._at_sparsity(sparsity, count, widths)
                if {unit for _, unit in own} == {1}
                else _nearest(widths, count * (1.0 - sparsity))
                for count, widths, own in zip(tied.problem.num_channels, tied.problem.widths, tied.members, strict=True)
            ]
        )
        return (even_kept(problem, kept, wide) if self.limits.round_to is None else None) or kept

    def _at_sparsity(self, sparsity: float, count: int, widths: np.ndarray) -> int:
        wanted = num_kept(count, sparsity, round_to=self.limits.round_to or 1, minimum=self.limits.minimum)
        clipped = int(np.clip(wanted, widths[0], widths[-1]))
        return clipped if clipped in widths else _nearest(widths, clipped)

    def choose_narrowest(self, analysis: Analysis) -> Chosen:
        """Chooses the fewest channels that every group may keep."""
        scores = self.score(analysis)
        problem = self.problem(analysis, scores)
        problem, kept = in_multiples(problem, self._shared(analysis).multiples, _narrowest)
        return self._told(analysis, _chosen(analysis, scores, problem, kept))

    def choose_again(self, analysis: Analysis, before: Analysis, chosen: Chosen) -> Chosen:
        """Chooses the widths of ``before``; a group that was not there, as when more must stay whole, loses nothing."""
        widths = dict(zip(map(factor_key, before.groups), chosen.allocation.kept, strict=True))
        kept = tuple(
            min(widths.get(factor_key(group), group.num_channels), group.num_channels) for group in analysis.groups
        )
        shared = self._shared(analysis)
        sizes = [group.num_channels for group in analysis.groups]
        kept = tuple(
            size if own in shared.whole else width for own, (size, width) in enumerate(zip(sizes, kept, strict=True))
        )
        together = (*together_sets(analysis, self.held(analysis)), *shared.together)
        kept = settled(kept, sizes, together, analysis.ladders)
        removed = _lowest(analysis, self.score(analysis), kept)
        found = replace(chosen, removed=removed, allocation=replace(chosen.allocation, kept=kept))
        return self._told(analysis, found)

    def _shared(self, analysis: Analysis) -> SharedWidths:
        """What stays whole, for another factor of its dimension goes or for the config, and what keeps one share."""
        if self._last and self._last[0][0] is analysis:
            return self._last[0][1]
        self._last[:] = [(analysis, found := self._find_shared(analysis))]
        return found

    def _find_shared(self, analysis: Analysis) -> SharedWidths:
        both, whole_heads = self.both, self.limits.whole_heads
        if self.fields is None:
            return SharedWidths(held_groups(analysis, whole_heads=whole_heads, both=both))
        return shared_widths(analysis, self.fields, whole_heads=whole_heads, both=both)

    def held(self, analysis: Analysis) -> Mapping[int, str]:
        """Groups that stay whole: the name of the group that goes in its place, or the reason."""
        shared = self._shared(analysis)
        return {**shared.held, **shared.whole}

    def _told(self, analysis: Analysis, chosen: Chosen) -> Chosen:
        """The same with what stays whole, and why."""
        shared = self._shared(analysis)
        return replace(chosen, held=shared.held, whole=shared.whole)

    def _allocated(self, problem: Problem, budget: float, wide: Multiples) -> Allocation:
        """The answer of the allocator, with even widths where these do as well.

        Where its own answer for even widths leaves too much of the budget, as that of equal fractions does, the even
        widths next to its answer for any are tried, whichever of the two cost least accuracy.
        """
        if not self.fine or self.limits.round_to is not None:
            return ALLOCATORS[self.allocator]()(problem, budget)
        enough = budget - SLACK * problem.dense_cost
        with suppress(BudgetError):
            found = ALLOCATORS[self.allocator]()(even_problem(problem, wide), budget)
            if found.cost >= enough:
                return found
        exact = ALLOCATORS[self.allocator]()(problem, budget)
        with suppress(BudgetError):
            near = ALLOCATORS["knapsack"]()(near_problem(problem, exact.kept, wide), budget)
            if near.cost >= enough:
                return near
        return exact

    def problem(self, analysis: Analysis, scores: Sequence[Tensor]) -> Problem:
        """What the allocator gets."""
        shared = self._shared(analysis)
        held = self.held(analysis)
        equal = [*equal_sets(analysis, cuts(analysis, self.routes)), *self._asked_equal(analysis)]
        ladders = self._ladders(analysis)
        widths = self._widths(analysis, held, ladders)
        values = [one.double().numpy() for one in scores]
        losses = [
            self._losses(group, own, allowed)
            for group, own, allowed in zip(analysis.groups, values, widths, strict=True)
        ]
        return Problem(
            names=tuple(group.name for group in analysis.groups),
            num_channels=tuple(group.num_channels for group in analysis.groups),
            widths=tuple(widths),
            losses=tuple(losses),
            cost=self.cost(analysis, held),
            equal=disjoint(equal),
            scores=tuple(values),
            together=(*together_sets(analysis, held), *shared.together),
            ladders=ladders,
        )

    def _losses(self, group: ChannelGroup, scores: np.ndarray, widths: np.ndarray) -> np.ndarray:
        curve = (self.curves or {}).get(group_key(group))
        if curve is None:
            return losses_from_scores(scores, widths)
        return np.interp(widths / group.num_channels, *curve)

    def _widths(self, analysis: Analysis, held: Mapping[int, str], ladders: Sequence[Ladder]) -> list[np.ndarray]:
        bounds = self._bounds(analysis)
        steps = {
            number: np.unique(ladder.rows[:, place]) for ladder in ladders for place, number in enumerate(ladder.groups)
        }
        found = []
        for number, group in enumerate(analysis.groups):
            count = group.num_channels
            if number in steps:
                found.append(steps[number])
            elif number in held:
                found.append(np.array([count], dtype=np.int64))
            else:
                multiple = self.multiples.get(group_key(group), self.multiple)
                found.append(self._allowed(count, bounds.get(number, (0.0, 1.0)), multiple))
        return found

    def _wide(self, analysis: Analysis) -> Multiples:
        """What widths of wide groups should be multiples of."""
        return multiples_of(analysis, self.multiples, self.multiple) if self.multiples else self.multiple

    def _allowed(self, count: int, bounds: tuple[float, float], multiple: int) -> np.ndarray:
        """The widths that so many channels may be narrowed to."""
        low, high = bounds
        round_to = self.limits.round_to or 1
        return allowed_widths(
            count,
            round_to=round_to if self.fine or round_to > 1 else vector_step(count, multiple),
            minimum=self.limits.minimum,
            lower=max(1, int(np.ceil(low * count))),
            upper=max(1, int(high * count)),
        )

    def _ladders(self, analysis: Analysis) -> tuple[Ladder, ...]:
        """The ladders, with the steps that the limits allow; one that is held by them keeps the full width."""
        bounds, found = self._bounds(analysis), []
        for ladder in analysis.ladders:
            own = [bounds[number] for number in ladder.groups if number in bounds] or [(0.0, 1.0)]
            limits = max(low for low, _ in own), min(high for _, high in own)
            allowed = np.isin(ladder.levels, self._allowed(int(ladder.levels[-1]), limits, self.multiple))
            if not allowed.any():
                allowed[-1] = True
            found.append(Ladder(ladder.groups, ladder.levels[allowed], ladder.rows[allowed]))
        return tuple(found)

    def _bounds(self, analysis: Analysis) -> dict[int, tuple[float, float]]:
        found: dict[int, tuple[float, float]] = {}
        for pattern, (low, high) in self.limits.bounds.items():
            for number in self._named(analysis, pattern, "bounds"):
                lowest, highest = found.get(number, (0.0, 1.0))
                found[number] = (max(low, lowest), min(high, highest))
        return found

    def _asked_equal(self, analysis: Analysis) -> Iterator[tuple[int, ...]]:
        for patterns in self.limits.equal:
            numbers = [number for pattern in patterns for number in self._named(analysis, pattern, "equal")]
            yield tuple(sorted(set(numbers)))

    def _named(self, analysis: Analysis, pattern: str, what: str) -> tuple[int, ...]:
        return matching_groups(analysis, pattern, what, self.naming)


def _lowest(analysis: Analysis, scores: Sequence[Tensor], kept: Sequence[int]) -> Axis:
    """The units with the lowest scores, where each group keeps so many."""
    return lowest_units([group.units for group in analysis.groups], scores, kept)


def _narrowest(problem: Problem) -> Sequence[int]:
    """The fewest channels that every group may keep."""
    tied = merged(problem)
    return tied.expanded([int(widths[0]) for widths in tied.problem.widths])


def _nearest(widths: np.ndarray, wanted: float) -> int:
    """The width that is nearest to what is wanted; of two equally near ones the larger."""
    return int(max(widths.tolist(), key=lambda width: (-abs(width - wanted), width)))


def _chosen(analysis: Analysis, scores: Sequence[Tensor], problem: Problem, kept: Sequence[int]) -> Chosen:
    """These widths, with the loss and the cost that they have in the problem."""
    loss = sum(
        float(np.interp(wanted, widths, losses))
        for wanted, widths, losses in zip(kept, problem.widths, problem.losses, strict=True)
    )
    cost = problem.cost.total(np.asarray(kept, dtype=np.int64))
    allocation = Allocation(tuple(kept), loss, cost, 0.0)
    return Chosen(_lowest(analysis, scores, kept), allocation, problem.dense_cost, _stuck(problem))


def _stuck(problem: Problem) -> dict[int, str]:
    """Groups that could be narrower but for those that keep the same share, each with the name of one of these."""
    found = {}
    whole = merged(problem)
    for tied, widths in zip(whole.members, whole.problem.widths, strict=True):
        for number, _ in tied if len(widths) == 1 else ():
            if len(problem.widths[number]) > 1:
                found[number] = next(problem.names[other] for other, _ in tied if other != number)
    return found
