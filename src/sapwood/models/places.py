"""Where a number stands in a module: an attribute, or one element of a list or tuple attribute."""

from __future__ import annotations

import dataclasses
import functools
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from sapwood.errors import ShapeError
from sapwood.models.containers import slotted
from sapwood.models.plan import AttributeEdit
from sapwood.models.walking import module_of

CONTAINERS = frozenset({list, tuple, torch.Size})
"""What may hold the values that a plan sets."""

TABLES = frozenset(vars(nn.Module())) | {"_compiled_call_impl", "_version"}
"""What every module keeps for PyTorch."""

BARE = (nn.Module, nn.Sequential, nn.ModuleList, nn.ModuleDict)
"""PyTorch's classes whose subclasses keep no number of PyTorch's own behind an underscore, but for the tables."""

PLAIN = "a number, a bool, None, a text, or a tuple of such"


@dataclass(frozen=True, order=True)
class AttributePlace:
    """An attribute of a module, or an element of it.

    Attributes:
        module: Name of the module.
        attribute: Name of the attribute; ``"config.hidden_size"`` is one of an object that the module keeps.
        position: Which element, or -1 for the attribute itself.
    """

    module: str
    attribute: str
    position: int = -1

    @staticmethod
    def of(edit: AttributeEdit) -> AttributePlace:
        """The place that an edit names.

        Raises:
            ShapeError: If it names none.
        """
        attribute, bracket, rest = edit.attribute.partition("[")
        if bracket and not (rest[-1:] == "]" and rest[:-1].isascii() and rest[:-1].isdigit()):
            raise ShapeError(f"the plan sets {edit.attribute!r} of {edit.module!r}; expected a name, or name[index]")
        return AttributePlace(edit.module, attribute, int(rest[:-1]) if bracket else -1)

    @property
    def text(self) -> str:
        """As an edit names it: ``"sizes[1]"``."""
        return self.attribute if self.position < 0 else f"{self.attribute}[{self.position}]"

    def get(self, model: nn.Module) -> Any:
        """The value there."""
        holder, name = self.holder(model)
        if isinstance(holder, dict):
            value: Any = holder[name]
        else:
            value = getattr(holder, name, None) if is_config(holder) else getattr(holder, name)
        value = value if self.position < 0 else value[self.position]
        return int(value) if _is_integer(value) else value

    def set(self, model: nn.Module, new: Any) -> None:
        """Puts ``new`` there; a list or tuple is replaced by a changed copy."""
        holder, name = self.holder(model)
        if self.position >= 0:
            whole = holder[name] if isinstance(holder, dict) else getattr(holder, name)
            items = list(whole)
            items[self.position] = new
            new = type(whole)(items)
        if not isinstance(holder, dict) or name in vars_of(holder):
            setattr(holder, name, new)
        if isinstance(holder, dict):
            holder[name] = new

    def holder(self, model: nn.Module) -> tuple[Any, str]:
        """What has the attribute, and its name there.

        Raises:
            ShapeError: If the attribute is one of a config, and the module has none.
        """
        holder: Any = module_of(model, self.module)
        *path, name = self.attribute.split(".")
        for part in path:
            holder = None if is_pytorchs(holder, part) else own_data(holder).get(part)
            if not holds_numbers(holder):
                raise ShapeError(f"the plan sets {self.text} of {self.module!r}; the model has no config there")
        return holder, name


def is_config(value: Any) -> bool:
    """Whether a value is a config of transformers, whose numbers a plan may set as it does a module's."""
    return any(kind.__name__ in {"PreTrainedConfig", "PretrainedConfig"} for kind in type(value).__mro__)


def own_data(holder: Any) -> Mapping[str, Any]:
    """What a module, or a config that it keeps, holds by name; its own class's data, which it may have for itself, too.

    Examples:
        >>> class Small:
        ...     width = 16
        >>> own_data(Small())
        {'width': 16}
    """
    if isinstance(holder, dict):
        return holder
    of_class = data_of_class(type(holder))
    return {**of_class, **vars_of(holder)} if of_class else vars_of(holder)


def vars_of(holder: Any) -> Mapping[str, Any]:
    """What an object holds by itself, by name: in slots, too."""
    own: dict[str, Any] = getattr(holder, "__dict__", {})
    slots = dict(slotted(holder))
    return {**own, **slots} if slots else own


def data_of_class(kind: type) -> dict[str, Any]:
    """Plain data that classes of users' own hold for all their objects, as ``width = 16`` in the body of a class."""
    return {
        name: value
        for base in _users_classes(kind)
        for name, value in vars(base).items()
        if not name.startswith("_") and type(value) is not str and value is not None and is_plain(value)
    }


@functools.lru_cache(maxsize=1 << 10)
def _users_classes(kind: type) -> tuple[type, ...]:
    """The classes of users' own that a class inherits from, the most general first; asked for at every attribute."""
    return tuple(base for base in reversed(kind.__mro__) if not _is_of_a_library(base))


def _is_of_a_library(kind: type) -> bool:
    """Whether a class is Python's or PyTorch's."""
    package = kind.__module__.partition(".")[0]
    return package in {"torch", "builtins"} or package in sys.stdlib_module_names


