"""What a search asks for next: numbers that were worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from sapwood.errors import ConfigError
from sapwood.goals import LatencyOutcome, Target
from sapwood.goals.approach import (
    CLOSE_ENOUGH,
    LOWEST,
    MET_WITHIN,
    NUDGE,
    Reached,
    distance,
    is_met,
    next_fraction,
    nudged,
)


@pytest.mark.parametrize(
    ("tries", "target", "expected"),
    [
        # One that is a fifth too slow: asked for a fifth less.
        ([(0.5, 0.6)], 0.5, 0.5 * 0.5 / 0.6),
        # Two that are too slow: the last one's error counts, not the best one's.
        ([(0.5, 0.6), (0.45, 0.75)], 0.5, 0.5 * 0.45 / 0.75),
        # Too slow, then too fast: (0.4, 0.4) and (0.6, 0.8); 0.5 lies a quarter of the way.
        ([(0.6, 0.8), (0.4, 0.4)], 0.5, 0.45),
        # The order does not matter between two sides.
        ([(0.4, 0.4), (0.6, 0.8)], 0.5, 0.45),
        # The nearest of each side: (0.4, 0.4) rather than (0.1, 0.2), (0.6, 0.8) rather than (0.9, 1.0).
        ([(0.1, 0.2), (0.9, 1.0), (0.6, 0.8), (0.4, 0.4)], 0.5, 0.45),
        # Exactly at the target counts as fast enough, and is asked for again.
        ([(0.6, 0.8), (0.4, 0.5)], 0.5, 0.4),
        # The faster one was predicted to be slower: no line; the last one's error is taken off.
        ([(0.4, 0.6), (0.5, 0.4)], 0.5, 0.5 * 0.5 / 0.4),
        # Never more than everything, never nothing.
        ([(1.0, 0.4)], 0.8, 1.0),
        ([(1e-6, 1.0)], 0.5, LOWEST),
    ],
)
def test_the_next_fraction(tries: list[tuple[float, float]], target: float, expected: float) -> None:
    assert next_fraction([Reached(*one) for one in tries], target) == pytest.approx(expected, rel=1e-12)


def searched(step: Callable[[list[Reached], float], float], clock: Callable[[float], float], target: float) -> int:
    """How many attempts a search needs; 50 where it never ends."""
    tries: list[Reached] = []
    fraction = target
    while len(tries) < 50:
        tries.append(Reached(fraction, clock(fraction)))
        if distance(tries[-1].measured, target) <= CLOSE_ENOUGH:
            break
        fraction = step(tries, target)
    return len(tries)


def test_a_clock_that_makes_the_error_alone_swing_is_met() -> None:
    """A clock on which half the work takes 0.25 + 4 (f - 0.5): taking the ratio off overshoots from side to side."""

    def clock(fraction: float) -> float:
        return max(0.05, 0.25 + 4.0 * (fraction - 0.5))

    def error_alone(tries: list[Reached], target: float) -> float:
        return min(1.0, tries[-1].predicted * target / tries[-1].measured)

    assert searched(error_alone, clock, 0.5) == 50
    assert searched(next_fraction, clock, 0.5) <= 3


def test_distance_is_the_same_on_both_sides() -> None:
    assert distance(1.0, 0.5) == distance(0.25, 0.5) == math.log(2.0)
    assert distance(0.5, 0.5) == 0.0


def test_a_target_is_met_within_a_twentieth() -> None:
    assert MET_WITHIN == 0.05
    assert is_met(0.525 - 1e-9, 0.5)
    assert is_met(0.475 + 1e-9, 0.5)
    assert not is_met(0.526, 0.5)
    assert not is_met(0.474, 0.5)


def test_a_nudge_goes_towards_the_target() -> None:
    assert nudged(0.5, 0.4, 0.5) == pytest.approx(0.5 * NUDGE)
    assert nudged(0.5, 0.6, 0.5) == pytest.approx(0.5 / NUDGE)
    assert nudged(1.0, 0.4, 0.5) == 1.0
    assert nudged(LOWEST, 0.6, 0.5) == LOWEST


def outcome(ratio: float, q1: float, q3: float, **options: Any) -> LatencyOutcome:
    return LatencyOutcome(0.5, ratio, q1, q3, 0.5, 193.0, 61.2, (), 0.1, (), {}, **options)


@pytest.mark.parametrize(
    ("given", "met"),
    [
        (outcome(0.532, 0.499, 0.570), True),  # the clock cannot tell that it is missed
        (outcome(0.532, 0.501, 0.570), False),
        (outcome(0.443, 0.440, 0.446), False),
        (outcome(0.443, 0.440, 0.446, at_most=True), True),
        (outcome(0.532, 0.530, 0.540, at_most=True), False),
        (outcome(0.532, 0.530, 0.540, tolerance=0.1), True),
        (outcome(0.501, 0.5005, 0.502, tolerance=0.0), False),
    ],
)
def test_when_a_latency_is_met(given: LatencyOutcome, met: bool) -> None:
    assert given.met is met


def test_bounds_of_a_latency_are_for_a_latency() -> None:
    assert Target(latency=0.5, tolerance=0.1, at_most=True).kind == "latency"
    with pytest.raises(ConfigError, match=r"^tolerance= and at_most= are of a latency; the target is macs=0.5"):
        Target(macs=0.5, at_most=True)
    with pytest.raises(ConfigError, match=r"^tolerance 1.5; expected a number in \[0, 1\)"):
        Target(latency=0.5, tolerance=1.5)
    with pytest.raises(ConfigError, match=r"^at_most is a str; expected True or False"):
        Target(latency=0.5, at_most="yes")
