"""Times of a process's own, of a busy machine: a call that is interrupted by other work does not count that work."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

WARM_UP = 20


def processor_times(calls: Mapping[str, Callable[[], object]], rounds: int = 300) -> dict[str, dict[str, float]]:
    """Every call in every round, on one thread.

    Args:
        calls: By name; the first is the one that others are compared with.
        rounds: To time, after :data:`WARM_UP`.

    Returns:
        By name: the median in milliseconds, and the ratio to the first one with its quartiles, of the rounds.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(WARM_UP + rounds):
        for name, call in calls.items():
            start = time.process_time_ns()
            call()
            if number >= WARM_UP:
                times[name].append((time.process_time_ns() - start) / 1e6)
    first = next(iter(times.values()))
    found = {}
    for name, own in times.items():
        ratios = [one / other for one, other in zip(own, first, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        found[name] = {"ms": statistics.median(own), "ratio": middle, "q1": low, "q3": high}
    return found
