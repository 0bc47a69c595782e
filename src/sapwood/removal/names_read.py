"""The names that a module's forward mentions, as its code tells: what it reads is known to be right as it is."""

from __future__ import annotations

from collections.abc import Iterator
from types import CodeType, FunctionType, MethodType
from typing import Any

from torch import nn


def names_read(module: nn.Module) -> frozenset[str]:
    """Names of attributes in the code of a module's ``forward``, of methods that it names, and of functions inside.

    Examples:
        >>> class Layer(nn.Module):
        ...     def forward(self, x):
        ...         return self.heads * self.inner(x)
        ...     def inner(self, x):
        ...         return x - self.shift
        >>> sorted(names_read(Layer()) & {"heads", "shift", "width"})
        ['heads', 'shift']
    """
    found: set[str] = set()
    waiting = ["forward"]
    while waiting:
        code = _code(_found(module, waiting.pop()))
        for name in () if code is None else _names(code):
            if name not in found:
                found.add(name)
                waiting.append(name)
    return frozenset(found)


def _found(module: nn.Module, name: str) -> Any:
    """What stands behind a name: a function among the module's attributes, or of its class."""
    own = vars(module).get(name)
    if own is not None:
        return own
    for kind in type(module).__mro__:
        if name in vars(kind):
            return None if kind.__module__.startswith("torch.") and name != "forward" else vars(kind)[name]
    return None


def _code(value: Any) -> CodeType | None:
    if isinstance(value, property):
        value = value.fget
    if isinstance(value, MethodType):
        value = value.__func__
    while isinstance(getattr(value, "__wrapped__", None), FunctionType):
        value = value.__wrapped__
    return value.__code__ if isinstance(value, FunctionType) else None


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
