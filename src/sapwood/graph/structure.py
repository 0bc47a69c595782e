"""What a model's code does, recorded as cheaply as its code allows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from sapwood.errors import ConfigError
from sapwood.graph.decisions import Decisions
from sapwood.graph.outputs import Outputs, output_tensors, own_outputs
from sapwood.graph.record import record, trace
from sapwood.graph.skeleton import leaving_no_trace, shapes_of, skeleton
from sapwood.graph.training_too import mark_, marked, unmarked
from sapwood.models import all_modules, evaluating_, kinds_of, named_tensors, quieten_, widen_
from sapwood.ops import Graph
from sapwood.types import ExampleInputs


@dataclass(frozen=True)
class Structure:
    """A recorded run, with a model and inputs that repeat it.

    Attributes:
        model: What was recorded, in evaluation mode and float64, as it was before the run; without values where its
            code never looks at any.
        inputs: Example inputs of the same kind.
        graph: The recorded run.
        decisions: What it chose on values.
        outputs: What it returned, where it ran on values.
        asking: The modules that decided that parameters were not read, where that was asked.
    """

    model: nn.Module
    inputs: ExampleInputs
    graph: Graph
    decisions: Decisions = field(default_factory=Decisions)
    outputs: tuple[Tensor, ...] = ()
    asking: tuple[str, ...] | None = None


def without_values(
    model: nn.Module, inputs: ExampleInputs, outputs: Outputs | None = None, *, training: Collection[str] | None = ()
) -> Structure | None:
    """Records a run on shapes alone; None where the code needs values, or is known to make other calls on them.

    Where modules are named for ``training``, it runs with these in training mode, too. Where that is None, it does so
    with those that leave parameters unread, if that can be recorded in the same way.
    """
    if any(leaf.layout is not torch.strided for leaf in (*model.buffers(), *output_tensors(inputs))):
        return None
    if kinds_of(all_modules(model), nn.RNNBase):  # made of other calls without values
        return None
    memo: dict[int, Any] = {}
    bones = mark_(quieten_(evaluating_(widen_(skeleton(model, memo, wide=True), memo))), training or ())
    shapes = shapes_of(inputs)
    asked: tuple[str, ...] | None = None
    try:
        with leaving_no_trace(bones):
            try:
                graph = trace(bones, shapes, outputs=outputs, training_too=training is None)
            finally:
                asked = marked(bones) if training is None else None
        mark_(bones, asked or training or ())
        found = None if _is_other_with_values(graph, bones, memo) else Structure(bones, shapes, graph, asking=asked)
    except Exception as error:  # the model's own code may fail in any way on tensors without values
        if isinstance(error, ConfigError) and not asked:
            raise
        found = None
    if found is None and training is None and asked:
        found = without_values(model, inputs, outputs)
        return None if found is None else replace(found, asking=asked)
    return found


def evaluated_alone(structure: Structure) -> Structure:
    """What was recorded of the run in evaluation mode, of a model that runs as in training, too."""
    graph, model = structure.graph, structure.model
    return replace(
        structure,
        model=unmarked(model) if marked(model) else model,
        graph=graph if graph.trained_from is None else graph.evaluated_alone,
    )


def _is_other_with_values(graph: Graph, bones: nn.Module, memo: Mapping[int, Any]) -> bool:
    """Whether a run on values is known to make other calls: numbers become tensors in ways of their own there."""
    owned = {id(tensor) for _, tensor in named_tensors(bones)}
    held = any(isinstance(one, Tensor) and id(one) not in owned for one in memo.values())
    return graph.writes_numbers or (bool(graph.constants) and not held)


def with_values(
    model: nn.Module, inputs: ExampleInputs, outputs: Outputs | None = None, *, most: Sequence[int] | None = None
) -> Structure:
    """Records a real run of ``model``, which is in float64 already; ``most`` as for :class:`Decisions`."""
    decisions = Decisions(most)
    with leaving_no_trace(model):
        graph, returned = record(model, inputs, decisions, outputs=outputs)
        kept = tuple(own_outputs(returned, graph))
    return Structure(model, inputs, graph, decisions, kept)
