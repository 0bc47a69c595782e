"""``sapwood compact``: removes the channels that masks or training have made zero."""

from __future__ import annotations

from typing import Annotated

import typer

from sapwood.cli.common import JsonOption, LoadOptions, ModelArgument
from sapwood.cli.groups import grouped
from sapwood.cli.shrink import IgnoreOption, LayersOption, OutOption, check_out, finish


@grouped
def compact(
    *,
    model: ModelArgument,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact/--inexact",
            help="Keep a zeroed channel whose constant cannot be folded exactly, or fold it and report the error.",
        ),
    ] = True,
    ignore: IgnoreOption = None,
    outputs: Annotated[list[str] | None, typer.Option("--outputs", hidden=True)] = None,
    files: LoadOptions,
    out: OutOption = None,
    layers: LayersOption = False,
    as_json: JsonOption = False,
) -> None:
    """Turns masks or zeroed channels into a smaller network that computes the same, and proves it.

    Example: `sapwood mask net.cfg --method ln_structured -o masked`, then `sapwood compact masked -o small`
    """
    from sapwood import pipeline

    check_out(out)
    bundle = files.load(model)
    pipeline.check_inputs(bundle)
    kept = pipeline.matching_tensors(bundle.model, ignore or ())
    result = pipeline.shrink_describable(
        bundle.model,
        kept,
        lambda held: pipeline.compact(bundle.model, bundle.example_inputs, exact=exact, ignore=held, outputs=outputs),
    )
    finish("compact", bundle, result, {"exact": exact, "ignore": ignore or []}, out, layers=layers, as_json=as_json)
