"""Functions that remember what they returned (``functools.lru_cache``): a run must not find another run's tensors."""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any, TypeAlias

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
    found = _caches(frozenset(map(type, all_modules(model))))
    near, far = found.near, found.far
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


@dataclass(frozen=True)
class _Caches:
    """The caches that code may read.

    Attributes:
        near: In the bodies of the model's classes, in what their methods close over, in the files where they stand.
        far: In the files from which these have functions, which remember much that has nothing to do with tensors.
        places: Where they were looked for, each with the identities of what was there; of far ones how many there were.
    """

    near: Sequence[_Cache[Any]]
    far: Sequence[_Cache[Any]]
    places: Sequence[tuple[Mapping[str, Any], list[int]]]
    far_places: Sequence[tuple[Mapping[str, Any], int]]

    @property
    def are_all(self) -> bool:
        """Whether nothing was added or defined anew since, as in a notebook, or by code that imports when it runs."""
        return all(len(place) == before for place, before in self.far_places) and all(
            list(map(id, place.values())) == before for place, before in self.places
        )


def _caches(kinds: frozenset[type]) -> _Caches:
    """The caches that the code of a model's classes may read; a plan asks once for each run."""
    looked_before = _looked_for.cache_info().misses
    found = _looked_for(kinds)
    if _looked_for.cache_info().misses == looked_before and not found.are_all:
        _looked_for.cache_clear()
        found = _looked_for(kinds)
    return found


@functools.lru_cache(maxsize=8)
def _looked_for(kinds: frozenset[type]) -> _Caches:
    classes = {base for kind in kinds for base in kind.__mro__ if not _is_torchs(base.__module__)}
    files = {own.__module__ for own in classes}
    own_places = [(place, _wrappers(place)) for place in map(vars, classes)]
    near_places = _of_files(files)
    bodies, beside = _together(own_places), _together(near_places)
    others = {value.__module__ for value in beside if isinstance(value, FunctionType)} - files
    far_places = _of_files(name for name in others if not _is_torchs(name))
    near = _each_once(cache for value in (*bodies, *beside) for cache in _inside(value))
    near |= _each_once(held for value in bodies for held in _closed_over(value) if isinstance(held, _Cache))
    far = _each_once(cache for value in _together(far_places) for cache in _inside(value))
    return _Caches(
        list(near.values()),
        [cache for number, cache in far.items() if number not in near],
        [(place, list(map(id, place.values()))) for place, _ in (*own_places, *near_places)],
        [(place, len(place)) for place, _ in far_places],
    )


Place: TypeAlias = "tuple[Mapping[str, Any], list[Any]]"
"""The body of a class or a file, and what is there of :data:`WRAPPERS`."""


def _of_files(names: Iterable[str | None]) -> list[Place]:
    return [(vars(sys.modules[name]), _wrappers(vars(sys.modules[name]))) for name in names if name in sys.modules]


def _together(places: Iterable[Place]) -> list[Any]:
    return [value for _, found in places for value in found]


def _each_once(caches: Iterable[_Cache[Any]]) -> dict[int, _Cache[Any]]:
    return {id(cache): cache for cache in caches}


def _wrappers(place: Mapping[str, Any]) -> list[Any]:
    values = list(place.values())
    return list(itertools.compress(values, map(WRAPPERS.__contains__, map(type, values))))


WRAPPERS = frozenset({_Cache, FunctionType, classmethod, staticmethod})
"""Of what is remembered by, or may be wrapped around it."""


def _is_torchs(name: str | None) -> bool:
    """Whether a file is Python's or PyTorch's; code that was made by ``exec`` has none."""
    return name is not None and (name == "builtins" or name.partition(".")[0] == "torch")


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
