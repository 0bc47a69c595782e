"""Which numbers of a config stay so that the others say what a plan makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from sapwood.removal import UnsaidError

FoundT = TypeVar("FoundT")

Attempt = Callable[[Mapping[str, str]], FoundT]


def said_by_config(attempt: Attempt[FoundT]) -> FoundT:
    """Attempts with one number of the config after the other held, where what it builds is something else.

    Args:
        attempt: Prunes with some numbers held, each with the reason.

    Raises:
        UnsaidError: If numbers are in the way that were held already, or none that is known.
    """
    held: dict[str, str] = {}
    while True:
        found = _tried(attempt, held)
        if not isinstance(found, UnsaidError):
            return found
        told, waiting = found, [name for name in found.numbers if name not in held]
        if not waiting:
            raise told
        for name in waiting[:-1]:
            found = _tried(attempt, {**held, name: told.reason})
            if not isinstance(found, UnsaidError):
                return found
        held[waiting[-1]] = told.reason


def _tried(attempt: Attempt[FoundT], held: Mapping[str, str]) -> FoundT | UnsaidError:
    try:
        return attempt(held)
    except UnsaidError as error:
        return error
