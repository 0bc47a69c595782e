"""``sapwood.prune``: which channels go, and the model without them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from sapwood.allocation import Allocation, held_dims
from sapwood.arguments import model_and_inputs, of_fields
from sapwood.criteria import Criterion
from sapwood.errors import BudgetError
from sapwood.factoring import TwoLayers
from sapwood.goals import (
    ONLY,
    Calibration,
    Chosen,
    Deployment,
    Depth,
    LatencyOutcome,
    LatencyTarget,
    Limits,
    Scorer,
    Sensitivity,
    Target,
    WidthSteps,
    alone,
    blocks_to_remove,
    by_budget,
    change_of_outputs,
    check_asked,
    check_depth,
    default_criterion,
    deployment_of,
    known_steps,
    scorer,
)
from sapwood.graph import Outputs, Unpruned
from sapwood.models import (
    Ignored,
    Plan,
    check_has_values,
    check_suited,
    config_module,
    with_shapes,
)
from sapwood.pipeline.depth import (
    TIMED,
    BlockBudget,
    Shallower,
    beside_dense,
    block_sensitivity,
    removables,
    rest_of,
    target_of_blocks,
)
from sapwood.pipeline.garbage import only_new_garbage
from sapwood.pipeline.low_rank import (
    OfTwo,
    both_proofs,
    check_low_rank,
    check_network,
    check_sensitivity,
    low_rank_notes,
    stays_whole,
    two_layers,
)
from sapwood.pipeline.saying import said_by_config
from sapwood.pipeline.telling import ModelBefore, short_html, short_text, summary_text, write_report
from sapwood.pipeline.two_or_one import Given, LikelyTwo, TwoOrOne
from sapwood.pipeline.ways import Ways
from sapwood.removal import (
    Planner,
    Removables,
    Solution,
    Verification,
    check_described,
    not_read,
    not_run_notes,
    resized_outputs,
    stray_notes,
    trained_notes,
)
from sapwood.types import ExampleInputs, ModelBundle

if TYPE_CHECKING:
    from sapwood.recovery import Recovered

Progress = Callable[[int, int], None]


@dataclass(frozen=True, repr=False)
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
        resized_outputs: Names of outputs whose sizes followed the widths, as ``outputs`` lets them.
        notes: What else to know of the smaller model, a sentence each: what it shares with the model given, as it
            cannot be copied, and numbers among its attributes that may be widths and were left.
        num_channels: How many channels each group had, as ``allocation`` tells what it keeps.
        removed_blocks: Names of the residual blocks that went as a whole, where ``depth`` asked for that.
        sensitivity: What each group alone and each block alone does to the outputs, where blocks were chosen by that.
        of_two: Where ``low_rank`` made two layers of some: the network that was pruned then, and the plan by its names.
            :func:`sapwood.reconstruct` and :func:`sapwood.distill` take these for the dense network and its plan. A
            copy shares them; a pickle holds them, as it can be recovered, too.
        dense: The model given, for :meth:`summary` and :meth:`report`; a copy or a pickle of the result has it not.

    Printed, it is a few lines, in a notebook a small table.
    """

    model: nn.Module
    plan: Plan
    verification: Verification
    unpruned: tuple[Unpruned, ...]
    allocation: Allocation | None = None
    latency: LatencyOutcome | None = None
    recovery: Recovered | None = None
    resized_outputs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    num_channels: tuple[int, ...] = ()
    removed_blocks: tuple[str, ...] = ()
    sensitivity: Sensitivity | None = None
    of_two: OfTwo | None = None
    dense: ModelBefore | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        return short_text(self)

    def _repr_html_(self) -> str:
        return short_html(self)

    def summary(self, *, layers: bool = False) -> str:
        """Returns the tables that ``sapwood prune`` prints: sizes before and after, times, what stays whole.

        Args:
            layers: With every layer's shape before and after.

        Raises:
            ConfigError: If this is a copy, which does not know the model before.
        """
        return summary_text(self, layers=layers)

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Writes the page that ``sapwood prune -o`` writes, one file that needs nothing else; returns its path.

        Raises:
            ConfigError: If the name does not end in ``.html``, or this is a copy, which does not know the model before.
            WriteError: If it cannot be written.
        """
        return write_report(self, path)


@only_new_garbage()
def prune(
    model: nn.Module | ModelBundle,
    example_inputs: ExampleInputs | None = None,
    *,
    target: Target | Mapping[str, Any] | None = None,
    depth: Depth = False,
    low_rank: bool | TwoLayers = False,
    criterion: str | Criterion | Scorer | None = None,
    allocator: str | None = None,
    calibration: Calibration | None = None,
    sensitivity: Sensitivity | None = None,
    ignore: Ignored = None,
    limits: Limits | Mapping[str, Any] | None = None,
    outputs: Outputs | None = None,
    deployment: Deployment | Mapping[str, Any] | str | None = None,
    progress: Progress | None = None,
) -> Pruned:
    """Removes channels of ``model``, with everything that hangs on them; ``model`` itself is not touched.

    Args:
        model: Any module; or what :func:`sapwood.load_model` returns, which brings its example inputs.
        example_inputs: A tensor, a tuple of positional or a dict of keyword arguments.
        target: What to reach: a :class:`sapwood.Target`, or its fields as a dict, as ``{"macs": 0.5}``. None where
            nothing but the blocks of ``depth`` is to go.
        depth: Which residual blocks (``x + f(x)``) go as a whole. ``"auto"``: those that the target asks for, as a
            further option beside the channels of every group; ``"only"``: the same without channels; both by what
            each group alone and each block alone does to the outputs, as ``sensitivity`` says or is measured then. Or
            before channels do: how many, or a fraction of them, one after the other the one without which the outputs
            change least; or names or globs of blocks, or of modules that they are in. The outputs are those for
            ``calibration``, or else for the example inputs. A target is one for the model given, of which the blocks
            are a part; a sparsity is of the channels left.
        low_rank: Whether convolutions and linear layers may become two with few channels between them, where that takes
            less: the channels between are groups like any other, in the directions in which results vary on
            ``calibration``, or that weights tell alone. Or what :func:`sapwood.pipeline.two_layers` returned, by whose
            names ``sensitivity`` is then.
        criterion: What a channel is worth: a name in :data:`sapwood.criteria.CRITERIA`, or one made with
            :func:`sapwood.criteria.make_criterion`, or a :func:`sapwood.pipeline.scorer` that has scored before.
            Where None, ``"l2"``; with ``low_rank`` and ``calibration`` ``"obs"``.
        allocator: How the budget is shared out, a name in :data:`sapwood.allocation.ALLOCATORS`: ``"uniform"``,
            ``"global"`` or ``"knapsack"``. The same fraction everywhere for a sparsity, the knapsack for any other
            target, where None.
        calibration: Batches and a loss, for criteria that look at data.
        sensitivity: The measured loss of each group pruned alone; the knapsack's values instead of the criterion's.
            With ``depth="auto"`` also that without each block (``sensitivity(..., blocks=block_plans(...))``).
        ignore: What must stay whole: names of tensors, dimensions (``"name[0]"``) or modules, with ``*`` and ``?`` as
            in a shell, or ``type:Linear`` for all of a class; each with the reason, as a dict, or alone.
        limits: What widths may be; or the fields of it.
        outputs: Which of the model's outputs count, and so keep their sizes: names, globs or positions
            (``"logits"``, ``"maps.*"``, ``0``), or a function that picks them out of what the model returns. All where
            None, but for the caches, hidden states and attentions of a transformers output object, and the ``feats``
            that a detector returns beside its ``boxes`` and ``scores``; the others follow the widths, and are compared
            where they are kept.
        deployment: The runtime, threads and batch that latency is measured with, or the name of a runtime. Given with
            another target, the result is timed there, and explained. Or the fields of one.
        progress: Called with (done, total) steps of what takes longest.

    Returns:
        The smaller model with its plan and its verification. Of a latency target ``latency.met`` tells whether the
        clock agrees; ``latency.layers`` where the time goes, before and after.

    Raises:
        CheckFailedError: If no compact model could be made that equals the masked one, or the config that
            ``limits`` ask for builds another one; nothing is returned then.
        BudgetError: If no widths reach the target; the text says what can be reached.
        ConfigError: If the criterion needs data and there is none, an option names nothing, ``limits`` ask for what a
            config can say and there is none, or the model is of a kind that cannot be pruned: quantised, compiled by
            TorchScript, sharded, without values (on the meta device), or lazy and never run.
    """
    model, example_inputs = model_and_inputs(model, example_inputs)
    asked: Target | None = of_fields(Target, target)
    widths: Limits | None = of_fields(Limits, limits)
    check_depth(depth)
    if asked is not None or depth is False:
        check_asked(asked, calibration, sensitivity, widths)
    where = deployment_of(of_fields(Deployment, deployment))
    check_suited(model)
    check_has_values(model)
    if criterion is None:
        criterion = default_criterion(low_rank=low_rank is not False, pictures=calibration is not None)
    score = criterion if isinstance(criterion, Scorer) else scorer(model, criterion, calibration)
    ways = Ways(score, allocator, sensitivity, widths or Limits(), outputs, where, progress)
    if low_rank is not False:
        asked = check_low_rank(asked, depth, ways.limits)
        if low_rank is True:
            low_rank = two_layers(model, example_inputs, asked, calibration, ignore)
        check_network(low_rank, model)
        check_sensitivity(sensitivity, low_rank)
        return _of_two(Given(model, example_inputs, ignore), low_rank, asked, ways)
    if depth is False:
        assert asked is not None
        return _channels(model, example_inputs, asked, ignore, ways)
    blocks = removables(model, example_inputs, ignore, outputs, as_config=ways.limits.as_config)
    if by_budget(depth):
        asked = target_of_blocks(blocks, depth, asked)
        ways = replace(ways, sensitivity=block_sensitivity(blocks, ways, calibration))
        return _by_budget(blocks, asked, ways, only=depth == ONLY)
    names = blocks_to_remove(blocks, depth, change_of_outputs(model, example_inputs, calibration, outputs))
    return _with_depth(blocks, Shallower.without(blocks, names), asked, ways)


NO_FOLDER = (
    "its config does not say these widths, so what save_pretrained writes of it loads nowhere: sapwood.save keeps it, "
    "and with --as-config (Limits(as_config=True)) it becomes an ordinary folder of transformers"
)


def _channels(model: nn.Module, example_inputs: ExampleInputs, target: Target, ignore: Ignored, ways: Ways) -> Pruned:
    """Removes channels; where a config is to say the widths, of those that one can say."""
    if not ways.limits.as_config:
        return _without_channels(model, example_inputs, target, ignore, ways)
    return said_by_config(
        lambda stays: _without_channels(model, example_inputs, target, ignore, replace(ways, stays=stays))
    )


def _without_channels(
    model: nn.Module, example_inputs: ExampleInputs, target: Target, ignore: Ignored, ways: Ways
) -> Pruned:
    chooser = ways.chooser(model, target)
    planner = Planner(model, example_inputs, ignore, ways.outputs, fields=chooser.fields, training=True)
    outcome, steps = None, None
    if target.kind != "latency" and ways.deployment is None:
        solution = planner.solve(chooser.towards(target))
    else:
        bench = ways.bench(example_inputs)
        steps = known_steps(planner.analysis(), bench) if ways.limits.round_to is None else None
        chooser = chooser if steps is None else replace(chooser, multiple=steps.multiple, multiples=steps.by_group)
        solution, outcome = LatencyTarget(planner, model, bench, chooser, target, ways.progress, ways.beside).solve()
    result = _pruned(model, example_inputs, planner, solution, outcome)
    if result.plan.cuts:
        result = replace(result, notes=(*result.notes, *ways.score.notes(solution.analysis)))
    if steps is not None:
        result = replace(result, notes=(*result.notes, _steps_note(steps)))
    if outcome is not None and outcome.target is not None and outcome.target > 1.0 and not result.plan.cuts:
        result = replace(result, notes=(*result.notes, FAST_ENOUGH))
    if ways.limits.as_config:
        check_described(result.model, example_inputs, chooser.fields)
    elif config_module(model) is not None and result.plan.cuts:
        result = replace(result, notes=(*result.notes, NO_FOLDER))
    return result


FAST_ENOUGH = "the network given takes no longer than what was asked for: nothing was removed"


def _steps_note(steps: WidthSteps) -> str:
    """What the widths were chosen by."""
    own = sorted({one.multiple for one in steps.groups})
    some = f" ({len(steps.groups)} of them of {', '.join(map(str, own))})" if own else ""
    return (
        f"wide groups keep multiples of {steps.multiple}{some} where that does as well, as measured on {steps.runtime} "
        f"on {steps.measured} (sapwood inspect --widths)"
    )


def _by_budget(blocks: Removables, target: Target, ways: Ways, *, only: bool) -> Pruned:
    """Removes blocks and channels, or blocks alone, as a target asks."""
    choices = BlockBudget(blocks, only, target, ways).choices()
    for number, names in enumerate(choices, start=1):
        try:
            found = _with_depth(blocks, Shallower.without(blocks, names), target, ways, channels=not only)
            break
        except BudgetError:
            if number == len(choices):
                raise
    return replace(found, sensitivity=ways.sensitivity)


def _with_depth(
    blocks: Removables, left: Shallower, target: Target | None, ways: Ways, *, channels: bool = True
) -> Pruned:
    """Removes channels, too, of what is left without some residual blocks."""
    model, inputs = blocks.model, blocks.inputs
    bench = ways.bench(inputs)
    kind = "layer" if ways.limits.as_config else "residual block"
    notes = tuple(f"{kind} {name} stays: {why}" for name, why in blocks.refused.items())
    rest = None if target is None or not channels else rest_of(target, model, left.model, inputs, bench)
    if rest is None:
        found = Pruned(left.model, with_shapes(left.plan, left.model), left.verification, (), notes=notes)
        if ways.limits.as_config:
            check_described(left.model, inputs)
    else:
        own = replace(
            ways, score=ways.score.of(left.model), sensitivity=left.renamed(ways.sensitivity), beside=rest.beside
        )
        found = _channels(left.model, inputs, rest.target, blocks.stays_in(left.plan), own)
        plan, done = left.joined(found.plan, found.verification, lambda: blocks.far(found.model))
        timed = (TIMED,) if found.latency is not None and left.blocks else ()
        plan = with_shapes(plan, found.model)
        found = replace(found, plan=plan, verification=done, notes=(*found.notes, *timed, *notes))
    if ways.deployment is not None or (target is not None and target.kind == "latency"):
        found = replace(found, latency=beside_dense(found.latency, target, model, found.model, bench))
    return replace(found, removed_blocks=left.blocks, dense=ModelBefore.of(model, inputs))


def _of_two(given: Given, network: TwoLayers, target: Target, ways: Ways) -> Pruned:
    """Removes channels of a network of which some layers are two; the target is one for the model given."""
    model, inputs = given.model, given.inputs
    fraction = target.value
    if target.milliseconds is not None:
        fraction = target.milliseconds / alone(ways.bench(inputs), model)
        if fraction >= 1.0:
            return _channels(model, inputs, target, given.ignore, replace(ways, sensitivity=None))
    search = TwoOrOne(given, network, ways, _channels)
    if target.kind == "latency":
        done = search.in_time(search.likely(fraction), target)
    else:
        done = search.settled(LikelyTwo(network), target)
        if ways.deployment is not None:
            done = search.settled(LikelyTwo(done.network, done.why), target, timed=True)
    network, found = done.network, done.pruned
    of_two = OfTwo(network, found.plan)
    return replace(
        found,
        plan=with_shapes(network.joined(found.plan), found.model),
        verification=both_proofs(network, found.verification),
        unpruned=stays_whole(network, found.unpruned),
        notes=(*map(network.told_before, found.notes), *low_rank_notes(of_two, done.why)),
        of_two=of_two,
        dense=ModelBefore.of(model, inputs),
    )


def _pruned(
    model: nn.Module,
    example_inputs: ExampleInputs,
    planner: Planner,
    solution: Solution[Chosen],
    outcome: LatencyOutcome | None = None,
) -> Pruned:
    """The model that a solution describes, in the type of its weights."""
    plan = solution.realised.plan
    small = planner.cut(plan)
    analysis = solution.analysis
    held = held_dims(analysis, solution.chosen.held, solution.chosen.stuck, solution.chosen.whole)
    asleep = not_read(model, analysis, plan.cuts)
    notes = [f"{name} is shared with the model given: no {kind} is copied" for name, kind in planner.shared.items()]
    notes += stray_notes(model)
    notes += (*trained_notes(model, analysis), *not_run_notes(asleep, planner.fault)) if plan.cuts else ()
    return Pruned(
        small,
        with_shapes(plan, small),
        solution.verification,
        (*analysis.unpruned, *held, *asleep),
        solution.chosen.allocation,
        outcome,
        resized_outputs=resized_outputs(solution),
        notes=(*notes, *solution.realised.unset),
        num_channels=tuple(group.num_channels for group in analysis.groups),
        dense=ModelBefore.of(model, example_inputs),
    )
