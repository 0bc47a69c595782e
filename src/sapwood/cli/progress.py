"""Bars on standard error: from the first second, with the time left once it is known, and lines above them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from sapwood.cli.volume import LOG, is_quiet

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
    def __init__(self, drawn: Progress, description: str, *, silent: bool) -> None:
        self._drawn, self._silent = drawn, silent
        self._task = drawn.add_task(description, total=None, known="", left="")

    def __call__(self, done: int, total: int) -> None:
        self._drawn.update(self._task, completed=done, total=total, known=f"{done}/{total}", left="left")

    def line(self, text: str) -> None:
        if not self._silent:
            self._drawn.console.print(text, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def progress_bar(description: str, *, quiet: bool = False) -> Iterator[ProgressBar]:
    """Yields a callback ``(done, total)`` that draws a bar with the time left on standard error.

    Args:
        description: What is done.
        quiet: Whether nothing is drawn, and no line printed.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[known]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        TimeRemainingColumn(),
    )
    silent = quiet or is_quiet()
    console = Console(stderr=True)
    start = time.perf_counter()
    LOG.info("%s ...", description)
    with Progress(*columns, console=console, disable=silent or not sys.stderr.isatty()) as drawn:
        yield _DrawnBar(drawn, description, silent=silent)
    LOG.info("%s: %.1f s", description, time.perf_counter() - start)


@contextmanager
def doing(description: str) -> Iterator[None]:
    """Says on a terminal what is being done that nobody can tell the length of."""
    start = time.perf_counter()
    LOG.info("%s ...", description)
    if is_quiet() or not sys.stderr.isatty():
        yield
    else:
        from rich.console import Console

        with Console(stderr=True).status(description):
            yield
    LOG.info("%s: %.1f s", description, time.perf_counter() - start)
