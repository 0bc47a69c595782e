"""A model without some of its residual blocks: which go by a budget, and what is left to do of a target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from sapwood.allocation import layer_work
from sapwood.errors import ConfigError
from sapwood.goals import (
    Bench,
    Beside,
    Chooser,
    LatencyOutcome,
    Sensitivity,
    Target,
    alone,
    blocks_in_budget,
    change_of_outputs,
    layer_samples,
    sensitivity,
    timed,
    why_none,
)
from sapwood.goals.targets import Calibration
from sapwood.graph import Outputs
from sapwood.measure import count_macs, count_params, fit_latency
from sapwood.models import Ignored, Plan, apply_plan, later_name
from sapwood.pipeline.ways import Ways
from sapwood.removal import Blocks, Layers, Planner, Removables, Verification
from sapwood.types import ExampleInputs

TIMED = "times of layers are beside those of the network without the blocks that went"

MAX_CHOICES = 4
"""How often blocks are chosen anew because the clock says that more, or fewer, have to go."""


@dataclass(frozen=True)
class Shallower:
    """A model without some blocks.

    Attributes:
        model: It, in the type of its weights.
        plan: What was removed.
        verification: The proof.
        blocks: The names of the blocks.
    """

    model: nn.Module
    plan: Plan
    verification: Verification
    blocks: tuple[str, ...]

    @staticmethod
    def without(blocks: Removables, names: Sequence[str]) -> Shallower:
        """Removes blocks, and proves it.

        Raises:
            CheckFailedError: If the model without them differs from the one in which their results are zeros.
        """
        gone = tuple(names)
        done = blocks.proven(gone)
        plan = blocks.plan(gone)
        return Shallower(apply_plan(blocks.model, plan), plan, done, gone)

    def joined(self, plan: Plan, done: Verification, far: Callable[[], float | None]) -> tuple[Plan, Verification]:
        """One plan and one proof of this and of what was cut afterwards.

        Args:
            plan: Of the model without the blocks.
            done: Its proof.
            far: Measures how far the result is from the dense model.
        """
        both = replace(
            done,
            max_abs_error=max(done.max_abs_error, self.verification.max_abs_error),
            passed=done.passed and self.verification.passed,
            distance_from_dense=far(),
        )
        attributes = (*self.plan.attributes, *plan.attributes)
        return replace(plan, removed=self.plan.removed, shortened=self.plan.shortened, attributes=attributes), both

    def renamed(self, measured: Sensitivity | None) -> Sensitivity | None:
        """What was measured of the groups, by the names that they have in the model without the blocks."""
        if measured is None or not self.plan.shortened:
            return measured
        rows = [(later_name(row.group, self.plan), row) for row in measured.rows]
        return replace(measured, rows=tuple(replace(row, group=name) for name, row in rows if name is not None))


@dataclass(frozen=True)
class Rest:
    """What a target for the dense model is for what is left of it.

    Attributes:
        target: Of a latency the same, with the network that it is one of.
        beside: That network; None of other targets.
    """

    target: Target
    beside: Beside | None = None


def rest_of(target: Target, dense: nn.Module, left: nn.Module, inputs: ExampleInputs, bench: Bench) -> Rest | None:
    """What a target for the dense model is for what is left of it; None where that is as fast as was asked for."""
    if target.kind == "macs":
        had, has = (count_macs(model, inputs).total for model in (dense, left))
        return Rest(Target(macs=min(1.0, target.value * had / has)))
    if target.kind == "params":
        return Rest(Target(params=min(1.0, target.value * count_params(dense) / count_params(left))))
    if target.kind != "latency":
        return Rest(target)
    clocked = timed(bench, dense, left)
    aim = target.milliseconds or target.value * clocked.dense_ms
    if clocked.row.median_ms <= aim:
        return None
    return Rest(target, Beside(dense, clocked.row.ratio))


def target_of_blocks(blocks: Removables, depth: object, target: Target | None) -> Target:
    """Checks that a target can say which blocks go.

    Raises:
        ConfigError: If there is none, it counts channels, or no block can go.
    """
    if target is None or target.kind == "sparsity":
        given = "no target" if target is None else f"sparsity {target.value:g}, which counts channels"
        raise ConfigError(f"depth {depth!r}: got {given}; expected macs, params or latency, that blocks have a part in")
    if not blocks.found:
        raise ConfigError(f"depth {depth!r}: no residual block can go{why_none(blocks)}; expected a model with some")
    return target


def block_sensitivity(blocks: Removables, ways: Ways, calibration: Calibration | None) -> Sensitivity:
    """What each group alone and each block alone does to the outputs, as was measured before, or measured now.

    Raises:
        ConfigError: If what was measured before says nothing of the blocks.
    """
    known = ways.sensitivity
    if known is None:
        change = change_of_outputs(blocks.model, blocks.inputs, calibration, ways.outputs)
        return sensitivity(
            blocks.model,
            blocks.inputs,
            lambda model: change(model) ** 2,
            score=ways.score,
            figure="squared change of the outputs",
            ignore=blocks.ignored,
            whole_heads=ways.limits.whole_heads,
            blocks=plans_of(blocks),
            progress=ways.progress,
        )
    missing = {block.name for block in blocks.found} - known.block_losses().keys()
    if missing:
        raise ConfigError(
            f"the sensitivity says nothing of {min(missing)}; expected one that was measured with "
            "blocks=sapwood.pipeline.block_plans(...)"
        )
    return known


def block_plans(
    model: nn.Module,
    example_inputs: ExampleInputs,
    *,
    ignore: Ignored = None,
    outputs: Outputs | None = None,
    as_config: bool = False,
) -> dict[str, Plan]:
    """What takes out each residual block that may go alone, for :func:`sapwood.pipeline.sensitivity`.

    Args:
        model: The model.
        example_inputs: Its example inputs.
        ignore: As for :func:`sapwood.prune`.
        outputs: Likewise.
        as_config: Whether whole layers go, so that a config can say how many there are.

    Returns:
        A plan by the name of each block.
    """
    return plans_of(removables(model, example_inputs, ignore, outputs, as_config=as_config))


def removables(
    model: nn.Module, example_inputs: ExampleInputs, ignore: Ignored, outputs: Outputs | None, *, as_config: bool
) -> Removables:
    """What may go as a whole: residual blocks, or layers that a config counts."""
    kind = Layers if as_config else Blocks
    return kind(model, example_inputs, ignore, outputs)


def plans_of(blocks: Removables) -> dict[str, Plan]:
    """What takes out each block that may go alone, by its name."""
    return {block.name: blocks.plan([block.name]) for block in blocks.found}


@dataclass(frozen=True)
class BlockBudget:
    """Which blocks go for a target, by what they and the channels of the others cost in accuracy.

    Attributes:
        blocks: Of the model.
        only: Whether no channel goes.
        target: Of the model.
        ways: How channels are chosen, with a sensitivity that knows blocks and groups.
    """

    blocks: Removables
    only: bool
    target: Target
    ways: Ways

    def choices(self) -> list[tuple[str, ...]]:
        """Names of the blocks that go, and those to take where channels cannot do the rest of a latency.

        Raises:
            BudgetError: If the target is not to be reached; the text says what is.
        """
        if self.target.kind == "latency":
            return self._by_clock()
        chooser = replace(self.ways.chooser(self.blocks.model, self.target), both=True)
        return [self._chosen(chooser, self._planner(chooser), self.target.value)]

    def _by_clock(self) -> list[tuple[str, ...]]:
        """Blocks of which the clock says that channels can do the rest, and such as need none of that."""
        bench, model = self.ways.bench(self.blocks.inputs), self.blocks.model
        aim = self.target.value if self.target.milliseconds is None else self.target.value / alone(bench, model)
        chooser, planner = self._fitted(bench)
        fraction, seen = min(1.0, aim), dict[tuple[str, ...], float]()
        for _ in range(MAX_CHOICES):
            names = self._chosen(chooser, planner, fraction)
            if names in seen:
                break
            ratio = seen[names] = timed(bench, model, self._model(names)).row.ratio if names else 1.0
            if not self.only and ratio >= aim:
                break
            fraction = min(1.0, fraction * aim / ratio if self.only else (fraction + 1.0) / 2.0)
        if self.only:
            return [self._nearest(seen, aim)]
        slower = [names for names, ratio in seen.items() if ratio >= aim] or [()]
        faster = [names for names, ratio in seen.items() if ratio < aim]
        return [*slower, *sorted(faster, key=lambda names: -seen[names])]

    def _nearest(self, seen: Mapping[tuple[str, ...], float], aim: float) -> tuple[str, ...]:
        """Of what was timed, the slowest that is fast enough, or else the fastest."""
        enough = [names for names, ratio in seen.items() if ratio <= aim * (1.0 + self.target.tolerance)]
        return max(enough, key=lambda names: seen[names]) if enough else min(seen, key=lambda names: seen[names])

    def _fitted(self, bench: Bench) -> tuple[Chooser, Planner]:
        """What chooses by fitted times of layers."""
        chooser = replace(self.ways.chooser(self.blocks.model, self.target), fine=True)
        planner = self._planner(chooser)
        samples = layer_samples(
            planner,
            self.blocks.model,
            bench,
            whole_heads=self.ways.limits.whole_heads,
            routes=dict(chooser.routes),
            progress=self.ways.progress,
        )
        fit = fit_latency(samples)
        return replace(chooser, cost=lambda analysis, held: fit.table(layer_work(analysis, held))), planner

    def _planner(self, chooser: Chooser) -> Planner:
        blocks = self.blocks
        return Planner(blocks.model, self.blocks.inputs, blocks.ignored, self.ways.outputs, fields=chooser.fields)

    def _chosen(self, chooser: Chooser, planner: Planner, fraction: float) -> tuple[str, ...]:
        assert self.ways.sensitivity is not None
        losses = self.ways.sensitivity.block_losses()
        return blocks_in_budget(chooser, planner.analysis(), self.blocks.found, losses, fraction, only=self.only).gone

    def _model(self, names: tuple[str, ...]) -> nn.Module:
        return apply_plan(self.blocks.model, self.blocks.plan(names))


def beside_dense(
    found: LatencyOutcome | None, target: Target | None, dense: nn.Module, small: nn.Module, bench: Bench
) -> LatencyOutcome:
    """How a network without some blocks does beside the dense one, which has them all.

    Args:
        found: What was measured of it: beside the dense one already, where channels went for a latency; else beside
            the network that lacks the blocks only, or None where no channel went.
        target: Of the dense network; where it is none of latency, it was timed only.
        dense: It.
        small: The network.
        bench: Where both are timed.
    """
    if found is not None and found.target is not None:
        return found
    clocked = timed(bench, dense, small)
    row = clocked.row
    latency = target if target is not None and target.kind == "latency" else None
    asked = None if latency is None else latency.milliseconds
    figures: dict[str, Any] = {
        "target": None if latency is None else latency.value / (1.0 if asked is None else clocked.dense_ms),
        "ratio": row.ratio,
        "ratio_q1": row.ratio_q1,
        "ratio_q3": row.ratio_q3,
        "dense_ms": clocked.dense_ms,
        "pruned_ms": row.median_ms,
        "target_ms": asked,
    }
    if latency is not None:  # nothing more had to go for it
        figures |= {"tolerance": latency.tolerance, "at_most": True}
    if found is not None:
        return replace(found, **figures)
    conditions: dict[str, Any] = {
        **clocked.conditions,
        "runtime": bench.deployment.runtime,
        "threads": bench.deployment.num_threads,
    }
    return LatencyOutcome(
        **figures,
        predicted=row.ratio,
        attempts=(),
        fit_error=0.0,
        layers=(),
        conditions=conditions,
    )
