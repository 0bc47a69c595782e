"""What keeps its size: what the caller asks for, what the model returns, and where positions are used as numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sapwood.ops import ALWAYS, Context, Graph, TensorRef


def freeze_requested(
    context: Context,
    owned: Mapping[int, tuple[str, ...]],
    references: Mapping[int, TensorRef],
    frozen: Mapping[str, str],
) -> None:
    """Tensors or dimensions that are to stay whole, by name, with the reason."""
    for number, reference in references.items():
        for name in owned[number]:
            for dim, axis in enumerate(context.axes(reference)):
                reason = frozen.get(name) or frozen.get(f"{name}[{dim}]")
                if reason:
                    context.freeze([axis], reason)


OUTPUT = "is an output of the model"


def freeze_outputs(graph: Graph, context: Context) -> None:
    """What the model returns, or may return elsewhere, keeps its size, unless the caller says that it may change."""
    several = len(graph.outputs) - len(graph.trained_outputs) > 1
    for name, reference in zip(graph.output_names, graph.outputs, strict=True):
        if reference.id not in graph.resizable:
            reason = f"{OUTPUT}: {name}" if several else OUTPUT
            context.freeze(context.axes(reference), reason)
    _freeze_made_in_training(graph, context)
    _freeze_looked_at(graph, context)
    _freeze_dropped(graph, context)


def _freeze_made_in_training(graph: Graph, context: Context) -> None:
    """What a head makes that only training runs keeps its size; what it hands on of the evaluated run follows that."""
    if not graph.trained_outputs:
        return
    known = np.zeros(len(context.atoms), dtype=np.bool_)
    for ref in (ref for call in graph.evaluated for ref in call.tensor_inputs() if ref.id in graph.parameters):
        for axis in context.axes(ref):
            known[context.atoms.resolve(axis)] = True
    known[ALWAYS] = False
    for name, ref in zip(graph.output_names, graph.outputs, strict=True):
        if ref.id in graph.trained_outputs:
            own = [axis for axis in context.axes(ref) if not known[context.atoms.resolve(axis)].any()]
            context.freeze(own, f"{OUTPUT} {name.replace('.', ': ', 1)}")


def freeze_used_positions(graph: Graph, context: Context) -> None:
    """Where a maximum's positions are used, and not only its values, the positions may not move."""
    used = {ref.id for call in graph.calls for ref in call.tensor_inputs()} | {ref.id for ref in graph.outputs}
    for call in graph.calls:
        outputs = call.tensor_outputs()
        if call.facts.positions and len(outputs) == 2 and outputs[1].id in used:
            context.fix([context.axes(call.args[0])[int(call.args[1])]], call)


LOOKED_AT = "is as large as an output, and made only to be looked at here: the code may return it on other inputs"


def _freeze_looked_at(graph: Graph, context: Context) -> None:
    """What a layer makes only to be looked at may be an output on other inputs, as an early exit that is not taken."""
    only = graph.looked_at - graph.unread
    returned = {ref.shape for ref in graph.outputs}
    weights = set(graph.parameters)
    for call in graph.calls if only else ():
        read = {ref.id for ref in call.tensor_inputs()}
        if call.facts.moves and read and read <= weights:
            weights |= {ref.id for ref in call.tensor_outputs()}
        elif call.index in only and call.facts.sum is not None and read & weights and read - weights:
            made = [ref for ref in call.tensor_outputs() if ref.shape in returned]
            context.freeze([axis for ref in made for axis in context.axes(ref)], LOOKED_AT)


DROPPED = (
    "is as large as an output, and dropped here: the code may return it elsewhere, as the second head of a detector"
)


def _freeze_dropped(graph: Graph, context: Context) -> None:
    """What a branch makes that is dropped may be an output elsewhere: in training, or in another way to predict.

    What the run in training returns is known, and as large as much else.
    """
    returned = {ref.shape for ref in graph.outputs if ref.id not in graph.trained_outputs}
    for call in graph.calls if graph.unread else ():
        if call.index in graph.unread and not call.facts.constant:
            made = [ref for ref in call.tensor_outputs() if ref.shape in returned]
            context.freeze([axis for ref in made for axis in context.axes(ref)], DROPPED)
