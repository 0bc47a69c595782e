"""A run of a saved network without numbers: what its calls of PyTorch return must fit what reads it, and memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from sapwood.errors import EngineError
from sapwood.limits import check_limit
from sapwood.ops import mapped
from sapwood.runtime.engine import nodes
from sapwood.runtime.engine.checking import placed
from sapwood.runtime.engine.inputs import InputSpec, is_whole
from sapwood.runtime.engine.nodes import Network, Outside, Read, Value
from sapwood.runtime.engine.operators import check_call

GUESSES = (torch.float32, torch.int64)
"""Types of inputs that PyTorch reads and a file of version 1 does not say."""


def try_calls(network: Network, inputs: Sequence[InputSpec], path: Path) -> tuple[InputSpec, ...]:
    """Runs every call on tensors without numbers.

    Args:
        network: Whose nodes were checked.
        inputs: What it is called with.
        path: Of the file.

    Returns:
        The inputs; those that are maps are of float32.

    Raises:
        EngineError: If a call fails, returns something else than what is read of it, or takes too much memory.
    """
    rows = network.numbers_of_rows()
    maps = [
        node.out in network.sizes and node.out not in rows for node in network.nodes if isinstance(node, nodes.Input)
    ]
    known = tuple(
        replace(spec, dtype=torch.float32) if is_map and spec.dtype is None else spec
        for spec, is_map in zip(inputs, maps, strict=True)
    )
    with placed(path, "its inputs"):
        if any(spec.dtype is not torch.float32 for spec, is_map in zip(known, maps, strict=True) if is_map):
            raise EngineError("a map that is an input of another type; expected float32")
        given = [spec for spec, node in zip(known, network.nodes, strict=False) if node.out in rows]
        if any(spec.dtype is None or not is_whole(spec.dtype) for spec in given):
            raise EngineError("numbers of rows that are an input of another type; expected whole numbers")
    try:
        _EngineTrial(network, _typed(known, GUESSES[0]), path).run()
    except EngineError:
        if all(spec.dtype is not None for spec in known):
            raise
        _EngineTrial(network, _typed(known, GUESSES[1]), path).run()
    return known


def _typed(inputs: Sequence[InputSpec], guess: torch.dtype) -> list[InputSpec]:
    return [replace(spec, dtype=spec.dtype or guess) for spec in inputs]


@dataclass
class _EngineTrial:
    """One run.

    Attributes:
        network: What runs.
        inputs: Its inputs.
        path: Of the file.
        values: What PyTorch has made so far, and inputs that are no maps.
        stores: The memory of it, each once.
        num_bytes: That it would take.
    """

    network: Network
    inputs: Sequence[InputSpec]
    path: Path
    values: dict[Value, Tensor] = field(default_factory=dict)
    stores: dict[int, Any] = field(default_factory=dict)
    num_bytes: int = 0

    def run(self) -> None:
        rows = self.network.numbers_of_rows()
        with torch.no_grad():
            for number, node in enumerate(self.network.nodes):
                if isinstance(node, nodes.Input) and (node.out not in self.network.sizes or node.out in rows):
                    spec = self.inputs[node.index]
                    self.values[node.out] = torch.empty((1, *spec.shape), dtype=spec.dtype, device="meta")
                elif isinstance(node, Outside):
                    with placed(self.path, f"node {number} ({node.op} {node.label!r})"):
                        self._call(node)
            for value, shape in self.network.outputs:
                with placed(self.path, "its outputs"):
                    self._read(Read(value, shape))

    def _call(self, node: Outside) -> None:
        args, kwargs = mapped(self._argument, node.args), mapped(self._argument, dict(node.kwargs))
        check_call(node.op, args, kwargs)
        if node.op._schema.is_mutable:
            args = (args[0].clone(), *args[1:])
        found = [one for one in tree_leaves(node.op(*args, **kwargs)) if isinstance(one, Tensor)]
        if len(found) != len(node.outs):
            raise EngineError(f"it returns {len(found)} tensors; expected {len(node.outs)}")
        for value, tensor in zip(node.outs, found, strict=True):
            size = self.network.sizes.get(value)
            if size is not None and (tensor.dtype is not torch.float32 or tensor.numel() != math.prod(size)):
                raise EngineError(f"it returns {tuple(tensor.shape)} of {tensor.dtype}; expected a map of {size}")
            self.values[value] = self._counted(tensor)

    def _argument(self, given: Any) -> Any:
        if isinstance(given, Read):
            return self._read(given)
        if isinstance(given, torch.device):
            return torch.device("meta")
        return given.to("meta") if isinstance(given, Tensor) else given

    def _read(self, read: Read) -> Tensor:
        if read.value not in self.values:
            return torch.empty(read.shape, device="meta")
        return self._counted(self.values[read.value].reshape(read.shape))

    def _counted(self, tensor: Tensor) -> Tensor:
        store = tensor.untyped_storage()
        if store._cdata not in self.stores:
            self.stores[store._cdata] = store  # kept: its number is not given to another one
            self.num_bytes += store.nbytes()
            check_limit("network_bytes", self.num_bytes, str(self.path), EngineError)
        return tensor
