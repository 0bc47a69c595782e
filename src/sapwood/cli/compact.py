"""``sapwood compact``: removes the channels that masks or training have made zero."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sapwood.cli.common import JsonOption, LoadOptions, ModelArgument
from sapwood.cli.groups import grouped
from sapwood.cli.progress import doing
from sapwood.cli.shrink import IgnoreOption, LayersOption, OutOption, check_out, finish

if TYPE_CHECKING:
    from sapwood.pipeline import Compacted


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

    def leaving(held: dict[str, str]) -> Compacted:
        return pipeline.compact(bundle.model, bundle.example_inputs, exact=exact, ignore=held, outputs=outputs)

    with doing("removing dead channels, comparing"):
        result = pipeline.shrink_describable(bundle.model, kept, leaving)
    finish("compact", bundle, result, {"exact": exact, "ignore": ignore or []}, out, layers=layers, as_json=as_json)
