"""Tensors wherever users put them: dicts and what behaves like them, tuples with names, dataclasses, own classes."""

from __future__ import annotations

import copy
import functools
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, MutableMapping
from types import BuiltinFunctionType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

from torch import Tensor, nn

OPAQUE = (nn.Module, type, FunctionType, MethodType, BuiltinFunctionType, ModuleType, str, bytes)
"""What holds no tensors of a batch, or is none of ours to look into."""


def map_tensors(function: Callable[[Tensor], Any], value: Any) -> Any:
    """``value`` with each tensor in it replaced; what holds none is the same object as before.

    Args:
        function: From a tensor to what stands in its place.
        value: A tensor, or anything that holds some: dicts, mappings as ``UserDict``, lists, tuples, named ones too,
            dataclasses and objects of any other class with attributes. Nothing of it is changed.

    Returns:
        Containers of the same classes.

    Examples:
        >>> import torch
        >>> from collections import UserDict
        >>> batch = UserDict(image=torch.ones(2), sizes=[3])
        >>> map_tensors(torch.Tensor.double, batch)["image"].dtype, batch["image"].dtype
        (torch.float64, torch.float32)
    """
    return _mapped(function, value, set())


def _mapped(function: Callable[[Tensor], Any], value: Any, inside: set[int]) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    if value is None or isinstance(value, (bool, int, float, OPAQUE)) or id(value) in inside:
        return value
    inside.add(id(value))
    try:
        return _rebuilt(value, lambda item: _mapped(function, item, inside))
    finally:
        inside.discard(id(value))


def _rebuilt(value: Any, convert: Callable[[Any], Any]) -> Any:
    """A container with its items converted, or itself where no item is another one then."""
    if isinstance(value, MutableMapping):
        return _with_items(value, {key: convert(item) for key, item in value.items()})
    if isinstance(value, (tuple, list, set, frozenset, deque)):
        items = [convert(item) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*items)
        return type(value)(items)
    return _with_attributes(value, {name: convert(item) for name, item in attributes(value)})


def _with_items(value: Any, items: dict[Any, Any]) -> Any:
    if all(items[key] is value[key] for key in items):
        return value
    twin = copy.copy(value)
    for key, item in items.items():
        twin[key] = item
    return twin


def _with_attributes(value: Any, items: dict[str, Any]) -> Any:
    changed = {name: item for name, item in items.items() if item is not getattr(value, name)}
    if not changed:
        return value
    twin = copy.copy(value)
    for name, item in changed.items():
        object.__setattr__(twin, name, item)  # a frozen dataclass lets no other way
    return twin


def attributes(value: Any) -> Iterator[tuple[str, Any]]:
    """What an object holds by name, in its ``__dict__`` and in its slots."""
    yield from list(getattr(value, "__dict__", {}).items())
    yield from slotted(value)


def slotted(value: Any) -> Iterator[tuple[str, Any]]:
    """What an object holds in slots, by name.

    Examples:
        >>> class Scaled(nn.Module):
        ...     __slots__ = ("factor",)
        >>> layer = Scaled()
        >>> layer.factor = 2.0
        >>> list(slotted(layer))
        [('factor', 2.0)]
    """
    for own, slot, kind in _slots(type(value)):  # type: ignore[arg-type]
        try:
            yield own, slot.__get__(value, kind)
        except AttributeError:  # noqa: PERF203 - empty
            continue


@functools.lru_cache(maxsize=1 << 10)
def _slots(of: type) -> tuple[tuple[str, MemberDescriptorType, type], ...]:
    """The slots of a class: the name that each has there, itself, and the class that brought it."""
    found = []
    for kind in of.__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            own = f"_{kind.__name__.lstrip('_')}{name}" if name.startswith("__") and not name.endswith("__") else name
            slot = vars(kind).get(own)
            if isinstance(slot, MemberDescriptorType):
                found.append((own, slot, kind))
    return tuple(found)


def held(value: Any) -> Iterator[Any]:
    """Tensors and modules in ``value``, and all that holds them, each once; a module's own attributes are not entered.

    Examples:
        >>> [type(one).__name__ for one in held({"a": [nn.ReLU()]})]
        ['dict', 'list', 'ReLU']
    """
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or one is None or isinstance(one, CLOSED):
            continue
        seen.add(id(one))
        yield one
        if not isinstance(one, (Tensor, nn.Module)):
            waiting += reversed(list(_items(one)))


ATOMS = frozenset({type(None), bool, int, float, str})
PLAIN = frozenset({dict, OrderedDict, list, tuple, set})
CLOSED = (bool, int, float, str, bytes, type, ModuleType, logging.Logger)
"""What holds no tensor, or is nobody's own."""


def _items(value: Any) -> Iterator[Any]:
    if type(value) in {dict, list, tuple}:
        items = value.values() if type(value) is dict else value
        yield from [item for item in items if type(item) not in ATOMS and (type(item) not in PLAIN or item)]
        return
    if isinstance(value, FunctionType):
        yield from bound_values(value)
        return
    if isinstance(value, MethodType):
        yield value.__self__
        return
    if isinstance(value, MutableMapping):
        yield from list(value.values())
    elif isinstance(value, (tuple, list, set, frozenset, deque)):
        yield from list(value)
    yield from [item for _, item in attributes(value)]


def bound_values(function: FunctionType) -> Iterator[Any]:
    """What a function brings along: tensors and modules in its closure and its defaults, and plain lists of these.

    Other things that it closes over are shared with whoever made it, as the list is in which a hook collects.
    """
    yield from (value for value in _bound(function) if brings_layers(value))


def _bound(function: FunctionType) -> list[Any]:
    """All that a function closes over, and its defaults."""
    cells = [cell.cell_contents for cell in function.__closure__ or () if not _is_empty(cell)]
    return [*cells, *(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]


def brings_layers(value: Any) -> bool:
    """Whether what a function closes over belongs to the model: a tensor, a module or its method, modules in a list.

    Examples:
        >>> brings_layers(nn.ReLU().forward), brings_layers(len)
        (True, False)
    """
    return _brings_layers(value, set())


def _brings_layers(value: Any, seen: set[int]) -> bool:
    if isinstance(value, (tuple, list)):
        return any(isinstance(item, nn.Module) for item in value)
    if type(value) is dict:
        return any(isinstance(item, nn.Module) for item in value.values())
    if isinstance(value, MethodType):
        return isinstance(value.__self__, nn.Module)
    if isinstance(value, FunctionType):
        if id(value) in seen:  # it calls itself
            return False
        seen.add(id(value))
        return any(_brings_layers(one, seen) for one in _bound(value))
    return isinstance(value, (Tensor, nn.Module))


def _is_empty(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - the only way to ask
    except ValueError:
        return True
    return False
