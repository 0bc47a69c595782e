"""Latencies that are times: what a user writes for them, and what the clock's figures are to such a goal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sapwood.errors import ConfigError
from sapwood.goals.approach import distance, is_met
from sapwood.meant import meant_latency
from sapwood.measure import LatencyRow

EXPECTED = "the fraction kept, a number in (0, 1], or a time with its unit, as 10ms"

UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
"""Milliseconds that each is."""

TIME = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*(us|ms|s)\s*", re.ASCII)


def milliseconds(text: str) -> float:
    """Reads a time.

    Raises:
        ConfigError: If it is none; says what was expected.

    Examples:
        >>> milliseconds("10ms"), milliseconds("0.25 s"), milliseconds("800us")
        (10.0, 250.0, 0.8)
        >>> milliseconds("10")
        Traceback (most recent call last):
        ...
        sapwood.errors.ConfigError: latency '10'; expected the fraction kept, a number in (0, 1], or a time with its \
unit, as 10ms; did you mean 0.1 or 10ms?
    """
    found = TIME.fullmatch(text)
    if found is None or not 0.0 < float(found[1]) < float("inf"):
        raise ConfigError(f"latency {text!r}; expected {EXPECTED}{meant_latency(text)}")
    return float(found[1]) * UNITS[found[2]]


def latency_of(text: str) -> float | str:
    """What was written for a latency: a fraction, or else the text of a time, which is looked at later.

    Examples:
        >>> latency_of("0.5"), latency_of("10ms")
        (0.5, '10ms')
    """
    try:
        return float(text)
    except ValueError:
        return text


@dataclass(frozen=True)
class Aim:
    """What the clock is to show of a network, and how near it is.

    Attributes:
        ratio: To the dense network's time.
        dense_ms: Where a time was asked for: what the dense network took, so that ratios are of times to this one, and
            not of rounds.
        tolerance: How far the ratio may be off, as a fraction of it.
        at_most: Whether any faster network will do.
    """

    ratio: float
    dense_ms: float | None = None
    tolerance: float = 0.0
    at_most: bool = False

    def shown(self, row: LatencyRow) -> tuple[float, float, float]:
        """Lower quartile, median and upper quartile of the ratio that the clock shows."""
        if self.dense_ms is None:
            return row.ratio_q1, row.ratio, row.ratio_q3
        return row.q1_ms / self.dense_ms, row.median_ms / self.dense_ms, row.q3_ms / self.dense_ms

    def distance(self, row: LatencyRow) -> float:
        """How far a network is from it."""
        return distance(self.shown(row)[1], self.ratio)

    def is_met(self, shown: Sequence[float]) -> bool:
        """Whether what the clock shows is near enough; see :func:`sapwood.goals.approach.is_met`."""
        low, middle, high = shown
        return is_met(middle, self.ratio, quartiles=(low, high), tolerance=self.tolerance, at_most=self.at_most)
