from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sapwood.allocation import CostState, CostTable, Extent, Term
from sapwood.errors import ConfigError
from support.problems import naive_cost, product_problem, separable_problem

ROUNDING = 1e-12  # relative; sums of a few dozen terms in another order


@given(st.integers(0, 10_000), st.sampled_from([1, 4, 8]), st.integers(0, 3))
def test_totals_and_options_are_the_definition(seed: int, step: int, group: int) -> None:
    problem = product_problem(seed, step=step)
    rng = np.random.default_rng(seed)
    kept = np.array([rng.integers(1, c + 1) for c in problem.num_channels])
    table = problem.cost
    assert table.total(kept) == pytest.approx(naive_cost(table, tuple(kept.tolist())), rel=ROUNDING)
    widths = problem.widths[group]
    expected = [naive_cost(table, (*kept[:group].tolist(), w, *kept[group + 1 :].tolist())) for w in widths.tolist()]
    np.testing.assert_allclose(table.options(kept, group, widths), expected, rtol=ROUNDING)
    assert sum(table.by_layer(kept).values()) + table.fixed == pytest.approx(table.total(kept), rel=ROUNDING)


@given(st.integers(0, 10_000), st.sampled_from([1, 4]))
def test_a_state_follows_its_moves(seed: int, step: int) -> None:
    problem = product_problem(seed, step=step)
    rng = np.random.default_rng(seed)
    state = CostState(problem.cost, np.array(problem.num_channels))
    cost = problem.cost.total(state.kept)
    for _ in range(10):
        group = int(rng.integers(len(problem.names)))
        width = int(rng.choice(problem.widths[group]))
        cost += float(state.changes(group, np.array([float(width)]))[0])
        state.move(group, width)
    assert cost == pytest.approx(naive_cost(problem.cost, tuple(state.kept.tolist())), rel=ROUNDING)


def test_sizes_above_the_step_count_as_the_next_multiple() -> None:
    table = CostTable("ms", (Term("a", 1.0, (Extent(0, {0: 1}, step=8),)),))
    assert table.options(np.array([1]), 0, np.array([3, 8, 9, 16, 17])).tolist() == [3.0, 8.0, 16.0, 16.0, 24.0]
    assert table.smooth().total(np.array([9])) == 9.0


def test_the_slope_is_the_derivative() -> None:
    problem = product_problem(3)
    kept = np.array(problem.num_channels)
    state = CostState(problem.cost, kept)
    above, below = (problem.cost.options(kept, 0, kept[:1] + d)[0] for d in (1, -1))
    assert state.slope(0) == pytest.approx((above - below) / 2, rel=ROUNDING)  # exact for a polynomial of degree 2


def test_merged_groups_cost_what_equal_widths_cost() -> None:
    problem = product_problem(5)
    merged = problem.cost.merged(((0,), (1, 3), (2,)))
    assert merged.total(np.array([2, 3, 4])) == problem.cost.total(np.array([2, 3, 4, 3]))


def test_what_adds_up_is_known() -> None:
    assert separable_problem(0).cost.separable
    assert not product_problem(0).cost.separable


def test_a_group_that_costs_nothing_changes_nothing() -> None:
    table = CostTable("MACs", (Term("a", 1.0, (Extent(2),)),), fixed=3.0)
    assert table.options(np.array([4]), 0, np.array([1, 4])).tolist() == [5.0, 5.0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Extent(-1.0), r"Extent\(fixed=-1.0, .*expected sizes of at least 0 and a step of at least 1"),
        (lambda: Extent(0.0, {1: -2.0}), r"expected sizes of at least 0"),
        (lambda: Extent(0.0, {}, 0), r"a step of at least 1"),
        (lambda: Term("conv1", -0.5, ()), r"conv1: got the factor -0.5; expected at least 0"),
    ],
)
def test_bad_costs_are_named(make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()  # type: ignore[operator]
