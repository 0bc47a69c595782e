"""Widths of which one must be a multiple of another: solved for, then once more with the other as it came out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from sapwood.allocation import Multiple, Problem
from sapwood.errors import BudgetError


def in_multiples(
    problem: Problem, multiples: Iterable[Multiple], solve: Callable[[Problem], Sequence[int]]
) -> tuple[Problem, tuple[int, ...]]:
    """Solves a problem so that every number is a multiple of the other that it has to be one of.

    Args:
        problem: What may be kept.
        multiples: The pairs of numbers.
        solve: Chooses widths.

    Returns:
        The problem with the widths that are left, and the chosen ones.

    Raises:
        BudgetError: If none are cheap enough.
    """
    kept = tuple(solve(problem))
    for one in multiples:
        if _number(one.value, one.groups[:1], kept, problem) % _number(one.of, one.factors, kept, problem) == 0:
            continue
        if not one.groups:
            problem = _dividing(problem, one)
            kept = tuple(solve(problem))
            continue
        problem, kept = _nearest_that_fits(problem, one, kept, solve)
    return problem, kept


def _nearest_that_fits(
    problem: Problem, one: Multiple, kept: Sequence[int], solve: Callable[[Problem], Sequence[int]]
) -> tuple[Problem, tuple[int, ...]]:
    """The other number as it was chosen, or the nearest to it with which a multiple of it is cheap enough."""
    if not one.tied:
        narrowed = _multiples(problem, one, kept)
        return narrowed, tuple(solve(narrowed))
    first, refused = one.tied[0], BudgetError("no multiple is cheap enough")
    for width in sorted(problem.widths[first].tolist(), key=lambda width: abs(width - kept[first])):
        share = Fraction(width, problem.num_channels[first])
        trial: list[Fraction] = [
            share * size if group in one.tied else Fraction(own)
            for group, (own, size) in enumerate(zip(kept, problem.num_channels, strict=True))
        ]
        if all(trial[group].denominator == 1 for group in one.tied):
            narrowed = _multiples(problem, one, [int(number) for number in trial])
            try:
                return narrowed, tuple(solve(narrowed))
            except BudgetError as error:
                refused = error
    raise refused


def _number(value: int, factors: Sequence[int], kept: Sequence[int], problem: Problem) -> Fraction:
    """What is kept of a number."""
    found = Fraction(value)
    for group in factors:
        found *= Fraction(int(kept[group]), problem.num_channels[group])
    return found


def _multiples(problem: Problem, one: Multiple, kept: Sequence[int]) -> Problem:
    """The other number stays as it was chosen, and the one is a multiple of it."""
    other = _number(one.of, one.factors, kept, problem)
    for group in one.tied:
        problem = _limited(problem, group, problem.widths[group] == kept[group])
    for group in one.groups:
        share = Fraction(one.value, problem.num_channels[group])
        problem = _limited(
            problem, group, np.array([width * share % other == 0 for width in problem.widths[group].tolist()])
        )
    return problem


def _dividing(problem: Problem, one: Multiple) -> Problem:
    """The one number stays, and the other divides it."""
    for group in one.tied:
        share = Fraction(one.of, problem.num_channels[group])
        problem = _limited(
            problem, group, np.array([one.value % (width * share) == 0 for width in problem.widths[group].tolist()])
        )
    return problem


def _limited(problem: Problem, group: int, allowed: np.ndarray) -> Problem:
    """The problem with fewer widths of one group; all of them where none is left."""
    if not allowed.any():
        return problem
    widths, losses = list(problem.widths), list(problem.losses)
    widths[group], losses[group] = widths[group][allowed], losses[group][allowed]
    return replace(problem, widths=tuple(widths), losses=tuple(losses))
