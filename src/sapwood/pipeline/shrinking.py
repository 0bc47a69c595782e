"""What ``sapwood inspect``, ``prune`` and ``compact`` tell of a model: their records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

from torch import nn

import sapwood
from sapwood.allocation import layer_work
from sapwood.errors import ConfigError, MeasureError
from sapwood.goals import (
    Bench,
    Calibration,
    Deployment,
    Sensitivity,
    WidthSteps,
    change_of_outputs,
    find_width_steps,
    harm_without,
)
from sapwood.graph import Analysis, ChannelGroup, build_groups, find_shuffles, trace
from sapwood.measure import (
    ModelLayer,
    Sample,
    count_macs,
    count_params,
    file_size_bytes,
    layers_alone,
    machine,
    model_layers,
    sample_work,
)
from sapwood.models import config_layers, copy_model, framework_of, whole_tensors
from sapwood.pipeline.depth import removables
from sapwood.pipeline.low_rank import channels_of
from sapwood.removal import Planner
from sapwood.report import Inspection, Pruning, records
from sapwood.runtime import RUNTIMES
from sapwood.types import ExampleInputs, ModelBundle

INSPECT_ROUNDS = 30


def check_inputs(bundle: ModelBundle) -> None:
    """Checks that a model can be run.

    Raises:
        ConfigError: If it came without example inputs.
    """
    if isinstance(bundle.example_inputs, tuple) and not bundle.example_inputs:
        raise ConfigError(
            f"{bundle.source.spec} has no example inputs; expected a factory that returns a pair of the model and its "
            "example inputs, as `return model, torch.randn(1, 3, 224, 224)`, or a ModelBundle (docs/models.md)"
        )


def matching_tensors(model: nn.Module, patterns: Iterable[str]) -> dict[str, str]:
    """Finds the parameters that patterns name.

    Args:
        model: The model.
        patterns: Each a name of a parameter, of a module for all parameters in it, or of a dimension
            (``"conv.weight[0]"``), with ``*`` and ``?`` as in a shell; or ``type:Linear`` for all modules of a class.

    Returns:
        What :func:`sapwood.prune` takes as ``ignore``: tensor or dimension -> reason.

    Raises:
        ConfigError: If a pattern names nothing.

    Examples:
        >>> matching_tensors(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), ["0.w*[1]"])
        {'0.weight[1]': 'ignored, as asked: 0.w*[1]'}
    """
    return whole_tensors(model, patterns, option="--ignore")


def measure_widths(
    bundle: ModelBundle, deployment: Deployment, progress: Callable[[int, int], None] | None = None
) -> WidthSteps:
    """Measures what widths of a model a runtime likes; pruning for that runtime keeps them from then on.

    Args:
        bundle: The model.
        deployment: Where it will run.
        progress: Called with networks done and in all.

    Raises:
        ConfigError: If the model came without example inputs.
        MeasureError: If no group of channels can be narrowed.
    """
    check_inputs(bundle)
    inputs, model = bundle.example_inputs, bundle.model
    routes = framework_of(model).routes(model)
    bench = Bench.of(inputs, deployment)
    return find_width_steps(Planner(model, inputs), model, bench, routes=routes, progress=progress)


def inspect_model(
    bundle: ModelBundle,
    deployment: Deployment | None = None,
    sensitivity: Sensitivity | None = None,
    widths: WidthSteps | None = None,
    *,
    blocks: bool = False,
    calibration: Calibration | None = None,
) -> Inspection:
    """Tells what a model consists of, which channels hang together, and what cannot be pruned.

    Args:
        bundle: The model.
        deployment: Where it is timed, layer by layer; nothing is timed if None.
        sensitivity: What pruning each group alone does, if that was measured.
        widths: What widths a runtime likes, if that was measured.
        blocks: Whether its residual blocks are looked for, and the layers that its config counts, each tried without.
        calibration: On what is measured how far the outputs are then; the example inputs where None.

    Returns:
        Its sizes, its layers, its groups (each with its members, the dimensions that go together) and what stays whole.
        What only the model's own code stands in the way of is found by pruning.

    Raises:
        ConfigError: If the model came without example inputs.
        MeasureError: If the runtime cannot tell layers apart.
    """
    check_inputs(bundle)
    size, layers = _measured(bundle.model, bundle.example_inputs)
    analysis = _groups(bundle, bundle.example_inputs)
    return records.make_part(
        Inspection,
        {
            **dict(size),
            "model": bundle.name,
            "layers": layers,
            "groups": [_group(group) for group in analysis.groups],
            "unpruned": analysis.unpruned,
            "latency": None if deployment is None else _layer_latency(bundle, analysis, deployment),
            "sensitivity": sensitivity,
            "widths": widths,
            "blocks": _blocks(bundle, layers, calibration) if blocks else (),
        },
    )


def _blocks(
    bundle: ModelBundle, layers: tuple[ModelLayer, ...], calibration: Calibration | None
) -> list[records.ResidualBlock]:
    """The residual blocks and the layers that a config counts, those that can go first."""
    model, inputs = bundle.model, bundle.example_inputs
    change = change_of_outputs(model, inputs, calibration)
    able, others = [], []
    for as_config in (False, True) if _counts_layers(model) else (False,):
        found = removables(model, inputs, None, None, as_config=as_config)
        for block in found.found:
            macs = sum(layer.macs for layer in layers if block.holds(layer.name))
            far = harm_without(found, [block.name], change)
            able.append(records.ResidualBlock(name=block.name, macs=macs, change=far, as_config=as_config))
        others += [
            records.ResidualBlock(name=name, macs=0, refused=why, as_config=as_config)
            for name, why in found.refused.items()
        ]
    return able + others


def _counts_layers(model: nn.Module) -> bool:
    """Whether a config says how many layers a model has."""
    with suppress(ConfigError):
        return bool(config_layers(model).counts)
    return False


def shrink_record(
    bundle: ModelBundle,
    result: Any,
    options: dict[str, Any],
    sensitivity: Sensitivity | None = None,
    verb: Literal["prune", "compact"] = "prune",
    *,
    agreement: records.MeasuredAgreement | None = None,
) -> Pruning:
    """Tells what removing channels did to a model.

    Args:
        bundle: The model before.
        result: What :func:`sapwood.prune` or :func:`sapwood.compact` returned for it.
        options: What was asked for.
        sensitivity: What the widths were chosen by, if that was measured.
        verb: What was done.
        agreement: Of the result with the model before, if that was measured.

    Returns:
        Sizes and layers before and after, the proof, what stays whole, and what was measured on the way.
    """
    before, layers_before = _measured(bundle.model, bundle.example_inputs)
    after, layers = _measured(result.model, bundle.example_inputs)
    now = {layer.name: layer for layer in layers}
    return records.make_part(
        Pruning,
        {
            "verb": verb,
            "sapwood": sapwood.__version__,
            "date": datetime.now().astimezone().isoformat(timespec="seconds"),
            "model": bundle.name,
            "options": options,
            "before": before,
            "after": after,
            "removed_blocks": getattr(result, "removed_blocks", ()),
            "layers": [_widths(layer, _as_one(layer.name, result, now)) for layer in layers_before],
            "channels": channels_of(result),
            "verification": result.verification,
            "unpruned": result.unpruned,
            "notes": _notes(result),
            "latency": getattr(result, "latency", None),
            "sensitivity": sensitivity,
            "recovery": getattr(result, "recovery", None),
            "agreement": agreement,
        },
    )


def _notes(result: Any) -> tuple[str, ...]:
    """What else to know of a smaller model, a sentence each; ``compact`` leaves outputs and attributes alone."""
    resized = getattr(result, "resized_outputs", ())
    told = (f"outputs that follow the widths, as nobody counts on them: {', '.join(resized)}",) if resized else ()
    return (*told, *getattr(result, "notes", ()))


def _groups(bundle: ModelBundle, inputs: ExampleInputs) -> Analysis:
    """The groups that pruning begins with."""
    graph = trace(copy_model(bundle.model).eval(), inputs)
    return build_groups(graph, loose=find_shuffles(graph))


def _layer_latency(bundle: ModelBundle, analysis: Analysis, deployment: Deployment) -> records.LayerLatency:
    """What each layer of a model takes on the runtime it will run on."""
    bench = Bench.of(bundle.example_inputs, deployment)
    if deployment.batch is not None:  # the work is that of the batch that is timed
        analysis = _groups(bundle, bench.inputs)
    able = [name for name in RUNTIMES if RUNTIMES[name].tells_layers]
    times = bench.layer_times(bundle.model, INSPECT_ROUNDS) if deployment.runtime in able else None
    if times is None:
        raise MeasureError(f"{deployment.runtime} cannot tell layers apart; expected one of {', '.join(able)}")
    sizes = [group.num_channels for group in analysis.groups]
    sample = Sample(times, sample_work(layer_work(analysis), sizes))
    conditions = {**machine(), "runtime": deployment.runtime, "threads": deployment.num_threads}
    if deployment.batch is not None:
        conditions["batch"] = deployment.batch
    low, middle, high = times.whole or (0.0, 0.0, 0.0)
    timed = {
        "total_ms": sample.total_ms,
        "layers": layers_alone(sample),
        "conditions": conditions,
        "spread": (high - low) / middle if middle else None,
    }
    return records.make_part(records.LayerLatency, timed)


def _measured(model: nn.Module, inputs: ExampleInputs) -> tuple[records.Size, tuple[ModelLayer, ...]]:
    macs = count_macs(model, inputs)
    size = records.Size(
        params=count_params(model),
        macs=macs.total,
        file_bytes=file_size_bytes(model),
        uncounted=tuple(macs.uncounted),
    )
    return size, model_layers(model, macs)


def _widths(before: ModelLayer, after: ModelLayer | None) -> records.LayerWidths:
    """A layer before and after; without a shape where it went with its block."""
    sizes = [(before.shape, before.macs), ((), 0) if after is None else (after.shape, after.macs)]
    states = [records.LayerState(shape=shape, macs=macs) for shape, macs in sizes]
    return records.LayerWidths(name=before.name, kind=before.kind, before=states[0], after=states[1])


def _as_one(name: str, result: Any, now: Mapping[str, ModelLayer]) -> ModelLayer | None:
    """A layer as it is now, where modules may have other names; of one that is two, what both take, and the widths."""
    of_two = getattr(result, "of_two", None)
    found = [now.get(new) for new in ((name,) if of_two is None else of_two.network.names.get(name, (name,)))]
    first, last = found[0], found[-1]
    if first is None or last is None or first is last:
        return first
    return replace(last, shape=(last.shape[0], *first.shape[1:]), macs=first.macs + last.macs)


def _group(group: ChannelGroup) -> records.Group:
    members = dict.fromkeys(f"{member.tensor}[{member.dim}]" for member in group.members)
    return records.Group(name=group.name, channels=group.num_channels, members=tuple(members))
