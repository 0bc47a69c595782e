"""What was typed, for pages and records; a step of a recipe has its own command."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sapwood.report import MadeBy

BESIDE = ("torchvision", "onnx", "onnxruntime", "openvino")
"""Packages whose versions a figure may depend on, beside PyTorch's."""

_GIVEN: ContextVar[tuple[str, ...] | None] = ContextVar("given", default=None)
_STEP: ContextVar[tuple[str, ...] | None] = ContextVar("step", default=None)


@contextmanager
def as_command(arguments: Sequence[str]) -> Iterator[None]:
    """Inside, these are the arguments of the command, whatever the process was started with."""
    token = _GIVEN.set(tuple(arguments))
    try:
        yield
    finally:
        _GIVEN.reset(token)


def given() -> tuple[str, ...]:
    """The arguments of the command; of the process, where none runs.

    Examples:
        >>> with as_command(["run", "recipe.yaml"]), as_step(["eval", "small"]):
        ...     given()
        ('run', 'recipe.yaml')
    """
    command = _GIVEN.get()
    return tuple(sys.argv[1:]) if command is None else command


@contextmanager
def as_step(arguments: Sequence[str]) -> Iterator[None]:
    """Inside, these are the arguments of what runs: a step of the command."""
    token = _STEP.set(tuple(arguments))
    try:
        yield
    finally:
        _STEP.reset(token)


def typed() -> str:
    """The command, as one would type it again.

    Examples:
        >>> with as_step(["inspect", "my net.cfg"]):
        ...     typed()
        "sapwood inspect 'my net.cfg'"
    """
    step = _STEP.get()
    return shlex.join(["sapwood", *(given() if step is None else step)])


def again(*more: str) -> str:
    """The command, as one would type it again, with what is to be added to it.

    Examples:
        >>> with as_step(["prune", "my net.cfg", "--macs", "0.5"]):
        ...     again("-o", "small")
        "sapwood prune 'my net.cfg' --macs 0.5 -o small"
    """
    return shlex.join([*shlex.split(typed()), *more])


def made(then: Sequence[str] = ()) -> MadeBy:
    """By what command, when and where a record is made: now, here; and the commands that may come next."""
    from datetime import datetime
    from importlib.metadata import PackageNotFoundError, version

    import sapwood
    from sapwood.measure import machine
    from sapwood.report import MadeBy

    def installed(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return ""

    versions = {name: installed(name) for name in BESIDE}
    return MadeBy(
        command=typed(),
        date=datetime.now().astimezone().isoformat(timespec="seconds"),
        sapwood=sapwood.__version__,
        versions={name: text for name, text in versions.items() if text},
        machine=machine(),
        then=tuple(then),
    )
