"""An ONNX file in memory, made fast, whose nodes know the module they came from: for runtimes that time models."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from sapwood.errors import MeasureError
from sapwood.export.flat import INNER, FlatModel, plain_copy, tensors_of
from sapwood.export.onnx_torch import by_export, by_torchscript
from sapwood.export.packages import require
from sapwood.export.padded_pools import fold_padding
from sapwood.types import ExampleInputs


@dataclass(frozen=True)
class QuickOnnx:
    """A model as ONNX, for timing only.

    Attributes:
        data: The file's bytes.
        input_names: One a tensor of the example inputs, in their order.
        graph: The graph as :mod:`onnx` reads it, without its weights' values being of any use to the reader.
        modules: Node -> module that it came from (``"layers.4.conv"``, ``""`` is the model), by the node's name.
    """

    data: bytes
    input_names: tuple[str, ...]
    graph: Any
    modules: Mapping[str, str]


def quick_onnx(model: nn.Module, example_inputs: ExampleInputs) -> QuickOnnx:
    """Converts a model as fast as PyTorch can.

    The exporter on TorchScript takes a fifth of the time of the one on :mod:`torch.export`, which is used where the
    first is not there or fails. Live torch masks are permanent in the result.

    Args:
        model: Read only.
        example_inputs: What it is called with.

    Returns:
        The file and where its nodes came from.

    Raises:
        MissingDependencyError: If :mod:`onnx` is not installed.
        MeasureError: If no exporter can convert the model.
    """
    onnx = require("onnx")
    flat = FlatModel(plain_copy(model), example_inputs).eval()
    tensors = tensors_of(example_inputs)
    scopes = Scopes(flat)
    try:
        with scopes.recorded():
            data = by_torchscript(flat, tensors)
    except Exception as first:
        try:
            data = _by_export(flat, tensors)
        except Exception as second:
            raise MeasureError(
                f"{type(model).__name__} cannot be converted to ONNX: {_first_line(second)} (and by TorchScript: "
                f"{_first_line(first)})"
            ) from second
    data = fold_padding(data)
    graph = onnx.load_from_string(data).graph
    return QuickOnnx(data, flat.names, graph, scopes.modules_of(graph))


def _by_export(flat: FlatModel, tensors: tuple[torch.Tensor, ...]) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what it is made of
        return by_export(flat, tensors)


class Scopes:
    """Which module of a model each scope in an ONNX file means.

    A node of the TorchScript exporter is called after the modules that were running, each by the end of its name from
    the last part on that is no number: ``/blocks/blocks.0/attn/MatMul``. What that means is not guessed from the text:
    hooks write down, while the exporter runs the model, which module was running under which scope. A scope that two
    modules had means what both are in.

    Args:
        flat: The model that will be exported; it gets hooks while :meth:`recorded` is open.
    """

    def __init__(self, flat: FlatModel) -> None:
        self._flat = flat
        self._names = {module: name for name, module in flat.named_modules()}
        self._meant: dict[str, str] = {"": ""}
        inner = {_inner(name): module for module, name in self._names.items()}
        self._norms = {name for name, module in inner.items() if isinstance(module, _BatchNorm)}
        self._layers = {name for name, module in inner.items() if isinstance(module, nn.Linear | _ConvNd)}

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Inside, runs of the model are written down."""
        stack = [""]
        handles = []

        def enter(module: nn.Module, *_: Any) -> None:
            name = self._names[module]
            scope = f"{stack[-1]}/{last_words(name)}" if name else ""
            stack.append(scope)
            own = _inner(name)
            self._meant[scope] = common_module(self._meant[scope], own) if scope in self._meant else own

        def leave(*_: Any) -> None:
            stack.pop()

        for module in self._names:
            handles.append(module.register_forward_pre_hook(enter))
            handles.append(module.register_forward_hook(leave, always_call=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def modules_of(self, graph: Any) -> dict[str, str]:
        """The module of each node of a graph that either exporter made; nodes without one are left out."""
        known = set(map(_inner, self._names.values()))
        found = {}
        for node in graph.node:
            listed = next((entry.value for entry in node.metadata_props if entry.key.endswith("name_scopes")), None)
            if listed is not None:
                own = [_inner(name.strip(" '\"")) for name in listed.strip("[]").split(",")]
                found[node.name] = self._multiplying(node, next((name for name in reversed(own) if name in known), ""))
            elif node.name.startswith("/"):
                scope = node.name.rpartition("/")[0]
                if scope in self._meant:
                    found[node.name] = self._meant[scope]
        return found

    def _multiplying(self, node: Any, listed: str) -> str:
        """The layer of a node that a BatchNorm was multiplied into, whose scope is the norm's: that of its weight."""
        owner = _inner(node.input[1].rpartition(".")[0]) if len(node.input) > 1 else ""
        return owner if listed in self._norms and owner in self._layers else listed


def last_words(name: str) -> str:
    """The end of a module's name from its last part that is no number on: how TorchScript calls it in a scope.

    Examples:
        >>> last_words("model.blocks.0.attn"), last_words("model.blocks.0.1"), last_words("0.1")
        ('attn', 'blocks.0.1', '0.1')
    """
    parts = name.split(".")
    for index in range(len(parts) - 1, -1, -1):
        if not parts[index].isnumeric():
            return ".".join(parts[index:])
    return name


def common_module(one: str, other: str) -> str:
    """The innermost module that both are in, or are.

    Examples:
        >>> common_module("blocks.0.attn", "blocks.0.mlp"), common_module("stem", "head")
        ('blocks.0', '')
    """
    shared = []
    for first, second in zip(one.split("."), other.split("."), strict=False):
        if first != second:
            break
        shared.append(first)
    return ".".join(shared)


def _inner(name: str) -> str:
    """The name inside the model, of the name inside its wrapper."""
    return name.removeprefix(INNER).removeprefix(".")


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
