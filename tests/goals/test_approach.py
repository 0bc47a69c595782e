"""What a search asks for next: numbers that were worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

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
