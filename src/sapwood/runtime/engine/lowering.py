"""A recorded run becomes nodes: BatchNorms and activations join the convolution in front of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from sapwood.errors import EngineError
from sapwood.graph import trace
from sapwood.ops import Call, Graph, TensorRef
from sapwood.registry import Registry
from sapwood.runtime.engine import nodes
from sapwood.runtime.engine.nodes import Activation, Network, Node, Value
from sapwood.runtime.engine.packing import Geometry
from sapwood.types import ExampleInputs


@dataclass
class Lowering:
    """The state of one lowering: which value each tensor of the run is.

    Attributes:
        tensors: Parameters, buffers and constants by the number of their tensor.
        network: What was made so far.
        values: Of each tensor of the run that is a feature map; in-place calls give theirs a new one.
        known: Tensors that follow from weights alone.
        aliased: Tensors whose memory has more than one name.
        padded: Maps with rows and columns of -inf around them: the value, and how many before and behind.
    """

    tensors: Mapping[int, Tensor]
    network: Network = field(default_factory=Network)
    values: dict[int, Value] = field(default_factory=dict)
    known: dict[int, Tensor] = field(default_factory=dict)
    aliased: set[int] = field(default_factory=set)
    padded: dict[int, tuple[Value, tuple[int, int], tuple[int, int]]] = field(default_factory=dict)

    def alias(self, call: Call, value: Value, number: int = 0) -> None:
        """Result ``number`` of a call shares its memory with the call's first argument."""
        out = call.tensor_outputs()[number]
        self.values[out.id] = value
        if out.id != call.args[0].id:
            self.aliased |= {out.id, call.args[0].id}

    def value(self, argument: Any) -> Value:
        """The feature map that an argument is.

        Raises:
            EngineError: If it is none.
        """
        if not isinstance(argument, TensorRef) or argument.id not in self.values:
            raise EngineError("one of its arguments is not computed by the engine")
        return self.values[argument.id]

    def tensor(self, argument: Any) -> Tensor | None:
        """The weight that an argument is; None for None.

        Raises:
            EngineError: If it depends on the input.
        """
        if argument is None:
            return None
        found = self.known.get(argument.id, self.tensors.get(argument.id)) if isinstance(argument, TensorRef) else None
        if found is None:
            raise EngineError("one of its weights depends on the input")
        return found.detach()

    def size(self, value: Value) -> nodes.Size:
        """Channels, height and width."""
        return self.network.sizes[value]

    def new(self, size: nodes.Size) -> Value:
        """A new value."""
        value = len(self.network.sizes)
        self.network.sizes[value] = size
        return value

    def put(self, call: Call, node: Node, number: int = 0) -> None:
        """Adds the node of a call, whose result number ``number`` it makes."""
        self.network.nodes.append(node)
        self.values[call.tensor_outputs()[number].id] = node.out


Rule: TypeAlias = Callable[[Lowering, Call], None]

LOWERINGS: Registry[Rule] = Registry("lowering")
"""How a call becomes nodes, by the operator's name; each file of ``rules`` registers an op family."""

AnyRule = TypeVar("AnyRule", bound=Rule)


def lowers(*names: str) -> Callable[[AnyRule], AnyRule]:
    """Registers a rule for some operators."""

    def register(rule: AnyRule) -> AnyRule:
        for name in names:
            LOWERINGS.register(name)(rule)
        return rule

    return register


def lower(model: nn.Module, example_inputs: ExampleInputs) -> Network:
    """The nodes of a model in evaluation mode.

    Args:
        model: Read only.
        example_inputs: Pictures of the size it is compiled for, batches of 1.

    Raises:
        EngineError: If the engine lacks an operation, or weights are NaN or infinite; the message names the call.
    """
    graph = trace(model, example_inputs)
    tensors = _owned(model, graph)
    state = Lowering(tensors)
    for index, ref in enumerate(graph.inputs):
        value = state.new(_map_size(ref.shape))
        state.network.nodes.append(nodes.Input(value, (), "", index))
        state.values[ref.id] = value
    for call in graph.calls:
        _lower_call(state, call)
    for ref in graph.outputs:
        if ref.id not in state.values:
            raise EngineError("an output of the model is not computed by the engine")
        state.network.outputs.append((state.values[ref.id], tuple(ref.shape[1:])))
    return _without_unused(_fused(state.network))


def _lower_call(state: Lowering, call: Call) -> None:
    if not any(ref.id in state.values or ref.id in state.padded for ref in call.tensor_inputs()):
        _evaluate(state, call)
        return
    try:
        if call.name.endswith("_") and call.args[0].id in state.aliased:
            raise EngineError("it changes a map in place that has another name, too")
        if call.name not in LOWERINGS:
            raise EngineError("there is no such operation in it")
        LOWERINGS[call.name](state, call)
    except EngineError as error:
        raise EngineError(f"the engine cannot run {call}: {error}") from None


def _evaluate(state: Lowering, call: Call) -> None:
    """Runs a call on weights alone; what cannot be run is left out, and missed where it is used."""
    try:
        args, kwargs = (
            torch.utils._pytree.tree_map_only(TensorRef, state.tensor, part) for part in (call.args, dict(call.kwargs))
        )
    except EngineError:
        return
    results = call.op(*args, **kwargs)
    for ref, tensor in zip(call.outputs, results if isinstance(results, tuple | list) else (results,), strict=False):
        if isinstance(ref, TensorRef) and isinstance(tensor, Tensor):
            state.known[ref.id] = tensor