def holds_numbers(value: Any) -> bool:
    """Whether a value is a config whose numbers a plan may set.

    One of transformers, a dataclass, a namespace, a dict, or an object of a class of users' own that holds nothing but
    plain data. One that is frozen was made not to change.

    Examples:
        >>> from types import MappingProxyType, SimpleNamespace
        >>> holds_numbers(SimpleNamespace(heads=4)), holds_numbers({"heads": 4})
        (True, True)
        >>> holds_numbers(MappingProxyType({"heads": 4}))
        False
    """
    if isinstance(value, dict):
        known = type(value) is dict or not _is_of_a_library(type(value))
        return known and all(isinstance(key, str) for key in value)
    if isinstance(value, (type, nn.Module)) or is_plain(value):
        return False
    if dataclasses.is_dataclass(value):
        kind: Any = type(value)
        return not kind.__dataclass_params__.frozen
    if type(value) in {SimpleNamespace, Namespace} or is_config(value):
        return True
    own = () if _is_of_a_library(type(value)) else vars_of(value).values()
    return not _is_of_a_library(type(value)) and all(is_plain(item) or holds_numbers(item) for item in own)


def is_pytorchs(holder: Any, name: str) -> bool:
    """Whether an attribute is none of the network's own code: a table of PyTorch's, or private to a layer or a config.

    Examples:
        >>> class Codes(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self._width = 8
        >>> is_pytorchs(Codes(), "_width"), is_pytorchs(Codes(), "_parameters")
        (False, True)
        >>> is_pytorchs(nn.Conv2d(1, 1, 3), "_reversed_padding_repeated_twice")
        True
    """
    if name in TABLES or name.startswith("__"):
        return True
    if not name.startswith("_"):
        return False
    kinds = type(holder).__mro__ if isinstance(holder, nn.Module) else ()
    return not kinds or any(kind.__module__.partition(".")[0] == "torch" and kind not in BARE for kind in kinds)


def is_plain(value: Any) -> bool:
    """Whether a value is one that a plan may set: a number, a bool, None, a text, or a tuple or list of such."""
    if type(value) in CONTAINERS:
        return all(map(is_plain, value))
    return value is None or isinstance(value, (str, Real))


def set_checked_(model: nn.Module, edit: AttributeEdit) -> None:
    """Does what an edit says, where the model holds what the edit says it holds.

    Only what a module, or its class, keeps as plain data is set: no method, hook, table of parameters, property or
    ``training``.

    Raises:
        ShapeError: If there is no such data, it is not plain, or is not the edit's ``before``.
    """
    place = AttributePlace.of(edit)
    found = _data(model, place)
    if not is_plain(edit.after):
        raise ShapeError(f"{_sets(edit)} to a {type(edit.after).__name__}; expected {PLAIN}")
    if not _same(found, edit.before):
        raise ShapeError(f"{_sets(edit)} from {edit.before!r} to {edit.after!r}; the model has {found!r} there")
    place.set(model, edit.after)


def _data(model: nn.Module, place: AttributePlace) -> Any:
    """The plain value at a place."""
    where = f"{place.text} of {place.module!r}"
    try:
        holder, name = place.holder(model)
    except AttributeError:
        raise ShapeError(f"the plan sets {where}; the model has no such module") from None
    own = own_data(holder)
    if name not in own and isinstance(getattr(type(holder), name, None), functools.cached_property):
        own = {**own, name: getattr(holder, name)}  # known once it was asked for, as when the plan was made
    if name not in own and not is_config(holder):
        raise ShapeError(f"the plan sets {where}; the model has none that it keeps as data")
    if is_pytorchs(holder, name):
        raise ShapeError(f"the plan sets {where}, which is PyTorch's own; expected a width")
    value: Any = own.get(name)
    if place.position >= 0 and (type(value) not in CONTAINERS or place.position >= len(value)):
        raise ShapeError(f"the plan sets {where}; the model has a {type(value).__name__} without it")
    value = value if place.position < 0 else value[place.position]
    if not is_plain(value):
        raise ShapeError(f"the plan sets {where}, which is a {type(value).__name__}; expected {PLAIN}")
    return value


def _sets(edit: AttributeEdit) -> str:
    return f"the plan sets {edit.attribute} of {edit.module!r}"


def _same(one: Any, other: Any) -> bool:
    """Whether two plain values are the same, in kind as well: 1 is not True, and a list is no tuple."""
    if type(one) in CONTAINERS:
        return type(one) is type(other) and len(one) == len(other) and all(map(_same, one, other))
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)


def integers(name: str, module: nn.Module) -> Iterator[tuple[AttributePlace, int]]:
    """Every integer attribute of a module that can be set, lists and tuples of integers included."""
    for attribute, value in list(own_data(module).items()):
        if is_pytorchs(module, attribute) or not can_be_set(module, attribute, value):
            continue
        for position, number in numbered(value):
            yield AttributePlace(name, attribute, position), number


def numbered(value: Any) -> Iterator[tuple[int, int]]:
    """The integers of an attribute, each with its position in a list or tuple, or with -1.

    Examples:
        >>> list(numbered(8)), list(numbered([16, "M", 32])), list(numbered(True))
        ([(-1, 8)], [(0, 16), (2, 32)], [])
    """
    if _is_integer(value):
        yield -1, int(value)
    elif type(value) in CONTAINERS:
        yield from ((position, int(item)) for position, item in enumerate(value) if _is_integer(item))


def _is_integer(value: Any) -> bool:
    """Whether a value is an integer of whatever class, as of NumPy or an enumeration's, and no bool."""
    return type(value) is int or (isinstance(value, Integral) and not isinstance(value, bool))


def can_be_set(holder: Any, attribute: str, value: Any) -> bool:
    """Whether a module or a config lets an attribute be set: some classes of users' own let none be."""
    kind: Any = type(holder)
    if isinstance(holder, dict) or kind.__setattr__ in {nn.Module.__setattr__, object.__setattr__}:
        return True
    try:
        setattr(holder, attribute, value)
    except Exception:  # whatever a class says that is not to be changed
        return False
    return True
