"""``sapwood prune``: removes channels, and everything that hangs on them."""

from __future__ import annotations

from typing import Annotated

import typer

from sapwood.cli.common import JsonOption, ModelArgument, NamesOption, WeightsOption, load_bundle
from sapwood.cli.shrink import IgnoreOption, LayersOption, OutOption, finish


def prune(
    model: ModelArgument,
    sparsity: Annotated[float, typer.Option("--sparsity", help="Fraction of the channels removed, in [0, 1).")],
    ignore: IgnoreOption = None,
    round_to: Annotated[int, typer.Option("--round-to", min=1, help="Multiple that each width should be of.")] = 1,
    minimum: Annotated[int, typer.Option("--minimum", min=1, help="The fewest channels that stay in a group.")] = 1,
    weights: WeightsOption = None,
    names: NamesOption = None,
    out: OutOption = None,
    layers: LayersOption = False,
    as_json: JsonOption = False,
) -> None:
    """Removes channels, and everything that hangs on them; the result is proven equal to the masked network.

    Outputs stay as they are. Of a Darknet network `-o` also gets `model.cfg` and `model.weights`.

    Example: `sapwood prune yolov4-tiny.cfg --weights yolov4-tiny.weights --sparsity 0.5 --round-to 8 -o small`
    """
    from sapwood import pipeline

    target = pipeline.Target(sparsity=sparsity)
    bundle = load_bundle(model, weights, names)
    pipeline.check_inputs(bundle)
    kept = pipeline.matching_tensors(bundle.model, ignore or ())
    result = pipeline.shrink_describable(
        bundle.model,
        kept,
        lambda held: pipeline.prune(
            bundle.model, bundle.example_inputs, target=target, ignore=held, round_to=round_to, minimum=minimum
        ),
    )
    options = {"sparsity": sparsity, "ignore": ignore or [], "round_to": round_to, "minimum": minimum}
    finish("prune", bundle, result, options, out, layers=layers, as_json=as_json)
