"""Linear axes with round ticks."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """A linear axis from ``low`` to ``high``.

    Attributes:
        low: Value at 0 %.
        high: Value at 100 %.
        ticks: Values that carry a label.
        decimals: How many the labels need.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    decimals: int

    def place(self, value: float) -> float:
        """Returns where ``value`` stands, in percent, kept inside the axis."""
        share = (value - self.low) / (self.high - self.low)
        return round(100.0 * min(1.0, max(0.0, share)), 3)

    def label(self, value: float) -> str:
        """Returns the text of a tick."""
        return f"{value:.{self.decimals}f}"


def axis_from_zero(highest: float, *, num_ticks: int = 5) -> Axis:
    """Returns an axis from 0 to a round number at or above ``highest``.

    Examples:
        >>> axis_from_zero(0.285).ticks
        (0.0, 0.1, 0.2, 0.3)
        >>> axis_from_zero(1.07).ticks
        (0.0, 0.5, 1.0, 1.5)
        >>> axis_from_zero(0.0).ticks
        (0.0, 1.0)
    """
    if not highest > 0.0:
        return Axis(0.0, 1.0, (0.0, 1.0), 0)
    step = _round_step(highest / num_ticks)
    steps = math.ceil(highest / step - 1e-9)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    ticks = tuple(round(index * step, 10) for index in range(steps + 1))
    return Axis(0.0, ticks[-1], ticks, decimals)


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below ``least``."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= least * (1 - 1e-9))
