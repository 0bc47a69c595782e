"""A lowered network as two files: JSON for its nodes, safetensors for its weights, of which zeros take a bit each."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from torch import Tensor
from torch.utils._pytree import treespec_dumps, treespec_loads

from sapwood.errors import EngineError
from sapwood.files import check_directory, new_directory, write_bytes, write_text
from sapwood.runtime.engine import nodes
from sapwood.runtime.engine.lowered import Lowered
from sapwood.runtime.engine.nodes import Network, Node, Outside, Read
from sapwood.runtime.engine.packing import Array, ConvSpec, Geometry, finite

FORMAT = "sapwood-engine"
VERSION = 1
NETWORK_NAME = "network.json"
WEIGHTS_NAME = "weights.safetensors"
PACKED_BELOW = 0.9
"""A weight with a larger fraction of non-zeros is stored as it is."""

NODES: Mapping[str, type[Node]] = {
    one.__name__: one
    for one in (
        nodes.Input, nodes.Conv, nodes.Pool, nodes.Upsample, nodes.Combine, nodes.Pointwise, nodes.Concat,
        nodes.Channels, nodes.Outside,
    )
}  # fmt: skip
CONSTANTS = (torch.dtype, torch.layout, torch.memory_format)
"""Of torch, by name."""

Found = TypeVar("Found")


@dataclass(frozen=True)
class Encoded:
    """A network as it is stored.

    Attributes:
        content: What goes into the JSON.
        arrays: The weights.
    """

    content: dict[str, Any]
    arrays: dict[str, Array]


def encode(source: Lowered) -> Encoded:
    """Brings a network into the form in which it is stored."""
    writer = _Writer({})
    network = source.network
    content = {
        "nodes": [{"node": type(node).__name__, **writer.fields_of(node)} for node in network.nodes],
        "sizes": [[value, *size] for value, size in network.sizes.items()],
        "outputs": [[value, list(shape)] for value, shape in network.outputs],
        "inputs": [list(shape) for shape in source.shapes],
        "form": source.form,
        "constants": list(source.constants.items()),
    }
    return Encoded(content, writer.arrays)


def write(encoded: Encoded, directory: str | Path) -> Path:
    """Writes a directory, which takes the place of the network that was there; what else lies there stays.

    Raises:
        EngineError: If what the model returns, or an operation of PyTorch's, has no name outside of this process.
        ConfigError: If ``directory`` holds files, and no compiled network.
        WriteError: If a file cannot be written; what stood there is there still.
    """
    content = dict(encoded.content)
    try:
        content["form"] = treespec_dumps(content["form"])
        text = json.dumps(content, allow_nan=False)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise EngineError(
            f"the compiled network cannot be saved: {error}; expected tuples, lists and dicts of tensors and numbers"
        ) from error
    for node in content["nodes"]:
        if node["node"] == Outside.__name__ and not node["op"].startswith("aten."):
            raise EngineError(f"the compiled network cannot be saved: it calls {node['op']}; expected PyTorch's own")
    data = save_arrays(encoded.arrays)
    head = {"format": FORMAT, "version": VERSION, "sha256": _digest(text, data), "content": text}
    with new_directory(directory, NETWORK_NAME, (WEIGHTS_NAME,)) as folder:
        write_bytes(folder / WEIGHTS_NAME, data)
        write_text(folder / NETWORK_NAME, json.dumps(head, indent=1) + "\n")
    return Path(directory)


def check_target(directory: str | Path) -> None:
    """Checks, before the work, that a network can be written to a directory; raises what :func:`write` would."""
    check_directory(directory, NETWORK_NAME)


def read(directory: str | Path) -> tuple[Lowered, Encoded]:
    """Reads what :func:`write` wrote.

    Raises:
        EngineError: If a file is missing, damaged or of another version.
    """
    path = Path(directory) / NETWORK_NAME
    try:
        head = json.loads(path.read_text(encoding="utf-8"))
        data = (Path(directory) / WEIGHTS_NAME).read_bytes()
    except OSError as error:
        raise EngineError(f"{directory}: no compiled network: {error}") from error
    except ValueError as error:
        raise EngineError(f"{path}: damaged: {error}") from error
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise EngineError(f"{path}: not written by `sapwood compile`")
    if head.get("version") != VERSION:
        raise EngineError(f"{path}: version {head.get('version')!r}; this Sapwood reads version {VERSION}")
    text = head.get("content")
    if not isinstance(text, str) or _digest(text, data) != head.get("sha256"):
        raise EngineError(f"{directory}: damaged: the files are not those that were written together")
    try:
        content = json.loads(text)
        encoded = Encoded(content, load_arrays(data))
        content["form"] = treespec_loads(content["form"])
        return _decode(encoded), encoded
    except EngineError:
        raise
    except Exception as error:  # whatever a well-formed file may lack
        raise EngineError(f"{directory}: not a network of this Sapwood: {error!r}") from error


def _digest(text: str, data: bytes) -> str:
    return hashlib.sha256(text.encode() + data).hexdigest()


class _Writer:
    """Turns fields of nodes into JSON, and puts weights aside."""

    def __init__(self, arrays: dict[str, Array]) -> None:
        self.arrays = arrays

    def fields_of(self, node: Any) -> dict[str, Any]:
        return {field.name: self._value(getattr(node, field.name)) for field in fields(node)}

    def _value(self, value: Any) -> Any:
        writers: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
            (Read, lambda read: {"read": read.value, "shape": list(read.shape)}),
            (ConvSpec, self._spec),
            (Geometry | nodes.Activation, self.fields_of),
            (Tensor, self._tensor),
            (torch._ops.OpOverload, str),
            (torch.dtype | torch.layout | torch.memory_format, lambda one: {"torch": str(one).removeprefix("torch.")}),
            (torch.device, lambda device: {"device": str(device)}),
            (float, lambda number: number if math.isfinite(number) else {"float": str(number)}),
            (tuple | list, lambda items: [self._value(one) for one in items]),
            (Mapping, lambda items: {"items": {name: self._value(one) for name, one in items.items()}}),
        )
        return next((write(value) for kinds, write in writers if isinstance(value, kinds)), value)

    def _spec(self, spec: ConvSpec) -> dict[str, Any]:
        return {
            "weight": self._weight(spec.weight),
            "bias": self._put(spec.bias),
            "geometry": self.fields_of(spec.geometry),
            "groups": spec.groups,
        }

    def _tensor(self, tensor: Tensor) -> dict[str, Any]:
        """Its bytes: numpy has not all of PyTorch's types."""
        data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return {"tensor": self._put(data), "dtype": str(tensor.dtype), "shape": list(tensor.shape)}

    def _put(self, array: Array) -> str:
        name = str(len(self.arrays))
        self.arrays[name] = np.ascontiguousarray(array)
        return name

    def _weight(self, weight: Array) -> dict[str, Any]:
        kept = weight != 0
        if kept.mean() > PACKED_BELOW:
            return {"dense": self._put(weight)}
        return {
            "shape": list(weight.shape),
            "mask": self._put(np.packbits(kept.reshape(-1))),
            "values": self._put(weight[kept]),
        }


