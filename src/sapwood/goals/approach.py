"""How a search comes closer to a measured ratio: what to ask for next, after what was asked for and measured before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MET_WITHIN = 0.05
"""How far the measured ratio may be from the target, as a fraction of it."""

CLOSE_ENOUGH = 0.02
"""When to stop trying: closer than this the clock's own spread decides."""

TELLING = 1.5
"""Quartiles that are farther apart than this factor say that the machine is busy, and nothing of the network."""

LOWEST = 1e-6
"""A fraction of the cost that no network reaches."""

NUDGE = 1.01
MAX_NUDGES = 12
"""How much more is asked for, and how often, when the solver answers with a network that was measured already."""


@dataclass(frozen=True)
class Reached:
    """A network that was measured: what the fitted times say of it, and the clock, as ratios to the dense one."""

    predicted: float
    measured: float


def is_met(
    ratio: float,
    target: float,
    *,
    quartiles: tuple[float, float] | None = None,
    tolerance: float = MET_WITHIN,
    at_most: bool = False,
) -> bool:
    """Whether a measured ratio reaches the target.

    Args:
        ratio: What was measured.
        target: What was asked for.
        quartiles: Of the measurement: a target between them is met, for the clock cannot tell that it is missed; see
            :func:`is_between`.
        tolerance: How far the ratio may be from the target, as a fraction of it.
        at_most: Whether any faster network will do.

    Examples:
        >>> is_met(0.52, 0.5), is_met(0.53, 0.5), is_met(0.53, 0.5, quartiles=(0.499, 0.57))
        (True, False, True)
        >>> is_met(0.07, 0.5, quartiles=(0.05, 2.1))
        False
        >>> is_met(0.44, 0.5), is_met(0.44, 0.5, at_most=True), is_met(0.44, 0.5, tolerance=0.15)
        (False, True, True)
    """
    if quartiles is not None and is_between(target, *quartiles):
        return True
    off = ratio / target - 1.0
    return off <= tolerance if at_most else abs(off) <= tolerance


def is_between(target: float, low: float, high: float) -> bool:
    """Whether a target is between quartiles that tell anything; those of a busy machine hold nearly every target.

    Examples:
        >>> is_between(0.5, 0.45, 0.57), is_between(0.5, 0.05, 2.1)
        (True, False)
    """
    return low <= target <= high <= TELLING * low


def distance(ratio: float, target: float) -> float:
    """How far a measured ratio is from the target; twice as slow is as far as twice as fast."""
    return abs(math.log(ratio / target))


def next_fraction(tries: Sequence[Reached], target: float) -> float:
    """The fraction of the dense network's cost to ask the solver for next.

    Between a network that was too slow and one that was too fast the way is a straight line; with all on one side, the
    measured error of the last one is taken off. Taking that off alone would swing from one side to the other for ever
    where the error itself depends on the network.

    Args:
        tries: What was measured so far, the last one last; at least one.
        target: The ratio that the clock should show.

    Returns:
        A fraction in [:data:`LOWEST`, 1].

    Examples:
        >>> next_fraction([Reached(0.5, 0.625)], 0.5)
        0.4
        >>> next_fraction([Reached(0.5, 0.625), Reached(0.25, 0.375)], 0.5)
        0.375
    """
    slower = min((one for one in tries if one.measured > target), key=lambda one: one.measured, default=None)
    faster = max((one for one in tries if one.measured <= target), key=lambda one: one.measured, default=None)
    if slower is not None and faster is not None and faster.predicted < slower.predicted:
        way = (target - faster.measured) / (slower.measured - faster.measured)
        return _possible(faster.predicted + (slower.predicted - faster.predicted) * way)
    return _possible(target * tries[-1].predicted / tries[-1].measured)


def nudged(fraction: float, ratio: float, target: float) -> float:
    """A little more than ``fraction`` where the best network was too fast, or else a little less."""
    return _possible(fraction * (NUDGE if ratio < target else 1.0 / NUDGE))


def _possible(fraction: float) -> float:
    return max(LOWEST, min(1.0, fraction))
