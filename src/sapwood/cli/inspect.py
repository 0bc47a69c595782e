"""``sapwood inspect``: what a model consists of, what of it can be pruned, and where its time goes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sapwood.cli import budget
from sapwood.cli.commanded import made
from sapwood.cli.common import JsonOption, LoadOptions, ModelArgument, make_console, print_json
from sapwood.cli.groups import grouped
from sapwood.cli.next_steps import apart_from, model_words, next_step, words
from sapwood.cli.progress import doing, progress_bar

if TYPE_CHECKING:
    from sapwood.report import Inspection

LatencyOption = Annotated[bool, typer.Option("--layer-times", help="Time every layer on --runtime.")]
WidthsOption = Annotated[
    bool, typer.Option("--widths", help="Time what widths --runtime likes; pruning for it keeps them from then on.")
]
BlocksOption = Annotated[
    bool,
    typer.Option(
        "--blocks",
        help="List the residual blocks, which `sapwood prune --remove-blocks` takes, and the layers that a config "
        "counts, with how far the outputs on --data or the example inputs are from the dense ones without each.",
    ),
]
PageOption = Annotated[Path | None, typer.Option("-o", "--out", metavar="FILE.html", help="A page with plots.")]


InspectRuntimeOption = Annotated[
    str | None,
    typer.Option(
        "--runtime",
        help="Where layers are timed: `torch`, `torch-compile`, `onnxruntime`, `openvino`, `onnxruntime-int8`, "
        "`openvino-int8` or `sapwood`.",
    ),
]


@dataclass(frozen=True)
class TorchOptions(budget.DeploymentOptions):
    """What the model runs on; PyTorch unless told otherwise."""

    runtime: InspectRuntimeOption = "torch"


@grouped
def inspect(
    *,
    model: ModelArgument,
    files: LoadOptions,
    latency: LatencyOption = False,
    widths: WidthsOption = False,
    where: TorchOptions,
    sensitivity: budget.SensitivityOption = None,
    pictures: budget.PictureOptions,
    criterion: budget.CriterionOption = None,
    blocks: BlocksOption = False,
    out: PageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Layers with parameters and MACs; channel groups; dimensions that cannot be pruned, and why.

    --layer-times adds the time of every layer; --widths makes twenty to forty networks and times what it costs that
    widths are no multiples of 2, 4, 8 or 16; --sensitivity adds what pruning each group alone does. What only the
    model's own code stands in the way of is found by `sapwood prune`.

    Example: `sapwood inspect yolov4-tiny.cfg --weights yolov4-tiny.weights --layer-times --runtime onnxruntime`
    """
    from sapwood import pipeline
    from sapwood.files import check_file
    from sapwood.goals import default_criterion

    if out is not None:
        check_file(out)
    pictures.check_looked_at(sensitivity is not None or blocks, "--sensitivity or --blocks")
    deployment = where.deployment() if latency or widths else None
    bundle = files.load(model, any_weights=True)
    pipeline.check_inputs(bundle)
    curves, calibration = None, pictures.calibration(bundle) if sensitivity is not None or blocks else None
    if sensitivity is not None:
        score = pipeline.scorer(bundle.model, criterion or default_criterion(), calibration)
        curves = budget.measure_sensitivity(bundle, sensitivity, calibration, score)
    liked = None
    if widths and deployment is not None:
        with progress_bar(f"timing widths on {deployment.runtime}") as progress:
            liked = pipeline.measure_widths(bundle, deployment, progress)
    timed = deployment if latency else None
    with doing("finding channel groups" if timed is None else f"timing layers on {timed.runtime}"):
        record = pipeline.inspect_model(bundle, timed, curves, liked, blocks=blocks, calibration=calibration)
    goal = ("--macs", "0.5") if deployment is None else ("--latency", "0.5", "--runtime", deployment.runtime)
    then = words("sapwood", "prune", *model_words(model, bundle.source), *goal, "-o", apart_from(model, "small"))
    record = record.model_copy(update={"made": made([then])})
    _show(record, out, as_json=as_json)
    if not as_json:
        next_step(then)


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
