"""Buffers that a model makes anew and does not save: they follow what other channels do, and have none of their own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sapwood.ops import ALWAYS, Axis, Call, Context, Graph, TensorRef


def freeze_unmade(graph: Graph, context: Context) -> None:
    """Keeps whole what unsaved buffers hold and no layer makes.

    A table of positions that a forward keeps for the next one is read by a layer, as an input is. Were its columns
    taken for channels, the table would be cut, and the model make a whole one again as soon as it needs another.
    """
    touched = {ref.id: ref for call in graph.calls for ref in call.tensor_inputs() if ref.id in graph.unsaved}
    if not touched:
        return
    made = np.zeros(len(context.atoms), dtype=np.bool_)
    made[ALWAYS] = True
    for axis in _made(graph, context):
        made[context.atoms.resolve(axis)] = True
    for number, reference in touched.items():
        for axis in context.axes(reference):
            unmade = ~made[context.atoms.resolve(axis)].all(axis=1)
            name = graph.buffers[number][0]
            context.freeze([axis[unmade]], f"is what {name} holds, which the model does not save but makes anew")


def _made(graph: Graph, context: Context) -> Iterator[Axis]:
    """Axes of channels that come out of sums, and of parameters that no sum has for its weight."""
    weights: set[int] = set()
    for call in reversed(graph.calls):
        weights |= _weights(call, weights)
        if call.facts.sum is not None:
            channels = 1 if call.facts.is_convolution else -1
            yield context.axes(call.outputs[0])[channels]
    for call in graph.calls:
        for reference in call.tensor_inputs():
            if reference.id in graph.parameters and reference.id not in weights:
                yield from context.axes(reference)


def _weights(call: Call, known: set[int]) -> set[int]:
    """The weight of a sum, and what a weight is a view of."""
    if call.facts.sum is not None:
        operands = [call.args[call.facts.sum.weight]]
    elif call.facts.moves and any(output.id in known for output in call.tensor_outputs()):
        operands = call.tensor_inputs()
    else:
        operands = []
    return {one.id for one in operands if isinstance(one, TensorRef)}
