"""Numbers of which one must be a multiple of the other, whatever the widths that would be best."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from sapwood.allocation import CostTable, Extent, Knapsack, Multiple, Problem, Term
from sapwood.errors import BudgetError
from sapwood.goals.even_widths import even_problem
from sapwood.goals.multiples import in_multiples

HIDDEN = Multiple(value=32, groups=(0,), of=8, factors=(1,), tied=(1,))


def problem(worth: float) -> Problem:
    """32 hidden channels, and 8 heads that are worth some of them each; a head costs 8."""
    widths = (np.arange(1, 33), np.arange(1, 9))
    terms = (Term("hidden", 1.0, (Extent(0, {0: 1}),)), Term("heads", 8.0, (Extent(0, {1: 1}),)))
    losses = (32.0 - widths[0], worth * (8.0 - widths[1]))
    return Problem(("hidden", "heads"), (32, 8), widths, losses, CostTable("channels", terms))


def within(budget: float) -> Callable[[Problem], Sequence[int]]:
    return lambda own: Knapsack()(own, budget).kept


def test_the_one_follows_the_other_as_it_came_out_or_the_nearest_that_is_cheap_enough() -> None:
    assert within(60)(problem(worth=10.0)) == (4, 7)  # and 7 channels beside 7 heads cost 63
    own, kept = in_multiples(problem(worth=10.0), [HIDDEN], within(60))
    assert (kept, own.widths[1].tolist()) == ((12, 6), [6])
    assert own.cost.total(np.array(kept)) == 60


def test_nothing_fits_a_budget_that_is_too_small() -> None:
    with pytest.raises(BudgetError, match="no allowed widths cost so little"):
        in_multiples(problem(worth=10.0), [HIDDEN], within(3))


def test_a_number_that_stays_is_divided() -> None:
    stays = Multiple(value=32, groups=(), of=8, factors=(1,), tied=(1,))
    own, kept = in_multiples(problem(worth=10.0), [stays], lambda one: (32, int(one.widths[1][-2])))
    assert own.widths[1].tolist() == [1, 2, 4, 8]
    assert kept == (32, 4)


def test_the_other_may_stay() -> None:
    stays = Multiple(value=32, groups=(0,), of=8, factors=(1,), tied=())
    assert in_multiples(problem(worth=9.0), [stays], lambda own: (int(own.widths[0][-2]), 8))[1] == (24, 8)


def test_what_is_right_already_is_solved_once() -> None:
    calls: list[Problem] = []
    own, kept = in_multiples(problem(worth=1.0), [HIDDEN], lambda one: calls.append(one) or (16, 4))
    assert (len(calls), kept, own is calls[0]) == (1, (16, 4), True)


@pytest.mark.parametrize(("sizes", "even"), [((32, 32), True), ((32, 16), False)])
def test_groups_of_one_size_that_keep_one_share_take_even_widths(sizes: tuple[int, int], even: bool) -> None:
    widths = tuple(np.arange(1, size + 1) for size in sizes)
    losses = tuple(np.arange(size)[::-1] * 1.0 for size in sizes)
    tied = Problem(("a", "b"), sizes, widths, losses, CostTable("channels", ()), together=((0, 1),))
    assert (len(even_problem(tied).widths[0]) < sizes[0]) is even