def _owned(model: nn.Module, graph: Graph) -> dict[int, Tensor]:
    named = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))
    return {number: named[names[0]] for part in (graph.parameters, graph.buffers) for number, names in part.items()}


def _map_size(shape: tuple[int, ...]) -> nodes.Size:
    if len(shape) not in (2, 4) or shape[0] != 1:
        raise EngineError(f"an input of shape {tuple(shape)}; expected (1, C, H, W) or (1, C)")
    channels, height, width = (*shape[1:], 1, 1)[:3]
    return channels, height, width


def pair(values: Any) -> tuple[int, int]:
    """Rows and columns, where one number stands for both.

    Examples:
        >>> pair(3), pair([2]), pair((1, 2))
        ((3, 3), (2, 2), (1, 2))
    """
    first, second = (values, values) if isinstance(values, int) else (*values, *values)[:2]
    return int(first), int(second)


def finite(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The array.

    Raises:
        EngineError: If it holds NaN or infinity.
    """
    if not np.isfinite(array).all():
        raise EngineError("weights are NaN or infinite; expected finite numbers")
    return array


def _fused(network: Network) -> Network:
    """Activations and sums join the node in front of them, where nothing else reads that."""
    found = Network(sizes=network.sizes, outputs=network.outputs)
    readers = network.readers()
    makers: dict[Value, int] = {}

    def alone(value: Value) -> Node | None:
        return found.nodes[makers[value]] if value in makers and readers[value] == 1 else None

    for node in network.nodes:
        joined: Node | None = None
        at = -1
        if isinstance(node, nodes.Pointwise):
            before = alone(node.inputs[0])
            if isinstance(before, nodes.Conv | nodes.Combine) and before.activation == nodes.LINEAR:
                joined, at = replace(before, out=node.out, activation=node.activation), makers[node.inputs[0]]
        elif isinstance(node, nodes.Conv) and is_scale(node):
            before = alone(node.inputs[0])
            if isinstance(before, nodes.Conv) and before.activation == nodes.LINEAR and len(before.inputs) == 1:
                joined, at = _scaled(before, node), makers[node.inputs[0]]
        elif isinstance(node, nodes.Combine) and node.kind == "add":
            joined, at = _sum_joined(node, alone, makers)
        if joined is None:
            makers[node.out] = len(found.nodes)
            found.nodes.append(node)
            continue
        # it moves back to where this node stands: what it reads besides may be made in between
        del found.nodes[at]
        makers = {value: place - (place > at) for value, place in makers.items() if place != at}
        makers[node.out] = len(found.nodes)
        found.nodes.append(joined)
    return found


def _sum_joined(
    node: nodes.Combine, alone: Callable[[Value], Node | None], makers: Mapping[Value, int]
) -> tuple[Node | None, int]:
    """The later of two summed convolutions starts from the other operand."""
    for one, other in sorted((node.inputs, node.inputs[::-1]), key=lambda pair: -makers.get(pair[0], -1)):
        before = alone(one)
        if (
            isinstance(before, nodes.Conv)
            and before.activation == nodes.LINEAR
            and len(before.inputs) == 1
            and one != other
        ):
            return replace(before, out=node.out, inputs=(*before.inputs, other), activation=node.activation), makers[
                one
            ]
    return None, -1


def is_scale(node: nodes.Conv) -> bool:
    """Whether it is a factor and a shift for each channel."""
    spec = node.spec
    return spec.weight.shape == (spec.groups, 1, 1, 1) and spec.geometry == Geometry((1, 1)) and len(node.inputs) == 1


def _scaled(before: nodes.Conv, scale: nodes.Conv) -> nodes.Conv:
    factor = scale.spec.weight[:, 0, 0, 0].astype(np.float64)
    weight = finite((before.spec.weight * factor[:, None, None, None]).astype(np.float32))
    bias = finite((before.spec.bias * factor + scale.spec.bias).astype(np.float32))
    return replace(
        before, out=scale.out, activation=scale.activation, spec=replace(before.spec, weight=weight, bias=bias)
    )


def _without_unused(network: Network) -> Network:
    wanted = {value for value, _ in network.outputs}
    kept: list[Node] = []
    for node in reversed(network.nodes):
        if node.out in wanted or isinstance(node, nodes.Input):
            kept.append(node)
            wanted.update(node.inputs)
    return Network(kept[::-1], network.sizes, network.outputs)


def activation_of(call: Call) -> Activation | None:
    """The activation that a call is; None if it is another one than the engine has."""
    name = call.name.removeprefix("aten.").removesuffix("_")
    arguments = [argument for argument in call.args[1:] if isinstance(argument, int | float)]
    if name == "relu":
        return Activation("leaky", 0.0)
    if name == "leaky_relu":
        slope = float(arguments[0]) if arguments else 0.01
        return Activation("leaky", slope) if 0.0 <= slope <= 1.0 else None
    if name == "hardtanh":
        return Activation("relu6") if tuple(arguments) == (0, 6) else None
    return (
        Activation(name) if name in {"silu", "mish", "hardswish", "sigmoid", "tanh", "relu6", "hardsigmoid"} else None
    )
