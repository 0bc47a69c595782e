"""Functions that remember what they returned (``functools.lru_cache``): a run must not find another run's tensors."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import FunctionType
from typing import Any

from torch import nn

from sapwood.models import all_modules

_Cache = functools._lru_cache_wrapper


@contextmanager
def remembering_nothing(model: nn.Module) -> Iterator[None]:
    """Within it, functions beside a model's classes start with nothing remembered; afterwards they hold nothing either.

    Nor do those of other files that these call, if they were called with anything new.

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
    near, far = _caches(model)
    before = [cache.cache_info().misses for cache in far]
    for cache in near:
        cache.cache_clear()
    try:
        yield
    finally:
        for cache in near:
            cache.cache_clear()
        for cache, misses in zip(far, before, strict=True):
            if cache.cache_info().misses != misses:
                cache.cache_clear()


def _caches(model: nn.Module) -> tuple[list[_Cache[Any]], list[_Cache[Any]]]:
    """The caches that the code of a model's classes may read.

    Near ones are in the classes' bodies, in what their methods close over, and in the files where they stand; far ones
    in the files from which these have functions, which remember much that has nothing to do with tensors.
    """
    kinds = set(map(type, all_modules(model)))
    classes = {base for kind in kinds for base in kind.__mro__ if not _is_torchs(base.__module__)}
    bodies = _wrappers(map(vars, classes))
    files = {own.__module__ for own in classes}
    beside = _wrappers(vars(sys.modules[name]) for name in files if name in sys.modules)
    others = {value.__module__ for value in beside if isinstance(value, FunctionType)} - files
    further = _wrappers(vars(sys.modules[name]) for name in others if name in sys.modules and not _is_torchs(name))
    near = _each_once(cache for value in (*bodies, *beside) for cache in _inside(value))
    near |= _each_once(held for value in bodies for held in _closed_over(value) if isinstance(held, _Cache))
    far = _each_once(cache for value in further for cache in _inside(value))
    return list(near.values()), [cache for number, cache in far.items() if number not in near]


def _each_once(caches: Iterable[_Cache[Any]]) -> dict[int, _Cache[Any]]:
    return {id(cache): cache for cache in caches}


def _wrappers(places: Iterable[Mapping[str, Any]]) -> list[Any]:
    return [value for place in places for value in list(place.values()) if type(value) in WRAPPERS]


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
        yield from (held for held in _closed_over(value) if isinstance(held, _Cache))


def _closed_over(value: Any) -> Iterator[Any]:
    """What a function has of the one in which it was made."""
    own = getattr(value, "__func__", value)
    for cell in (isinstance(own, FunctionType) and own.__closure__) or ():
        yield from _held(cell)


def _held(cell: Any) -> Iterator[Any]:
    try:
        yield cell.cell_contents
    except ValueError:  # not set yet
        return
