"""Whether a network that was read makes sense: looked at whole, before a place in memory is given to any of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from sapwood.errors import EngineError
from sapwood.ops import mapped
from sapwood.reading import reading
from sapwood.runtime.engine import nodes
from sapwood.runtime.engine.interface import ACTIVATIONS
from sapwood.runtime.engine.nodes import LINEAR, Network, Node, Outside, Read, Size
from sapwood.runtime.engine.packing import PlaneGeometry

EXPECTED = "what `sapwood compile` writes"


@contextmanager
def placed(path: Path, part: str) -> Iterator[None]:
    """Whatever goes wrong inside is an EngineError that names the file and the part of it."""
    try:
        with reading(path, EXPECTED, EngineError):
            yield
    except EngineError as error:
        text = str(error).removeprefix(f"{path}: ")
        raise EngineError(f"{path}: {part}: {text}") from error.__cause__


def check_network(network: Network, shapes: Sequence[tuple[int, ...]], path: Path) -> None:
    """Checks every node against what it is made of, and what is returned.

    Args:
        network: As it was read.
        shapes: Of its inputs, without the batch.
        path: Of the file.

    Raises:
        EngineError: If parts of it disagree; the message names the node.
    """
    known: set[nodes.Value] = set()
    count = 0
    for number, node in enumerate(network.nodes):
        with placed(path, f"node {number} ({type(node).__name__} {node.label!r})"):
            made = nodes.made(node)
            if not known.issuperset(node.inputs):
                raise EngineError(f"value {node.out} is made of what comes later")
            if known.intersection(made) or len(set(made)) != len(made):
                raise EngineError(f"value {node.out} is made twice")
            known.update(made)
            if isinstance(node, nodes.Input):
                _input(network, node, count, shapes)
                count += 1
            else:
                _CHECKS[type(node)](network, node)
    with placed(path, "the network"):
        if count != len(shapes):
            raise EngineError(f"{count} of {len(shapes)} inputs are read")
        for value, shape in network.outputs:
            if value not in known:
                raise EngineError("an output is never made")
            if value in network.sizes and math.prod(network.sizes[value]) != math.prod(shape):
                raise EngineError(f"an output of shape {shape} that is a map of {network.sizes[value]}")


def _input(network: Network, node: nodes.Input, number: int, shapes: Sequence[tuple[int, ...]]) -> None:
    if node.inputs or node.index != number or number >= len(shapes):
        raise EngineError(f"input {node.index} of {len(shapes)}; expected them in order")
    shape = shapes[number]
    size = network.sizes.get(node.out)
    if size is not None and math.prod(size) != math.prod(shape):
        raise EngineError(f"a map of {size} that is an input of shape {shape}")


def _size(network: Network, node: Node, number: int = 0) -> Size:
    """The size of what a node is made of."""
    if number >= len(node.inputs) or node.inputs[number] not in network.sizes:
        raise EngineError("it is not made of maps")
    return network.sizes[node.inputs[number]]


def _out(network: Network, node: Node) -> Size:
    if node.out not in network.sizes:
        raise EngineError("what it makes has no size")
    return network.sizes[node.out]


def _count(node: Node, *allowed: int) -> None:
    if len(node.inputs) not in allowed:
        raise EngineError(f"it is made of {len(node.inputs)} values; expected {' or '.join(map(str, allowed))}")


def _fit(ok: bool, network: Network, node: Node) -> None:
    if not ok:
        sizes = [network.sizes[value] for value in node.inputs]
        raise EngineError(f"it does not fit its maps: of {sizes}, {network.sizes[node.out]}")


def _activation(activation: nodes.Activation) -> None:
    if activation.name not in ACTIVATIONS:
        raise EngineError(f"an activation {activation.name!r}; expected {', '.join(ACTIVATIONS)}")
    if not 0.0 <= activation.slope <= 1.0:
        raise EngineError(f"a slope of {activation.slope}; expected 0 to 1")


def _conv(network: Network, node: nodes.Conv) -> None:
    _count(node, 1, 2)
    _activation(node.activation)
    spec, (channels, height, width) = node.spec, _size(network, node)
    shape = spec.weight.shape
    if len(shape) != 4 or shape[0] % spec.groups or spec.bias.shape != shape[:1]:
        raise EngineError(f"a weight of shape {shape} and a bias of {spec.bias.shape} in {spec.groups} groups")
    ok = shape[1] * spec.groups == channels and shape[2:] == spec.geometry.kernel
    ok = ok and _out(network, node) == (shape[0], *spec.geometry.output_size(height, width))
    _fit(ok and (len(node.inputs) == 1 or _size(network, node, 1) == _out(network, node)), network, node)


def _pool(network: Network, node: nodes.Pool) -> None:
    _count(node, 1)
    size, out, geometry = _size(network, node), _out(network, node), node.geometry
    if geometry.dilation != (1, 1) or any(
        pad >= kernel for pad, kernel in zip(geometry.padding, geometry.kernel, strict=True)
    ):
        raise EngineError(f"windows of {geometry.kernel} with padding {geometry.padding}; expected less padding")
    _fit(
        size[0] == out[0] and all(_last_start(geometry, out, side) < size[1 + side] for side in range(2)), network, node
    )


def _last_start(geometry: PlaneGeometry, out: Size, side: int) -> int:
    """Where the last window begins."""
    return geometry.stride[side] * (out[1 + side] - 1) - geometry.padding[side]


def _upsample(network: Network, node: nodes.Upsample) -> None:
    _count(node, 1)
    (channels, height, width), (down, right) = _size(network, node), node.factors
    _fit(_out(network, node) == (channels, height * down, width * right), network, node)


def _combine(network: Network, node: nodes.Combine) -> None:
    _count(node, 2)
    _activation(node.activation)
    one, other, out = _size(network, node), _size(network, node, 1), _out(network, node)
    _fit(one == out and (other == out or (node.kind == "mul" and other == (out[0], 1, 1))), network, node)


def _pointwise(network: Network, node: nodes.Pointwise) -> None:
    _count(node, 1)
    _activation(node.activation)
    if node.activation == LINEAR:
        raise EngineError("it changes nothing")
    _fit(_size(network, node) == _out(network, node), network, node)


def _concat(network: Network, node: nodes.Concat) -> None:
    sizes, out = [_size(network, node, number) for number in range(max(1, len(node.inputs)))], _out(network, node)
    _fit(sum(size[0] for size in sizes) == out[0] and all(size[1:] == out[1:] for size in sizes), network, node)


def _channels(network: Network, node: nodes.Channels) -> None:
    _count(node, 1)
    size, out = _size(network, node), _out(network, node)
    _fit(node.first + out[0] <= size[0] and out[1:] == size[1:], network, node)


def _outside(network: Network, node: Outside) -> None:
    if not node.outs or node.outs[0] != node.out:
        raise EngineError("what it makes is not what it is named by")
    read: list[nodes.Value] = []

    def seen(argument: Any) -> Any:
        if isinstance(argument, Read):
            read.append(argument.value)
            size = network.sizes.get(argument.value)
            if size is not None and math.prod(size) != math.prod(argument.shape):
                raise EngineError(f"a map of {size} is read as {argument.shape}")
        return argument

    mapped(seen, node.args), mapped(seen, dict(node.kwargs))
    if tuple(read) != node.inputs:
        raise EngineError(f"it reads {read}; expected {list(node.inputs)}")


def _view(network: Network, node: nodes.View) -> None:
    _count(node, 1)
    size, out = _size(network, node), _out(network, node)
    outer, inner = math.prod(node.counts[:2]), math.prod(node.counts[2:])
    last = node.first + sum((count - 1) * step for count, step in zip(node.counts, node.steps, strict=True))
    _fit(outer == out[0] and inner == out[1] * out[2] and last < math.prod(size), network, node)


def _places(network: Network, node: nodes.Places) -> None:
    sizes, out = [_size(network, node, number) for number in range(max(1, len(node.inputs)))], _out(network, node)
    total = sum(height * width for _, height, width in sizes)
    _fit(total == out[1] * out[2] and all(size[0] == out[0] for size in sizes), network, node)


def _constant(network: Network, node: nodes.Constant) -> None:
    _count(node, 0)
    channels, height, width = _out(network, node)
    if node.values.shape != (channels, height * width):
        raise EngineError(f"numbers of shape {node.values.shape} for a map of {(channels, height, width)}")


def _norm(network: Network, node: nodes.TokenNorm) -> None:
    _count(node, 1)
    out = _out(network, node)
    if node.gains.shape != out[:1] or node.shifts.shape != out[:1] or not 0.0 <= node.epsilon <= 1e6:
        raise EngineError(f"gains of {node.gains.shape}, shifts of {node.shifts.shape}, epsilon {node.epsilon:g}")
    _fit(_size(network, node) == out, network, node)


def _attention(network: Network, node: nodes.Attention) -> None:
    _count(node, 3, 4)
    queries, keys, values, *mask = [_size(network, node, number) for number in range(len(node.inputs))]
    if node.heads % node.groups or abs(node.scale) > 1e30:
        raise EngineError(f"{node.heads} heads over {node.groups} of keys, scale {node.scale:g}")
    pairs = zip(
        (queries, keys, values),
        (node.heads, node.groups, node.groups),
        (node.depth, node.depth, node.value_depth),
        node.steps,
        strict=True,
    )
    ok = all(size[1] == 1 and (count - 1) * step + depth <= size[0] for size, count, depth, step in pairs)
    ok = ok and _out(network, node) == (node.heads * node.value_depth, 1, queries[2]) and keys[2] == values[2]
    counts = (keys[2], node.heads * keys[2])
    ok = ok and all(one[0] in counts and one[1] == 1 and one[2] in (1, queries[2]) for one in mask)
    _fit(ok and keys[2] <= 1 << 20, network, node)


def _embedding(network: Network, node: nodes.Embedding) -> None:
    _count(node, 1)
    (one, *places), out = _size(network, node), _out(network, node)
    if node.table.ndim != 2 or not 1 <= len(node.table) <= nodes.MOST_ROWS or node.table.shape[1] != out[0]:
        raise EngineError(f"a table of shape {node.table.shape} for a map of {out}")
    inputs = [other.out for other in network.nodes if isinstance(other, nodes.Input)]
    _fit(one == 1 and tuple(places) == out[1:] and node.inputs[0] in inputs, network, node)


_Check: TypeAlias = Callable[[Network, Any], None]
_CHECKS: Mapping[type[Node], _Check] = {
    nodes.Conv: _conv,
    nodes.Pool: _pool,
    nodes.Upsample: _upsample,
    nodes.Combine: _combine,
    nodes.Pointwise: _pointwise,
    nodes.Concat: _concat,
    nodes.Channels: _channels,
    nodes.View: _view,
    nodes.Places: _places,
    nodes.Constant: _constant,
    nodes.TokenNorm: _norm,
    nodes.Attention: _attention,
    nodes.Embedding: _embedding,
    Outside: _outside,
}
