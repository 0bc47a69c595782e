"""Functions that remember what they returned (``functools.lru_cache``): a run must not find another run's tensors."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

from torch import nn

from sapwood.models import all_modules

_Cache = functools._lru_cache_wrapper


@contextmanager
def remembering_nothing(model: nn.Module) -> Iterator[None]:
    """Within it, functions beside a model's classes start with nothing remembered; afterwards they hold nothing either.

    Positions that are worked out once for all runs would make the second run other calls than the first, and leave
    tensors of a run on other types, or without values, to the model that was given.

    Examples:
        >>> @functools.lru_cache
        ... def positions(size):
        ...     return list(range(size))
        >>> class Layer(nn.Module):
        ...     remembered = staticmethod(positions)
        >>> with remembering_nothing(Layer()):
        ...     _ = positions(3)
        >>> positions.cache_info().currsize
        0
    """
    caches = _caches(model)
    for cache in caches:
        cache.cache_clear()
    try:
        yield
    finally:
        for cache in caches:
            cache.cache_clear()


def _caches(model: nn.Module) -> list[_Cache[Any]]:
    """The caches that the code of a model's classes may read: in their bodies, and in the files where they stand."""
    kinds = set(map(type, all_modules(model)))
    classes = {base for kind in kinds for base in kind.__mro__ if not _is_torchs(base.__module__)}
    files = {own.__module__ for own in classes}
    places = [vars(own) for own in classes] + [vars(sys.modules[name]) for name in files if name in sys.modules]
    values = [value for place in places for value in list(place.values()) if type(value) in WRAPPERS]
    found = {id(cache): cache for value in values for cache in _inside(value)}
    return list(found.values())


WRAPPERS = frozenset({_Cache, FunctionType, classmethod, staticmethod})
"""Of what is remembered by, or may be wrapped around it."""


def _is_torchs(name: str) -> bool:
    return name == "builtins" or name.partition(".")[0] == "torch"


def _inside(value: Any) -> Iterator[_Cache[Any]]:
    """What ``value`` remembers by: itself, or the function around which it is wrapped."""
    value = getattr(value, "__func__", value) if isinstance(value, (classmethod, staticmethod)) else value
    if isinstance(value, _Cache):
        yield value
    elif isinstance(value, FunctionType) and hasattr(value, "__wrapped__"):
        yield from (held for cell in value.__closure__ or () for held in _held(cell) if isinstance(held, _Cache))


def _held(cell: Any) -> Iterator[Any]:
    try:
        yield cell.cell_contents
    except ValueError:  # not set yet
        return
