"""Low rank beside channels: a network with some layers as two, of which channels between the two go as others do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import nn

from sapwood.arguments import described
from sapwood.errors import ConfigError
from sapwood.factoring import TwoLayers, in_two_layers
from sapwood.goals import Calibration, Depth, LatencyOutcome, Limits, Naming, Sensitivity, Target
from sapwood.graph import Unpruned
from sapwood.models import Ignored, Plan
from sapwood.pipeline.ways import Ways
from sapwood.removal import Verification
from sapwood.types import ExampleInputs


@dataclass(frozen=True)
class OfTwo:
    """What was pruned is a network of which some layers are two.

    Attributes:
        network: It, with all channels; it computes what the model given does.
        plan: What was cut of it.
    """

    network: TwoLayers
    plan: Plan

    def __deepcopy__(self, memo: dict[int, Any]) -> OfTwo:
        """Itself, as nothing of it changes: a copy of a result can be recovered, and has no second network for it."""
        return self

    @property
    def channels_between(self) -> dict[str, tuple[int, int]]:
        """By the name of each layer that is two: how many channels there were between the two, and are."""
        ranks = {one.module: one.rank for one in self.network.joined(self.plan).factored}
        return {name: (had, ranks[name]) for name, had in self.network.layers.items()}


def two_layers(
    model: nn.Module,
    example_inputs: ExampleInputs,
    target: Target,
    calibration: Calibration | None = None,
    ignore: Ignored = None,
) -> TwoLayers:
    """Makes two layers of those that take less as two of low rank, as far as a target asks for it.

    Args:
        model: The model; not touched.
        example_inputs: Its example inputs.
        target: What is to be reached: of a latency, its fraction is taken for one of multiply-accumulates.
        calibration: On its batches is measured in which directions results vary; weights alone tell where None.
        ignore: As for :func:`sapwood.prune`.

    Returns:
        A network that computes the same, which is proven, for :func:`sapwood.prune` (``low_rank=``).

    Raises:
        ConfigError: If no layer pays as two, or the target says nothing of layers.
        CheckFailedError: If the network does not compute the same.
    """
    if target.kind == "sparsity":
        raise ConfigError(
            f"low rank: got sparsity {target.value:g}, which counts channels; expected macs, params or latency"
        )
    fraction = reckoned(target)

    def runs(one: nn.Module) -> None:
        assert calibration is not None
        seen = False
        for batch in calibration.batches:
            calibration.loss(one, batch)
            seen = True
        if not seen:
            raise ConfigError("low rank: no batch to look at; expected at least one, or no calibration")

    return in_two_layers(
        model,
        example_inputs,
        fraction,
        None if calibration is None else runs,
        ignore=ignore,
        by_params=target.kind == "params",
    )


TIMED_AS_TWO = "times of layers are beside those of the network with all channels between layers that are two"

HALF = 0.5
"""What a time in milliseconds is taken for, when it is reckoned which layers pay as two."""


def reckoned(target: Target) -> float:
    """The fraction of multiply-accumulates, or of parameters, that a target is taken for."""
    return HALF if target.milliseconds is not None else target.value


def check_low_rank(target: Target | None, depth: Depth, limits: Limits) -> Target:
    """Checks that what is asked for beside low rank goes with it.

    Raises:
        ConfigError: Names what does not.
    """
    if target is None:
        raise ConfigError("low rank: got no target; expected macs, params or latency")
    if depth is not False:
        raise ConfigError(f"low rank: got depth {depth!r}, too; expected one of them: the result can be pruned again")
    if limits.as_config:
        raise ConfigError("low rank: no config of transformers says that a layer is two; expected no as_config")
    return target


def check_network(low_rank: object, model: nn.Module) -> None:
    """Checks that what was given for ``low_rank`` is a network of the model.

    Raises:
        ConfigError: If it is something else, or the model has other values now.
    """
    if not isinstance(low_rank, TwoLayers):
        raise ConfigError(
            f"low_rank is {described(low_rank)}; expected True, False or what sapwood.pipeline.two_layers returned"
        )
    if not low_rank.is_of(model):
        raise ConfigError(
            "low_rank is of another model, or of this one with other values; expected what sapwood.pipeline.two_layers "
            "returned for it as it is"
        )


def check_sensitivity(measured: Sensitivity | None, network: TwoLayers) -> None:
    """Checks that what was measured of groups is of the network with layers as two.

    Raises:
        ConfigError: If it says nothing of channels between two layers.
    """
    if measured is not None and not any(network.is_between(row.group) for row in measured.rows):
        raise ConfigError(
            "low rank: the sensitivity says nothing of channels between two layers; expected one of the network that "
            "sapwood.pipeline.two_layers returned, and that for low_rank"
        )


def renamed_ways(ways: Ways, before: TwoLayers, now: TwoLayers) -> Ways:
    """What was measured and collected of a network, by the names that all has where fewer layers are two."""
    score = ways.score.of(before.model)
    if now is before:
        return replace(ways, score=score)
    known = score.statistics()
    moved = None if known is None else known.renamed(partial(before.reader_in, now), partial(before.giver_in, now))
    return replace(
        ways,
        score=score.of(now.model, moved),
        sensitivity=None if ways.sensitivity is None else _renamed(ways.sensitivity, before, now),
    )


def _renamed(measured: Sensitivity, before: TwoLayers, now: TwoLayers) -> Sensitivity:
    """What was measured of the groups, by the names that they have where fewer layers are two."""
    rows = [(before.called_in(now, row.group), row) for row in measured.rows]
    return replace(measured, rows=tuple(replace(row, group=name) for name, row in rows if name is not None))


def naming_of(network: TwoLayers, joined: Iterable[str]) -> Naming:
    """How limits, which are for the model given, name the channels of a network.

    Args:
        network: In which layers are two.
        joined: Layers that were two before, and are one again.
    """
    absent = tuple(f"{name}.0.weight[0]" for name in joined)
    return Naming(network.called_before, network.is_between, absent)


def stays_whole(network: TwoLayers, unpruned: Iterable[Unpruned]) -> tuple[Unpruned, ...]:
    """What stays whole, by the names of the model given."""
    found = []
    for one in unpruned:
        tensor, _, _ = network.called_before(f"{one.tensor}[{one.dim}]").rpartition("[")
        found.append(Unpruned(tensor, one.dim, network.told_before(one.reason)))
    return tuple(found)


def channels_of(result: Any) -> tuple[int, int] | None:
    """The channels that groups had, and have; None where no widths were chosen.

    Those between layers that are two are no channels of the model given, and are not counted.
    """
    allocation, of_two = getattr(result, "allocation", None), getattr(result, "of_two", None)
    if allocation is None:
        return None
    had, has = sum(result.num_channels), sum(allocation.kept)
    if of_two is not None:
        stay = {(one.tensor, one.dim) for one in result.unpruned}
        between = [own for name, own in of_two.channels_between.items() if (f"{name}.0.weight", 0) not in stay]
        had, has = had - sum(own[0] for own in between), has - sum(own[1] for own in between)
    return had, has


def missed_as_two(target: Target, latency: LatencyOutcome) -> str:
    """Why layers are one again that missed a latency as two."""
    return f"as two they missed latency {target.latency}, at {latency.ratio:.3f} of the dense network's"


def low_rank_notes(found: OfTwo, why: str = "") -> tuple[str, ...]:
    """A sentence on the layers that became two, and one for each that could not.

    Args:
        found: What was pruned.
        why: Why none is two where some could be; empty where they take no less.
    """
    told = ", ".join(f"{name} ({rank})" for name, (_, rank) in found.channels_between.items())
    stay: dict[str, list[str]] = {}
    for name, reason in found.network.refused.items():
        stay.setdefault(reason, []).append(name)
    others = (f"{', '.join(names)} cannot be two: {reason}" for reason, names in stay.items())
    layers = f"layers that are two each, and how many channels are between the two: {told}"
    none = f"all layers are one each: {why}" if why else "no layer takes less as two of low rank: none is"
    return (layers if told else none, *others)


def both_proofs(network: TwoLayers, done: Verification) -> Verification:
    """One proof of the network whose layers are two, and of what was cut of it."""
    first = network.verification
    return replace(
        done, max_abs_error=max(first.max_abs_error, done.max_abs_error), passed=first.passed and done.passed
    )
