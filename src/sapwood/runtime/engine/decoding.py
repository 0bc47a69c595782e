"""The way back from JSON and arrays to a network: every field is looked at before it is used."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sapwood.errors import EngineError
from sapwood.limits import check_limit
from sapwood.runtime.engine import nodes
from sapwood.runtime.engine.checking import check_network, placed
from sapwood.runtime.engine.form import earlier_form, form_of
from sapwood.runtime.engine.inputs import InputSpec
from sapwood.runtime.engine.lowered import Lowered
from sapwood.runtime.engine.nodes import Activation, Network, Node, Read, Size, Value
from sapwood.runtime.engine.operators import operator
from sapwood.runtime.engine.packing import Array, ConvSpec, PlaneGeometry, finite
from sapwood.runtime.engine.trial import try_calls

LARGEST = 2**31 - 1
"""The largest value of every size in a file."""

NODES: Mapping[str, type[Node]] = {
    one.__name__: one
    for one in (
        nodes.Input, nodes.Conv, nodes.Pool, nodes.Upsample, nodes.Combine, nodes.Pointwise, nodes.Concat,
        nodes.Channels, nodes.Outside, nodes.View, nodes.Places, nodes.Constant, nodes.TokenNorm, nodes.Attention,
        nodes.Embedding,
    )
}  # fmt: skip
DTYPES: Mapping[str, torch.dtype] = {
    name: getattr(torch, name)
    for name in (
        "float32", "float64", "float16", "bfloat16", "complex64", "complex128",
        "int8", "int16", "int32", "int64", "uint8", "bool",
    )
}  # fmt: skip
CONSTANTS: Mapping[str, Any] = {
    **DTYPES,
    "strided": torch.strided,
    "contiguous_format": torch.contiguous_format,
    "preserve_format": torch.preserve_format,
    "channels_last": torch.channels_last,
    "channels_last_3d": torch.channels_last_3d,
}
"""Constants of torch that a network may hold, by name."""


def decode(path: Path, version: int, content: Any, arrays: Mapping[str, Array]) -> Lowered:
    """A network from what its files hold.

    Args:
        path: Of the file, for messages and limits.
        version: Of its form.
        content: What the JSON says.
        arrays: The weights.

    Raises:
        EngineError: If anything of it is not as it is written, parts of it disagree, or it asks for too much.
    """
    with placed(path, "the network"):
        check_limit("sections", len(list_of(content["nodes"])), str(path), EngineError)
        outputs = [(whole(value), shape_of(shape)) for value, shape in map(list_of, list_of(content["outputs"]))]
        network = Network([], _sizes(path, content), outputs)
        inputs = _inputs(content, version)
        form = earlier_form(content["form"]) if version == 1 else form_of(content["form"])
        pairs = [(whole(place), _returned(value)) for place, value in map(list_of, list_of(content["constants"]))]
        constants = dict(pairs)
        if len(constants) != len(pairs) or len(pairs) + len(outputs) != form.num_leaves:
            raise EngineError(f"{len(outputs)} outputs and {len(pairs)} constants for {form.num_leaves} places")
        if any(place >= form.num_leaves for place in constants):
            raise EngineError(f"a constant that is returned in none of {form.num_leaves} places")
    reader = _NodeReader(path, arrays)
    for number, stored in enumerate(content["nodes"]):
        with placed(path, f"node {number}"):
            network.nodes.append(reader.node(stored))
    check_network(network, [spec.shape for spec in inputs], path)
    return Lowered(network, try_calls(network, inputs, path), form, constants, alone=version == 3, file=str(path))


def whole(value: Any, least: int = 0) -> int:
    """A whole number from ``least`` to :data:`LARGEST`.

    Raises:
        EngineError: If it is anything else.

    Examples:
        >>> whole(3)
        3
        >>> whole(2**31, 1)
        Traceback (most recent call last):
        ...
        sapwood.errors.EngineError: 2147483648; expected a whole number from 1 to 2147483647
    """
    if type(value) is not int or not least <= value <= LARGEST:
        raise EngineError(f"{_short(value)}; expected a whole number from {least} to {LARGEST}")
    return value


def list_of(value: Any) -> list[Any]:
    """A list.

    Raises:
        EngineError: If it is anything else.
    """
    if not isinstance(value, list):
        raise EngineError(f"{_short(value)}; expected a list")
    return value


def shape_of(value: Any) -> tuple[int, ...]:
    """A shape."""
    return tuple(whole(side) for side in list_of(value))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _pair(value: Any, least: int = 1) -> tuple[int, int]:
    first, second = (whole(side, least) for side in list_of(value))
    return first, second


def _four(value: Any, least: int = 0) -> tuple[int, int, int, int]:
    one, two, three, four = (whole(side, least) for side in list_of(value))
    return one, two, three, four


def _three(value: Any) -> tuple[int, int, int]:
    one, two, three = (whole(side) for side in list_of(value))
    return one, two, three


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise EngineError(f"{_short(value)}; expected a finite number")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise EngineError(f"{_short(value)}; expected a text")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise EngineError(f"{_short(value)}; expected true or false")
    return value


def _one_of(value: Any, known: tuple[str, ...]) -> Any:
    if value not in known:
        raise EngineError(f"{_short(value)}; expected {' or '.join(known)}")
    return value


def _sizes(path: Path, content: Any) -> dict[Value, Size]:
    found: dict[Value, Size] = {}
    for value, *sides in map(list_of, list_of(content["sizes"])):
        channels, height, width = (whole(side, 1) for side in sides)
        check_limit("network_bytes", 4 * channels * height * width, str(path), EngineError)
        if whole(value) in found:
            raise EngineError(f"two sizes of value {value}; expected one")
        found[value] = channels, height, width
    return found


def _inputs(content: Any, version: int) -> tuple[InputSpec, ...]:
    shapes = [tuple(whole(side) for side in list_of(shape)) for shape in list_of(content["inputs"])]
    names = [None] * len(shapes) if version == 1 else list_of(content["dtypes"])
    if len(names) != len(shapes):
        raise EngineError(f"{len(names)} types of {len(shapes)} inputs")
    return tuple(
        InputSpec(shape, None if name is None else DTYPES[name]) for shape, name in zip(shapes, names, strict=True)
    )


def _returned(value: Any) -> Any:
    """What a model returns besides tensors."""
    if isinstance(value, dict) and set(value) == {"float"}:
        return _float(value["float"])
    if value is not None and not isinstance(value, bool | int | float | str):
        raise EngineError(f"{_short(value)} is returned; expected a number or a text")
    return value


def _float(text: Any) -> float:
    return float(_one_of(text, ("inf", "-inf", "nan")))


def _activation(stored: Any) -> Activation:
    return Activation(_text(stored["name"]), float(stored["slope"]))


def _geometry(stored: Any) -> PlaneGeometry:
    kernel, stride, dilation = (_pair(stored[name]) for name in ("kernel", "stride", "dilation"))
    return PlaneGeometry(kernel, stride, _pair(stored["padding"], 0), dilation)


class _NodeReader:
    """Reads nodes; counts what their weights take.

    Args:
        path: Of the file.
        arrays: The weights.
    """

    def __init__(self, path: Path, arrays: Mapping[str, Array]) -> None:
        self._path, self._arrays = path, arrays
        self._num_bytes = 0

    def node(self, stored: Any) -> Node:
        """A node."""
        name = _text(stored["node"])
        if name not in NODES:
            raise EngineError(f"a {name!r}; expected {', '.join(NODES)}")
        kind = NODES[name]
        names = {field.name for field in fields(kind)}
        if set(stored) != {"node", *names}:
            raise EngineError(f"a {name} with {sorted(set(stored) - {'node'})}; expected {sorted(names)}")
        readers: dict[str, Callable[[Any], Any]] = {
            "out": whole,
            "inputs": lambda values: tuple(whole(value) for value in list_of(values)),
            "outs": lambda values: tuple(whole(value) for value in list_of(values)),
            "index": whole,
            "first": whole,
            "label": _text,
            "location": _text,
            "reason": _text,
            "kind": lambda one: _one_of(one, ("max", "average") if kind is nodes.Pool else ("add", "mul")),
            "all_places": _flag,
            "factors": _pair,
            "activation": _activation,
            "geometry": _geometry,
            "spec": self._spec,
            "op": operator,
            "args": lambda given: tuple(self._argument(one) for one in list_of(given)),
            "kwargs": self._named,
            "counts": lambda sides: _four(sides, 1),
            "steps": _four if kind is nodes.View else _three,
            **dict.fromkeys(("values", "gains", "shifts", "table"), self._numbers),
            **dict.fromkeys(("epsilon", "scale"), _number),
            **dict.fromkeys(("centred", "safe"), _flag),
            **dict.fromkeys(("heads", "groups", "depth", "value_depth"), lambda one: whole(one, 1)),
        }
        return kind(**{name: readers[name](stored[name]) for name in names})

    def _named(self, stored: Any) -> dict[str, Any]:
        return {_text(name): self._argument(one) for name, one in stored["items"].items()}

    def _argument(self, stored: Any) -> Any:
        if isinstance(stored, list):
            return tuple(self._argument(one) for one in stored)
        if not isinstance(stored, dict):
            return stored
        kinds: dict[frozenset[str], Callable[[], Any]] = {
            frozenset({"read", "shape"}): lambda: Read(whole(stored["read"]), shape_of(stored["shape"])),
            frozenset({"tensor", "dtype", "shape"}): lambda: self._tensor(stored),
            frozenset({"torch"}): lambda: CONSTANTS[_one_of(stored["torch"], tuple(CONSTANTS))],
            frozenset({"device"}): lambda: torch.device(_one_of(stored["device"], ("cpu",))),
            frozenset({"float"}): lambda: _float(stored["float"]),
        }
        if frozenset(stored) not in kinds:
            raise EngineError(f"{_short(stored)} as an argument; expected a tensor, a number or a type")
        return kinds[frozenset(stored)]()

    def _tensor(self, stored: dict[str, Any]) -> Tensor:
        dtype = DTYPES[_one_of(_text(stored["dtype"]).removeprefix("torch."), tuple(DTYPES))]
        data = self._array(stored["tensor"], np.uint8)
        if dtype is torch.bool and data.max(initial=0) > 1:
            raise EngineError("a tensor of torch.bool with other bytes than 0 and 1")
        shape = shape_of(stored["shape"])
        if data.size != math.prod(shape) * dtype.itemsize:
            raise EngineError(f"{data.size} bytes for a tensor of {dtype} of shape {shape}")
        return torch.from_numpy(data.copy()).view(dtype).reshape(shape)

    def _spec(self, stored: Any) -> ConvSpec:
        array, geometry = self._numbers(stored["weight"]), _geometry(stored["geometry"])
        bias = self._array(stored["bias"], np.float32)
        return ConvSpec(array, finite(bias), geometry, whole(stored["groups"], 1))

    def _numbers(self, stored: Any) -> Array:
        return finite(self._array(stored["dense"], np.float32) if "dense" in stored else self._packed(stored))

    def _packed(self, stored: Any) -> Array:
        shape = tuple(whole(side, 1) for side in list_of(stored["shape"]))
        count = math.prod(shape)
        self._num_bytes += 4 * count
        check_limit("network_bytes", self._num_bytes, str(self._path), EngineError)
        mask, values = self._array(stored["mask"], np.uint8), self._array(stored["values"], np.float32)
        if mask.shape != (-(-count // 8),):
            raise EngineError(f"a mask of {mask.size} bytes for a weight of shape {shape}")
        kept = np.unpackbits(mask, count=count).view(bool)
        if values.shape != (int(kept.sum()),):
            raise EngineError(f"{values.size} numbers for {int(kept.sum())} places of a weight")
        array = np.zeros(count, np.float32)
        array[kept] = values
        return array.reshape(shape)

    def _array(self, name: Any, kind: type[np.generic]) -> Array:
        if _text(name) not in self._arrays:
            raise EngineError(f"an array {_short(name)} that is not among the weights")
        array = self._arrays[name]
        if array.dtype != kind:
            raise EngineError(f"an array {_short(name)} of {array.dtype}; expected {np.dtype(kind)}")
        return array
