"""Calls of PyTorch in a compiled network: what it makes of the values so far, with as little as possible in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

import sapwood.runtime.engine.token_twins  # noqa: F401  # adds those of its kinds
from sapwood.errors import EngineError
from sapwood.runtime.engine.nodes import Node, Outside, Read, Value
from sapwood.runtime.engine.packing import ConvSpec
from sapwood.runtime.engine.twins import Around, twin

Values: TypeAlias = dict[Value, Tensor]
Ready: TypeAlias = Callable[[Values], None]
"""Adds to the values what a call makes."""


def _with_own_numbers(value: Any) -> Any:
    """A node or a convolution whose arrays are its own: those that were lowered may be weights that go on changing."""
    found = {field.name: getattr(value, field.name) for field in fields(value)}
    copies = {name: one.copy() for name, one in found.items() if isinstance(one, np.ndarray)}
    specs = {name: _with_own_numbers(one) for name, one in found.items() if isinstance(one, ConvSpec)}
    return replace(value, **copies, **specs)


def ready(node: Node, around: Around) -> Ready:
    """A node that PyTorch runs, ready to be run again and again.

    Raises:
        EngineError: If PyTorch has nothing of the kind.
    """
    if isinstance(node, Outside):
        return _outside(node)
    run = twin(_with_own_numbers(node), around)
    if run is None:
        raise EngineError(f"a {type(node).__name__} that PyTorch is to run; expected one that it has")
    out, reads = node.out, [(value, (-1, *around.sizes[value])) for value in node.inputs]
    if len(reads) == 1:
        ((only, form),) = reads

        def run_one(values: Values) -> None:
            values[out] = run(_as_map(values[only], form))

        return run_one

    def run_all(values: Values) -> None:
        values[out] = run(*(_as_map(values[value], form) for value, form in reads))

    return run_all


def _as_map(tensor: Tensor, form: tuple[int, ...]) -> Tensor:
    """What PyTorch made as it is read by a node of the engine's."""
    return tensor if tensor.dim() == 4 else tensor.reshape(form)


def _outside(call: Outside) -> Ready:
    run, outs, args, kwargs = _operator(call.op), call.outs, _filled(tuple(call.args)), _filled(dict(call.kwargs))

    def run_call(values: Values) -> None:
        found = run(*args(values), **kwargs(values))
        tensors = [found] if isinstance(found, Tensor) else [one for one in tree_leaves(found) if _is_tensor(one)]
        if len(tensors) != len(outs):
            raise EngineError(f"{call.op} returns {len(tensors)} tensors; expected {len(outs)}")
        for out, tensor in zip(outs, tensors, strict=True):
            values[out] = tensor

    return run_call


def _is_tensor(one: Any) -> bool:
    return isinstance(one, Tensor)


def _operator(op: torch._ops.OpOverload) -> Callable[..., Any]:
    """The operator. What it would change in place is left as it is: a new tensor takes its place."""
    if not op._schema.is_mutable:
        return op
    name = op._schema.name.removeprefix("aten::")
    packet = getattr(torch.ops.aten, name.removesuffix("_"), None) if name.endswith("_") else None
    pure = getattr(packet, op._overloadname, None)
    takes = [[(one.name, str(one.type)) for one in each._schema.arguments] for each in (op, pure) if each is not None]
    if pure is None or takes[0] != takes[1]:
        return lambda first, *rest, **named: op(first.clone(), *rest, **named)

    def run(first: Tensor, *rest: Any, **named: Any) -> Tensor:
        found: Tensor = pure(first, *rest, **named)
        return found if found.dtype is first.dtype else found.to(first.dtype)

    return run


def _filled(given: Any) -> Callable[[Values], Any]:
    """Arguments with what they read of the values in place; where they read nothing, always the same ones."""
    if isinstance(given, Read):
        value, shape = given.value, torch.Size(given.shape)

        def read(values: Values) -> Tensor:
            tensor = values[value]
            return tensor if tensor.shape == shape else tensor.reshape(shape)

        return read
    if isinstance(given, dict):
        named = {name: _filled(one) for name, one in given.items()}
        return lambda values: {name: one(values) for name, one in named.items()}
    if isinstance(given, tuple | list) and _reads(given):
        parts = [_filled(one) for one in given]
        return lambda values: [one(values) for one in parts]
    return lambda values: given


def _reads(given: Any) -> bool:
    return any(isinstance(one, Read) or (isinstance(one, tuple | list | dict) and _reads(one)) for one in _items(given))


def _items(given: Any) -> Iterable[Any]:
    return given.values() if isinstance(given, dict) else given
