"""Progress in logs: where no terminal draws a bar, a stage that takes long says every so often how far it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

FIRST = 10.0
"""Seconds before a stage's first line: short ones need none. Each later wait is twice as long as the one before."""
LONGEST = 120.0
"""Seconds between two lines, at most."""


class LoggedStage:
    """Says how far a stage is, from a thread of its own, so that what reports nothing for long is named as well.

    Args:
        description: What is done.
        say: Takes a line.
        summed: Whether the end of a stage that has said something is a line, too.
    """

    def __init__(self, description: str, say: Callable[[str], None], *, summed: bool = True) -> None:
        self._description, self._say, self._summed = description, say, summed
        self._start = self._heard = time.monotonic()
        self._begun: tuple[float, int] | None = None
        """When the first progress was reported, and how much was done by then: a resumed run begins in the middle."""
        self._now: tuple[int, int] | None = None
        self._spoke = False
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"sapwood: {description}", daemon=True)

    def __enter__(self) -> LoggedStage:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end(done=kind is None)
        self._thread.join()

    def __call__(self, done: int, total: int) -> None:
        """Notes what is done, and what there is in all; the last of it ends the stage."""
        with self._lock:
            if self._begun is None or done < self._begun[1]:
                self._begun = time.monotonic(), done
            self._now = done, total
        if done >= total:
            self._end(done=True)

    def heard(self) -> None:
        """Notes that a line was printed by somebody else: the next one is due later."""
        self._heard = time.monotonic()

    def _watch(self) -> None:
        wait = FIRST
        while not self._over.wait(max(0.01, self._heard + wait - time.monotonic())):
            if time.monotonic() - self._heard >= wait:
                self._tell()
                wait = min(2 * wait, LONGEST)

    def _end(self, *, done: bool) -> None:
        with self._lock:
            first = not self._over.is_set()
            self._over.set()
        if first and done and self._spoke and self._summed:
            self._tell()

    def _tell(self) -> None:
        with self._lock:
            now = time.monotonic()
            left = None if self._begun is None or self._now is None else _left(*self._begun, *self._now, now)
            text = stage_line(self._description, self._now, now - self._start, left)
            self._spoke, self._heard = True, now
        self._say(text)


def _left(since: float, at_first: int, done: int, total: int, now: float) -> float | None:
    """Seconds that are left if all goes on as it went; None before anything can be said of it."""
    if done <= at_first or done >= total:
        return None
    return (now - since) / (done - at_first) * (total - done)


def stage_line(
    description: str,
    done: tuple[int, int] | None,
    seconds: float,
    left_seconds: float | None,
) -> str:
    """Writes how far a stage is.

    Examples:
        >>> stage_line("reconstructing", (6, 21), 65.2, 163.0)
        'reconstructing: 6 of 21, 1 min 5 s, about 2 min 43 s left'
        >>> stage_line("reading pictures", None, 10.0, None)
        'reading pictures: 10 s'
    """
    far = "" if done is None else f"{done[0]} of {done[1]}, "
    left = "" if left_seconds is None else f", about {_duration(left_seconds)} left"
    return f"{description}: {far}{_duration(seconds)}{left}"


def _duration(seconds: float) -> str:
    """Writes hours and minutes, or minutes and seconds, or seconds.

    Examples:
        >>> [_duration(seconds) for seconds in (9.6, 65, 7260)]
        ['10 s', '1 min 5 s', '2 h 1 min']
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
