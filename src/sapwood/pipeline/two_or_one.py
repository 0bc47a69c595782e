"""Which layers are two for a goal: by what they take, and by the clock, which may say that none is."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

from torch import nn

from sapwood.errors import BudgetError
from sapwood.factoring import TwoLayers, with_fewer
from sapwood.goals import Target, distance
from sapwood.measure import count_params
from sapwood.models import Ignored, shrink_describable, whole_tensors
from sapwood.pipeline.depth import Rest, beside_dense, rest_of
from sapwood.pipeline.low_rank import TIMED_AS_TWO, missed_as_two, naming_of, renamed_ways
from sapwood.pipeline.ways import Ways
from sapwood.types import ExampleInputs

if TYPE_CHECKING:
    from sapwood.pipeline.pruning import Pruned

Prune: TypeAlias = "Callable[[nn.Module, ExampleInputs, Target, Ignored, Ways], Pruned]"
"""Removes channels of a model for a target of its own."""

MOST_TRIES = 4
"""How often layers become one again because two of them take no less, before the rest is left as it is."""

TIMED_TRIES = 1
"""The same where networks are timed, which takes a minute or more each time."""


@dataclass(frozen=True)
class Given:
    """The model, its example inputs, and what stays whole of it."""

    model: nn.Module
    inputs: ExampleInputs
    ignore: Ignored


@dataclass(frozen=True)
class LikelyTwo:
    """A network to begin with, and why all of its layers are one again where that is not for what they take."""

    network: TwoLayers
    why: str = ""


@dataclass(frozen=True)
class Settled(LikelyTwo):
    """A network, and what pruning it gave."""

    pruned: Pruned = field(kw_only=True)


@dataclass(frozen=True)
class TwoOrOne:
    """Which layers are two for a target: at first those of ``every``, then fewer."""

    given: Given
    every: TwoLayers
    ways: Ways
    prune: Prune

    def settled(self, start: LikelyTwo, target: Target, *, timed: bool = False) -> Settled:
        """Prunes a network, and once more where two of its layers take no less than one, which they are then.

        Of those that were timed the first counts that reaches a latency where the last does not.

        Raises:
            BudgetError: If no widths reach the target, with layers that are two or with none.
        """
        network, why, tries = start.network, start.why, 0
        most = TIMED_TRIES if timed else MOST_TRIES
        met: list[Settled] = []
        while True:
            try:
                found = self._pruned(network, target, timed=timed)
                alike = network.takes_no_less(found.model, by_params=target.kind == "params")
            except BudgetError as error:
                if met:
                    return met[0]
                if not network.layers:
                    raise
                alike = list(network.layers)  # limits may leave the two of a layer wider than the one
                why = str(error)
            else:
                done = Settled(network, why, pruned=found)
                if _is_met(found):
                    met.append(done)
                if not alike or tries >= most:
                    return done if _is_met(found) or not met else met[0]
            network, tries = self._fewer(network, alike), tries + 1

    def likely(self, fraction: float) -> LikelyTwo:
        """The network for a fraction of the time, taken for one of multiply-accumulates."""
        try:
            return self.settled(LikelyTwo(self.every), Target(macs=fraction))
        except BudgetError as error:  # which says nothing of milliseconds
            return LikelyTwo(self._fewer(self.every, self.every.layers), str(error))

    def in_time(self, start: LikelyTwo, target: Target) -> Settled:
        """Prunes a network to a latency; with layers that are one each where two miss it, and these are nearer to it.

        Raises:
            BudgetError: If no widths reach it.
        """
        two = self.settled(start, target, timed=True)
        latency = two.pruned.latency
        assert latency is not None
        if not two.network.layers or latency.target is None:
            return two
        worse = latency.ratio >= 1.0 and count_params(two.pruned.model) > count_params(self.given.model)
        if latency.met and not worse:
            return two
        network = self._fewer(two.network, two.network.layers)
        try:
            one = self._pruned(network, target, timed=True)
        except BudgetError:
            if worse:
                raise
            return two
        assert one.latency is not None
        if not worse and distance(one.latency.ratio, latency.target) >= distance(latency.ratio, latency.target):
            return two
        return Settled(network, missed_as_two(target, latency), pruned=one)

    def _fewer(self, network: TwoLayers, names: Collection[str]) -> TwoLayers:
        return with_fewer(network, self.given.model, self.given.inputs, names)

    def _pruned(self, network: TwoLayers, target: Target, *, timed: bool) -> Pruned:
        """What a target for the model given leaves of a network, beside that model where it is timed."""
        again = self.every.layers.keys() - network.layers.keys()
        own = replace(renamed_ways(self.ways, self.every, network), naming=naming_of(network, again))
        if not timed:
            return self._without_channels(network, target, replace(own, deployment=None))
        found = self._without_channels(network, target, own)
        given = self.given
        latency = beside_dense(found.latency, target, given.model, found.model, own.bench(given.inputs))
        return replace(found, latency=latency, notes=(*found.notes, *((TIMED_AS_TWO,) if network.layers else ())))

    def _without_channels(self, network: TwoLayers, target: Target, ways: Ways) -> Pruned:
        """Removes channels of a network, so that the framework's files can describe the result."""
        model, inputs, rest = self.given.model, self.given.inputs, Rest(target)
        if network.layers:
            rest = rest_of(target, model, network.model, inputs, ways.bench(inputs)) or Rest(Target(macs=1.0))
        own = replace(ways, score=ways.score.of(network.model), beside=rest.beside)
        try:
            return shrink_describable(
                network.model,
                network.ignored(whole_tensors(model, self.given.ignore)),
                lambda held: self.prune(network.model, inputs, rest.target, held, own),
            )
        except BudgetError as error:
            raise BudgetError(network.told_before(str(error))) from error


def _is_met(found: Pruned) -> bool:
    """Whether a network reaches the latency asked for; false where none was."""
    return found.latency is not None and found.latency.target is not None and found.latency.met
