"""One progress bar over work of several kinds."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]

TIMINGS = 3
"""How often all cases are timed: in PyTorch, on the sparse engine, and where one would deploy them."""


class Steps:
    """Adds up a comparison's work in passes of one picture: reading the data set, every case, every round of timing.

    Args:
        progress: Called with (done, total); nothing is told if None.
        num_images: Of the data set.
        num_cases: The baseline counts.
        latency_rounds: In each of them every case runs once.
        agreeing: Pictures on which the cases are compared with the baseline.
    """

    def __init__(
        self, progress: Progress | None, num_images: int, num_cases: int, latency_rounds: int, agreeing: int = 0
    ) -> None:
        self._progress = progress
        self._agreeing = agreeing * num_cases
        self._num_images = num_images
        self._timing = latency_rounds * num_cases
        self._start = 0
        self._total = num_images * (num_cases + 1) + self._agreeing + TIMINGS * self._timing

    def images(self, done: int, total: int) -> None:
        """Tells how many of the data set's pictures the case under way has seen."""
        del total
        self._tell(self._start + done)

    def next_case(self) -> None:
        """Goes on to the next case, whether or not the last one saw every picture."""
        self._start += self._num_images
        self._tell(self._start)

    def next_figure(self) -> None:
        """Goes on from the comparison with the baseline's findings."""
        self._start += self._agreeing
        self._tell(self._start)

    def rounds(self, done: int, total: int) -> None:
        """Tells how much of the timing under way is done."""
        self._tell(self._start + self._timing * done // max(total, 1))

    def next_timing(self) -> None:
        """Goes on to the next timing of all cases."""
        self._start += self._timing
        self._tell(self._start)

    def finish(self) -> None:
        """Tells that all is done."""
        self._tell(self._total)

    def _tell(self, done: int) -> None:
        if self._progress is not None:
            self._progress(min(done, self._total), self._total)
