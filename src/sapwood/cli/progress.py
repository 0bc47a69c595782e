"""Bars on standard error, with the time left once it is known, and lines above them; in logs a line every so often."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from sapwood.cli.logged import LoggedStage
from sapwood.cli.volume import LOG, is_quiet, is_verbose

if TYPE_CHECKING:
    from rich.progress import Progress


class ProgressBar(Protocol):
    """A bar: called with what is done and what there is in all."""

    def __call__(self, done: int, total: int, /) -> None:
        """Draws."""
        ...

    def line(self, text: str) -> None:
        """Prints a line above the bar; where there is no terminal, too."""
        ...


class _DrawnBar:
    def __init__(self, drawn: Progress, description: str) -> None:
        self._drawn = drawn
        self._task = drawn.add_task(description, total=None, known="", left="")

    def __call__(self, done: int, total: int) -> None:
        self._drawn.update(self._task, completed=done, total=total, known=f"{done}/{total}", left="left")

    def line(self, text: str) -> None:
        self._drawn.console.print(text, highlight=False, markup=False, soft_wrap=True)


class _LoggedBar:
    def __init__(self, stage: LoggedStage) -> None:
        self._stage = stage

    def __call__(self, done: int, total: int) -> None:
        self._stage(done, total)

    def line(self, text: str) -> None:
        self._stage.heard()
        _say(text)


class _SilentBar:
    def __call__(self, done: int, total: int) -> None:
        """Draws nothing."""

    def line(self, text: str) -> None:
        """Prints nothing."""


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _logged(description: str) -> LoggedStage:
    return LoggedStage(description, _say, summed=not is_verbose())


@contextmanager
def progress_bar(description: str, *, quiet: bool = False) -> Iterator[ProgressBar]:
    """Yields a callback ``(done, total)`` that draws a bar with the time left on standard error.

    Where that is no terminal, a stage that takes long is a line every so often.

    Args:
        description: What is done.
        quiet: Whether nothing is drawn, and no line printed.
    """
    start = time.perf_counter()
    LOG.info("%s ...", description)
    if quiet or is_quiet():
        yield _SilentBar()
    elif sys.stderr.isatty():
        with _drawing() as drawn:
            yield _DrawnBar(drawn, description)
    else:
        with _logged(description) as stage:
            yield _LoggedBar(stage)
    LOG.info("%s: %.1f s", description, time.perf_counter() - start)


def _drawing() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[known]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


@contextmanager
def doing(description: str) -> Iterator[None]:
    """Says on a terminal what is being done that nobody can tell the length of; in logs where it takes long."""
    start = time.perf_counter()
    LOG.info("%s ...", description)
    if is_quiet():
        yield
    elif sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True).status(description):
            yield
    else:
        with _logged(description):
            yield
    LOG.info("%s: %.1f s", description, time.perf_counter() - start)