def _decode(encoded: Encoded) -> Lowered:
    content, arrays = encoded.content, encoded.arrays
    reader = _Reader(arrays)
    network = Network(
        [reader.node(one) for one in content["nodes"]],
        {value: (channels, height, width) for value, channels, height, width in content["sizes"]},
        [(value, tuple(shape)) for value, shape in content["outputs"]],
    )
    _check(network)
    shapes = tuple(tuple(shape) for shape in content["inputs"])
    return Lowered(network, shapes, content["form"], dict(content["constants"]))


def _check(network: Network) -> None:
    known: set[nodes.Value] = set()
    for node in network.nodes:
        if not known.issuperset(node.inputs):
            raise EngineError(f"value {node.out} is made of what comes later")
        known.update(nodes.made(node))
        if isinstance(node, nodes.Conv):
            _check_convolution(network, node)
    if not known.issuperset(value for value, _ in network.outputs):
        raise EngineError("an output is never made")


def _check_convolution(network: Network, node: nodes.Conv) -> None:
    spec = node.spec
    channels, height, width = network.sizes[node.inputs[0]]
    size = (len(spec.weight), *spec.geometry.output_size(height, width))
    if (
        spec.weight.shape[1] * spec.groups != channels
        or spec.weight.shape[2:] != spec.geometry.kernel
        or spec.bias.shape != (len(spec.weight),)
        or network.sizes[node.out] != size
    ):
        raise EngineError(f"the convolution {node.label!r} does not fit its maps")


class _Reader:
    """The way back."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._arrays = arrays

    def node(self, stored: dict[str, Any]) -> Node:
        kind = NODES[stored["node"]]
        values = {name: self._value(one) for name, one in stored.items() if name != "node"}
        if kind is nodes.Conv:
            values["spec"] = self._spec(stored["spec"])
        if "activation" in values:
            values["activation"] = nodes.Activation(**stored["activation"])
        if "geometry" in values:
            values["geometry"] = _geometry(stored["geometry"])
        if kind is Outside:
            values["op"] = _operator(stored["op"])
        return kind(**values)

    def _value(self, stored: Any) -> Any:
        if isinstance(stored, list):
            return tuple(self._value(one) for one in stored)
        if not isinstance(stored, dict):
            return stored
        readers: dict[str, Callable[[Any], Any]] = {
            "read": lambda value: Read(value, tuple(stored["shape"])),
            "tensor": lambda name: self._tensor(name, stored),
            "torch": _constant,
            "device": torch.device,
            "float": float,
            "items": lambda items: {name: self._value(one) for name, one in items.items()},
        }
        name = next((one for one in readers if one in stored), None)
        return stored if name is None else readers[name](stored[name])

    def _tensor(self, name: str, stored: dict[str, Any]) -> Tensor:
        dtype = _constant(stored["dtype"].removeprefix("torch."))
        return torch.from_numpy(self._arrays[name].copy()).view(dtype).reshape(stored["shape"])

    def _spec(self, stored: dict[str, Any]) -> ConvSpec:
        weight = stored["weight"]
        if "dense" in weight:
            array = self._arrays[weight["dense"]]
        else:
            array = np.zeros(math.prod(weight["shape"]), np.float32)
            kept = np.unpackbits(self._arrays[weight["mask"]], count=len(array)).view(bool)
            array[kept] = self._arrays[weight["values"]]
            array = array.reshape(weight["shape"])
        bias = self._arrays[stored["bias"]]
        return ConvSpec(finite(array), finite(bias), _geometry(stored["geometry"]), stored["groups"])


def _geometry(stored: dict[str, Any]) -> Geometry:
    return Geometry(**{name: (int(pair[0]), int(pair[1])) for name, pair in stored.items()})


def _constant(name: str) -> Any:
    found = getattr(torch, name)
    if not isinstance(found, CONSTANTS):
        raise EngineError(f"torch.{name} is no constant")
    return found


def _operator(name: str) -> torch._ops.OpOverload:
    """One of ATen's, that makes tensors from tensors."""
    space, packet, overload = name.split(".")
    found = getattr(getattr(torch.ops.aten, packet), overload)
    arguments = [str(one.type) for one in found._schema.arguments]
    if space != "aten" or not isinstance(found, torch._ops.OpOverload) or not any("Tensor" in one for one in arguments):
        raise EngineError(f"{name} is no operation on tensors")
    return found
