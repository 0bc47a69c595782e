"""``sapwood.prune``: which channels go, and the model without them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from sapwood.allocation import Allocation, CostTable, channels_table, layer_work, params_table
from sapwood.arguments import check_example_inputs, check_kind, check_model
from sapwood.criteria import Criterion
from sapwood.goals import (
    Bench,
    Calibration,
    Chooser,
    Deployment,
    LatencyOutcome,
    LatencyTarget,
    Limits,
    Scorer,
    Sensitivity,
    Target,
    scorer,
)
from sapwood.graph import Analysis, Unpruned
from sapwood.measure import count_params
from sapwood.models import Ignored, Plan, apply_plan, framework_of
from sapwood.ops import Axis
from sapwood.recovery import Recovered
from sapwood.removal import Planner, Solution, Verification
from sapwood.types import ExampleInputs

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Pruned:
    """A pruned model, how it came about, and the proof.

    Attributes:
        model: A module of the same class, smaller.
        plan: Which indices of which tensors stay: data, JSON, re-appliable.
        verification: Compact against masked.
        unpruned: What could not be pruned, each with its reason.
        allocation: How many channels each group keeps, and what that costs by the allocator's reckoning.
        latency: What was measured; None where neither a latency was asked for nor a deployment given.
        recovery: What :func:`sapwood.pipeline.recover` did to the weights; None where nothing.
    """

    model: nn.Module
    plan: Plan
    verification: Verification
    unpruned: tuple[Unpruned, ...]
    allocation: Allocation | None = None
    latency: LatencyOutcome | None = None
    recovery: Recovered | None = None


def prune(
    model: nn.Module,
    example_inputs: ExampleInputs,
    *,
    target: Target,
    criterion: str | Criterion | Scorer = "l2",
    allocator: str | None = None,
    calibration: Calibration | None = None,
    sensitivity: Sensitivity | None = None,
    ignore: Ignored = None,
    limits: Limits | None = None,
    deployment: Deployment | str | None = None,
    progress: Progress | None = None,
) -> Pruned:
    """Removes channels of ``model``, with everything that hangs on them; ``model`` itself is not touched.

    Args:
        model: Any module.
        example_inputs: A tensor, a tuple of positional or a dict of keyword arguments.
        target: What to reach.
        criterion: What a channel is worth: a name in :data:`sapwood.criteria.CRITERIA`, or one made with
            :func:`sapwood.criteria.make_criterion`, or a :func:`sapwood.pipeline.scorer` that has scored before.
        allocator: How the budget is shared out, a name in :data:`sapwood.allocation.ALLOCATORS`: ``"uniform"``,
            ``"global"`` or ``"knapsack"``. The same fraction everywhere for a sparsity, the knapsack for any other
            target, where None.
        calibration: Batches and a loss, for criteria that look at data.
        sensitivity: The measured loss of each group pruned alone; the knapsack's values instead of the criterion's.
        ignore: What must stay whole: names of tensors, dimensions (``"name[0]"``) or modules, with ``*`` and ``?`` as
            in a shell, or ``type:Linear`` for all of a class; each with the reason, as a dict, or alone.
        limits: What widths may be.
        deployment: The runtime, threads and batch that latency is measured with, or the name of a runtime. Given with
            another target, the result is timed there, and explained.
        progress: Called with (done, total) steps of what takes longest.

    Returns:
        The smaller model with its plan and its verification. Of a latency target ``latency.met`` tells whether the
        clock agrees; ``latency.layers`` where the time goes, before and after.

    Raises:
        CheckFailedError: If no compact model could be made that equals the masked one; nothing is returned then.
        BudgetError: If no widths reach the target; the text says what can be reached.
        ConfigError: If the criterion needs data and there is none, or an option names nothing.
    """
    check_model(model)
    check_example_inputs(example_inputs)
    example_inputs = tuple(example_inputs) if isinstance(example_inputs, list) else example_inputs
    check_kind("target", target, Target, "what to reach, as sapwood.Target(sparsity=0.5)")
    _check_options(calibration, sensitivity, limits)
    limits = limits or Limits()
    deployment = Deployment(deployment) if isinstance(deployment, str) else deployment
    if deployment is not None:
        check_kind("deployment", deployment, Deployment, "the name of a runtime, or a sapwood.pipeline.Deployment")
    chooser = Chooser(
        score=criterion if isinstance(criterion, Scorer) else scorer(model, criterion, calibration),
        cost=_cost(target, count_params(model)),
        allocator=allocator or ("uniform" if target.kind == "sparsity" else "knapsack"),
        limits=limits,
        routes=framework_of(model).routes(model),
        curves=None if sensitivity is None else sensitivity.curves(),
        fine=target.kind != "latency",
    )
    planner = Planner(model, example_inputs, ignore)
    clock = None
    if target.kind == "latency" or deployment is not None:
        bench = Bench.of(example_inputs, deployment or Deployment())
        clock = LatencyTarget(
            planner, model, bench, chooser, target.latency, progress, target.tolerance, target.at_most
        )
    if clock is not None and target.kind == "latency":
        return _pruned(model, *clock.reach())
    found: list[Allocation] = []

    def select(analysis: Analysis) -> Axis:
        if target.kind == "sparsity" and chooser.allocator == "uniform":
            removed, allocation = chooser.choose_sparsity(analysis, target.value)
        else:
            fraction = 1.0 - target.value if target.kind == "sparsity" else target.value
            removed, allocation = chooser.choose(analysis, fraction)
        found.append(allocation)
        return removed

    solution = planner.solve(select)
    outcome = None if clock is None else clock.observe(solution, found[-1])
    return _pruned(model, solution, found[-1], outcome)


def _check_options(calibration: object, sensitivity: object, limits: object) -> None:
    for name, value, kind in (
        ("calibration", calibration, Calibration),
        ("sensitivity", sensitivity, Sensitivity),
        ("limits", limits, Limits),
    ):
        if value is not None:
            check_kind(name, value, kind, f"a {kind.__module__.split('.')[0]}.pipeline.{kind.__name__}, or None")


def _cost(target: Target, num_params: int) -> Callable[[Analysis, Mapping[int, str]], CostTable]:
    """What a target budgets; latency is put in its place once it is measured."""
    if target.kind == "params":
        return lambda analysis, held: params_table(analysis, num_params, held)
    if target.kind == "macs":
        return lambda analysis, held: layer_work(analysis, held).table("macs", "MACs")
    return channels_table


def _pruned(
    model: nn.Module, solution: Solution, allocation: Allocation | None, outcome: LatencyOutcome | None
) -> Pruned:
    plan = solution.realised.plan
    with torch.no_grad():
        small = apply_plan(model, plan)
    return Pruned(small, plan, solution.verification, solution.analysis.unpruned, allocation, outcome)
