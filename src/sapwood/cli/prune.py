"""``sapwood prune``: removes channels, and everything that hangs on them."""

from __future__ import annotations

from typing import Annotated

import typer

from sapwood.cli import budget
from sapwood.cli.common import (
    JsonOption,
    ModelArgument,
    ModelFactoryOption,
    NamesOption,
    WeightsOption,
    load_bundle,
    progress_bar,
)
from sapwood.cli.shrink import IgnoreOption, LayersOption, OutOption, check_out, finish


def prune(
    model: ModelArgument,
    sparsity: Annotated[
        float | None, typer.Option("--sparsity", help="Fraction of the channels removed, in [0, 1).")
    ] = None,
    params: Annotated[float | None, typer.Option("--params", help="Fraction of the parameters kept.")] = None,
    macs: Annotated[float | None, typer.Option("--macs", help="Fraction of the multiply-accumulates kept.")] = None,
    latency: Annotated[
        float | None, typer.Option("--latency", help="Measured latency kept, as a fraction of the dense model's.")
    ] = None,
    tolerance: budget.ToleranceOption = None,
    at_most: budget.AtMostOption = False,
    criterion: budget.CriterionOption = "l2",
    allocator: budget.AllocatorOption = None,
    data: budget.CalibrationDataOption = None,
    split: budget.CalibrationSplitOption = "train",
    num_pictures: budget.NumPicturesOption = 128,
    labels: budget.LabelsOption = budget.Labels.data,
    sensitivity: budget.SensitivityOption = None,
    recover: budget.RecoverOption = budget.Recover.none,
    recover_pictures: budget.RecoverPicturesOption = budget.MOST_PICTURES,
    recover_steps: budget.RecoverStepsOption = 1000,
    seed: budget.SeedOption = 0,
    runtime: budget.RuntimeOption = None,
    threads: budget.RuntimeThreadsOption = None,
    batch: budget.BatchOption = None,
    ignore: IgnoreOption = None,
    round_to: budget.RoundToOption = None,
    minimum: budget.MinimumOption = 1,
    bounds: budget.BoundsOption = None,
    equal: budget.EqualOption = None,
    whole_heads: budget.WholeHeadsOption = False,
    weights: WeightsOption = None,
    names: NamesOption = None,
    model_factory: ModelFactoryOption = None,
    out: OutOption = None,
    layers: LayersOption = False,
    as_json: JsonOption = False,
) -> None:
    """Removes channels, and everything that hangs on them; the result is proven equal to the masked network.

    Give one goal: --sparsity, --params, --macs or --latency. A latency is measured on --runtime, and the network is
    corrected until the clock agrees within --tolerance, or its quartiles hold the target; exit code 1 if it does not.
    Outputs stay as they are. `-o` also gets `report.html` and, of a Darknet network, `model.cfg` and `model.weights`.

    Example: `sapwood prune yolov4-tiny.cfg --weights yolov4-tiny.weights --latency 0.5 --runtime onnxruntime -o small`
    """
    from sapwood import pipeline

    asked = {
        name: value for name, value in locals().items() if name not in {"pipeline", "model", "out", "layers", "as_json"}
    }
    asked = budget.as_options(asked)
    target = budget.make_target(
        tolerance=tolerance, at_most=at_most, sparsity=sparsity, params=params, macs=macs, latency=latency
    )
    limits = budget.make_limits(round_to, minimum, bounds, equal, whole_heads)
    deployment = budget.make_deployment(runtime, threads, batch, needed=target.kind == "latency")
    check_out(out)
    recovery = budget.RecoveryOptions(recover, data, split, recover_pictures, recover_steps, seed)
    bundle = load_bundle(model, weights, names, factory=model_factory)
    pipeline.check_inputs(bundle)
    whole = pipeline.matching_tensors(bundle.model, ignore or ())
    calibration = budget.make_calibration(bundle, data, split, num_pictures, labels, seed=seed)
    score = pipeline.scorer(bundle.model, criterion, calibration)
    curves = None
    if sensitivity is not None:
        curves = budget.measure_sensitivity(
            bundle,
            sensitivity,
            calibration,
            score,
            whole,
            whole_heads=whole_heads,
            recovered=recovery.wanted,
        )
    with progress_bar("pruning", quiet=deployment is None) as progress:
        result = pipeline.shrink_describable(
            bundle.model,
            whole,
            lambda held: pipeline.prune(
                bundle.model,
                bundle.example_inputs,
                target=target,
                criterion=score,
                allocator=allocator,
                calibration=calibration,
                sensitivity=curves,
                ignore=held,
                limits=limits,
                deployment=deployment,
                progress=progress,
            ),
        )
    finish(
        "prune", bundle, recovery.pruned(bundle, result), asked, out, layers=layers, as_json=as_json, sensitivity=curves
    )
