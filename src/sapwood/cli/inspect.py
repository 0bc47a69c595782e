"""``sapwood inspect``: what a model consists of, and what of it can be pruned."""

from __future__ import annotations

from sapwood.cli.common import (
    JsonOption,
    ModelArgument,
    NamesOption,
    WeightsOption,
    load_bundle,
    make_console,
    print_json,
)


def inspect(
    model: ModelArgument, weights: WeightsOption = None, names: NamesOption = None, as_json: JsonOption = False
) -> None:
    """Layers with parameters and MACs; channel groups; dimensions that cannot be pruned, and why.

    What only the model's own code stands in the way of is found by `sapwood prune`.

    Example: `sapwood inspect torchvision:resnet18`
    """
    from sapwood.pipeline import inspect_model
    from sapwood.report import shrinking

    record = inspect_model(load_bundle(model, weights, names))
    if as_json:
        print_json(record)
        return
    console = make_console()
    for table in (shrinking.layer_table(record), shrinking.group_table(record)):
        console.print(table)
    if record["unpruned"]:
        console.print(shrinking.unpruned_table(record["unpruned"]))
