"""``sapwood inspect``: what a model consists of, what of it can be pruned, and where its time goes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sapwood.cli import budget
from sapwood.cli.common import (
    JsonOption,
    ModelArgument,
    ModelFactoryOption,
    NamesOption,
    WeightsOption,
    load_bundle,
    make_console,
    print_json,
)

if TYPE_CHECKING:
    from sapwood.report import Inspection

LatencyOption = Annotated[bool, typer.Option("--latency", help="Time every layer on --runtime.")]
PageOption = Annotated[Path | None, typer.Option("-o", "--out", metavar="FILE.html", help="A page with plots.")]


def inspect(
    model: ModelArgument,
    weights: WeightsOption = None,
    names: NamesOption = None,
    model_factory: ModelFactoryOption = None,
    latency: LatencyOption = False,
    runtime: budget.RuntimeOption = "torch",
    threads: budget.RuntimeThreadsOption = None,
    batch: budget.BatchOption = None,
    sensitivity: budget.SensitivityOption = None,
    data: budget.CalibrationDataOption = None,
    split: budget.CalibrationSplitOption = "train",
    num_pictures: budget.NumPicturesOption = 128,
    labels: budget.LabelsOption = budget.Labels.data,
    criterion: budget.CriterionOption = "l2",
    out: PageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Layers with parameters and MACs; channel groups; dimensions that cannot be pruned, and why.

    --latency adds the time of every layer; --sensitivity what pruning each group alone does. What only the model's own
    code stands in the way of is found by `sapwood prune`.

    Example: `sapwood inspect yolov4-tiny.cfg --weights yolov4-tiny.weights --latency --runtime onnxruntime`
    """
    from sapwood import pipeline
    from sapwood.files import check_file

    if out is not None:
        check_file(out)
    deployment = budget.make_deployment(runtime, threads, batch) if latency else None
    bundle = load_bundle(model, weights, names, factory=model_factory)
    pipeline.check_inputs(bundle)
    curves = None
    if sensitivity is not None:
        calibration = budget.make_calibration(bundle, data, split, num_pictures, labels)
        curves = budget.measure_sensitivity(
            bundle,
            sensitivity,
            calibration,
            pipeline.scorer(bundle.model, criterion, calibration),
            {},
            whole_heads=False,
        )
    _show(pipeline.inspect_model(bundle, deployment, curves), out, as_json=as_json)


def _show(record: Inspection, out: Path | None, *, as_json: bool) -> None:
    """Writes the page, where one is wanted, and prints the record or its tables."""
    from sapwood.files import write_text
    from sapwood.report import inspect_tables, render_inspect

    if out is not None:
        write_text(out, render_inspect(record))
    if as_json:
        print_json(record.plain())
        return
    console = make_console()
    for table in inspect_tables(record):
        console.print(table)
    if out is not None:
        console.print(f"report: {out}", highlight=False)
