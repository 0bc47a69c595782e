"""Ctrl-C: a command that is interrupted says where it stopped, what is left of it, and how to go on."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from sapwood.cli.commanded import given
from sapwood.cli.output import complain

INTERRUPTED = 130
"""The exit code."""

_TOLD: ContextVar[bool] = ContextVar("told", default=False)


class Interrupted(KeyboardInterrupt):
    """An interruption of which more is known; its text is a sentence."""


@contextmanager
def saying(where: Callable[[], str]) -> Iterator[None]:
    """Adds to an interruption inside what ``where`` says of it then; what is further inside knows more."""
    try:
        yield
    except Interrupted:
        raise
    except KeyboardInterrupt:
        raise Interrupted(where()) from None


@contextmanager
def untold() -> Iterator[None]:
    """Inside, a command runs of which no interruption has been told."""
    token = _TOLD.set(False)
    try:
        yield
    finally:
        _TOLD.reset(token)


def tell_interruption(stop: BaseException | None = None) -> int:
    """Tells of an interruption, once a command: typer ends some of them by an exit code alone.

    Args:
        stop: What ended it; what is known of where it stopped is its text.

    Returns:
        The exit code.
    """
    if not _TOLD.get():
        _TOLD.set(True)
        complain(f"interrupted: {(stop is not None and str(stop)) or anew()}", INTERRUPTED)
    return INTERRUPTED


def anew() -> str:
    """What is to be said where nothing more is known: whatever stood at ``-o`` is there still."""
    return f"before anything new was written; start again with: {same_command()}"


def same_command(*more: str) -> str:
    """The command that was given, with what is to be added to it."""
    before = given()
    return shlex.join(["sapwood", *before, *(one for one in more if one not in before)])
