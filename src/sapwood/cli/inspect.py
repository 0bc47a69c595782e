"""``sapwood inspect``: what a model consists of, what of it can be pruned, and where its time goes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from sapwood.cli import budget
from sapwood.cli.common import JsonOption, LoadOptions, ModelArgument, make_console, print_json
from sapwood.cli.groups import grouped

LatencyOption = Annotated[bool, typer.Option("--latency", help="Time every layer on --runtime.")]
PageOption = Annotated[Path | None, typer.Option("-o", "--out", metavar="FILE.html", help="A page with plots.")]


@dataclass(frozen=True)
class TorchOptions(budget.DeploymentOptions):
    """What the model runs on; PyTorch unless told otherwise."""

    runtime: budget.RuntimeOption = "torch"


@grouped
def inspect(
    *,
    model: ModelArgument,
    files: LoadOptions,
    latency: LatencyOption = False,
    where: TorchOptions,
    sensitivity: budget.SensitivityOption = None,
    pictures: budget.PictureOptions,
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
    deployment = where.deployment() if latency else None
    bundle = files.load(model)
    pipeline.check_inputs(bundle)
    curves = None
    if sensitivity is not None:
        calibration = pictures.calibration(bundle)
        score = pipeline.scorer(bundle.model, criterion, calibration)
        curves = budget.measure_sensitivity(bundle, sensitivity, calibration, score)
    record = pipeline.inspect_model(bundle, deployment)
    if curves is not None:
        record["sensitivity"] = asdict(curves)
    _show(record, out, as_json=as_json)


def _show(record: dict[str, Any], out: Path | None, *, as_json: bool) -> None:
    """Writes the page, where one is wanted, and prints the record or its tables."""
    from sapwood.files import write_text
    from sapwood.report import inspect_latency_table, render_inspect, sensitivity_table, shrinking

    if out is not None:
        write_text(out, render_inspect(record))
    if as_json:
        print_json(record)
        return
    console = make_console()
    for table in (shrinking.layer_table(record), shrinking.group_table(record)):
        console.print(table)
    if record["unpruned"]:
        console.print(shrinking.unpruned_table(record["unpruned"]))
    if "sensitivity" in record:
        console.print(sensitivity_table(record["sensitivity"]))
    if "latency" in record:
        console.print(inspect_latency_table(record["latency"]))
    if out is not None:
        console.print(f"report: {out}", highlight=False)
