"""A lowered network as plain JSON and arrays; of weights, a zero takes a bit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec

from sapwood.runtime.engine import nodes
from sapwood.runtime.engine.large import large_array
from sapwood.runtime.engine.library import library
from sapwood.runtime.engine.lowered import Lowered
from sapwood.runtime.engine.nodes import Node, Read
from sapwood.runtime.engine.packing import Array, ConvSpec, PlaneGeometry

PACKED_BELOW = 0.9
"""A weight with a larger fraction of non-zeros is stored as it is."""


PLAIN = frozenset({bool, int, str})
"""Types whose values JSON has as they are."""

ROOM = 16
"""Floats that are written behind those that are kept."""


@dataclass(frozen=True)
class Encoded:
    """A network as it is stored.

    Attributes:
        content: What goes into the JSON, but for the form and the constants of what is returned.
        arrays: The weights.
        form: Of what the model returns; files hold no more of it than :mod:`sapwood.runtime.engine.form` describes.
        constants: What it returns besides tensors, by place.
        alone: Whether it takes one picture a call.
    """

    content: dict[str, Any]
    arrays: dict[str, Array]
    form: TreeSpec
    constants: Mapping[int, Any] = field(default_factory=dict)
    alone: bool = False


def encode(source: Lowered) -> Encoded:
    """Brings a network into the form in which it is stored."""
    writer = _Writer({})
    network = source.network
    content = {
        "nodes": [{"node": type(node).__name__, **writer.fields_of(node)} for node in network.nodes],
        "sizes": [[value, *size] for value, size in network.sizes.items()],
        "outputs": [[value, list(shape)] for value, shape in network.outputs],
        "inputs": [list(spec.shape) for spec in source.inputs],
        "dtypes": [None if spec.dtype is None else _name(spec.dtype) for spec in source.inputs],
    }
    return Encoded(content, writer.arrays, source.form, dict(source.constants), source.alone)


def with_own_tables(source: Lowered, stored: Encoded) -> Lowered:
    """The network over the tables that are stored: a model goes on changing its own, and programs copy none of them."""

    def own(node: Node, content: Mapping[str, Any]) -> Node:
        if not isinstance(node, nodes.Embedding):
            return node
        name = content["table"].get("dense")
        return replace(node, table=node.table.copy() if name is None else stored.arrays[name])

    found = [own(*pair) for pair in zip(source.network.nodes, stored.content["nodes"], strict=True)]
    return replace(source, network=replace(source.network, nodes=found))


def _name(one: Any) -> str:
    """The name of a type, layout or memory format."""
    return str(one).removeprefix("torch.")


class _Writer:
    """Turns fields of nodes into JSON, and puts weights aside."""

    def __init__(self, arrays: dict[str, Array]) -> None:
        self.arrays = arrays

    def fields_of(self, node: Any) -> dict[str, Any]:
        return {field.name: self._value(getattr(node, field.name)) for field in fields(node)}

    def _value(self, value: Any) -> Any:
        if value is None or type(value) in PLAIN:
            return value
        writers: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
            (Read, lambda read: {"read": read.value, "shape": list(read.shape)}),
            (ConvSpec, self._spec),
            (PlaneGeometry | nodes.Activation, self.fields_of),
            (Tensor, self._tensor),
            (np.ndarray, self._weight),
            (torch._ops.OpOverload, str),
            (torch.dtype | torch.layout | torch.memory_format, lambda one: {"torch": _name(one)}),
            (torch.device, lambda device: {"device": str(device)}),
            (float, lambda number: number if math.isfinite(number) else {"float": str(number)}),
            (tuple | list, lambda items: [self._value(one) for one in items]),
            (Mapping, lambda items: {"items": {name: self._value(one) for name, one in items.items()}}),
        )
        return next((write(value) for kinds, write in writers if isinstance(value, kinds)), value)

    def _spec(self, spec: ConvSpec) -> dict[str, Any]:
        return {
            "weight": self._weight(spec.weight, spec.nonzeros),
            "bias": self._copy(spec.bias),
            "geometry": self.fields_of(spec.geometry),
            "groups": spec.groups,
        }

    def _tensor(self, tensor: Tensor) -> dict[str, Any]:
        """Its bytes: numpy has not all of PyTorch's types."""
        plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
        data = plain.reshape(-1).view(torch.uint8).numpy()
        return {"tensor": self._copy(data), "dtype": str(tensor.dtype), "shape": list(tensor.shape)}

    def _put(self, array: Array) -> str:
        name = str(len(self.arrays))
        self.arrays[name] = array
        return name

    def _copy(self, array: Array) -> str:
        """Of what the model may go on changing."""
        own = large_array(array.size, array.dtype).reshape(array.shape)
        np.copyto(own, array)
        return self._put(own)

    def _weight(self, weight: Array, nonzeros: int | None = None) -> dict[str, Any]:
        count = int(np.count_nonzero(weight)) if nonzeros is None else nonzeros
        if weight.dtype != np.float32 or count > PACKED_BELOW * weight.size:
            return {"dense": self._copy(weight)}
        mask, kept = squeezed(np.ascontiguousarray(weight).reshape(-1), count)
        return {"shape": list(weight.shape), "mask": self._put(mask), "values": self._put(kept)}


def squeezed(values: Array, nonzeros: int) -> tuple[Array, Array]:
    """A bit for each value, as ``numpy.packbits`` makes them of those that are no zero, and these.

    Examples:
        >>> squeezed(np.array([0.0, 3.0, 0.0, 0.0, -1.0], np.float32), 2)
        (array([72], dtype=uint8), array([ 3., -1.], dtype=float32))
    """
    mask, kept = np.empty(-(-values.size // 8), np.uint8), large_array(nonzeros + ROOM, np.float32)
    count = library().sw_squeeze(values.ctypes.data, values.size, mask.ctypes.data, kept.ctypes.data)
    return mask, kept[:count]
