"""Blocks as options beside widths: against every set of blocks, and against every allocation of small networks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sapwood.allocation import BlockOption, CostTable, Extent, Knapsack, Problem, Term, choose_blocks, only_blocks
from sapwood.allocation.blocks import without_blocks
from sapwood.errors import BudgetError

NUM_BLOCKS, WIDTH = 4, 6
TRUNK = NUM_BLOCKS
"""The number of the group that all blocks share."""


def network(seed: int, *, of: str = "") -> tuple[Problem, list[BlockOption]]:
    """A trunk and blocks of two layers each, with random losses."""
    random = np.random.default_rng(seed)
    widths = np.arange(1, WIDTH + 1)
    losses = [np.cumsum(random.exponential(size=WIDTH) * [0, *np.arange(1, WIDTH)])[::-1] for _ in range(NUM_BLOCKS)]
    trunk = 20.0 * np.cumsum(random.exponential(size=WIDTH) * [0, *np.arange(1, WIDTH)])[::-1]
    terms = [Term("head", 5.0, (Extent(0, {TRUNK: 1}),))]
    for block in range(NUM_BLOCKS):
        inner, outer = Extent(0, {block: 1}), Extent(0, {TRUNK: 1})
        terms += [Term(f"{block}.up", 3.0, (outer, inner)), Term(f"{block}.down", 3.0, (inner, outer))]
    problem = Problem(
        names=(*map(str, range(NUM_BLOCKS)), "trunk"),
        num_channels=(WIDTH,) * (NUM_BLOCKS + 1),
        widths=(widths,) * (NUM_BLOCKS + 1),
        losses=(*losses, trunk),
        cost=CostTable("MACs", tuple(terms), 10.0),
    )
    options = [
        BlockOption(
            str(block),
            float(losses[block][0] * random.uniform(0.3, 1.5)),
            frozenset({f"{block}.up", f"{block}.down"}),
            frozenset({block}),
            of,
        )
        for block in range(NUM_BLOCKS)
    ]
    return problem, options


def subsets(options: list[BlockOption]) -> list[tuple[BlockOption, ...]]:
    return [some for number in range(len(options) + 1) for some in itertools.combinations(options, number)]


def least(problem: Problem, options: list[BlockOption], budget: float) -> float:
    """The least loss of all sets of blocks and all widths."""
    grid = np.array(list(itertools.product(*problem.widths)))
    best = np.inf
    for gone in subsets(options):
        left = without_blocks(problem, gone)
        own = np.zeros(len(grid))
        for group, losses in enumerate(left.losses):
            own += losses[grid[:, group] - 1] if len(losses) > 1 else 0.0
        costs = np.array([left.cost.total(row) for row in grid])
        fits = costs <= budget
        if fits.any():
            best = min(best, float(own[fits].min()) + sum(one.loss for one in gone))
    return best


@pytest.mark.parametrize("fraction", [0.2, 0.4, 0.7])
def test_the_search_finds_what_no_other_set_betters(fraction: float) -> None:
    missed = 0
    for seed in range(20):
        problem, options = network(seed)
        budget = fraction * problem.dense_cost
        found = choose_blocks(problem, options, budget, Knapsack())
        gone = [one for one in options if one.name in found.gone]
        left = without_blocks(problem, gone)
        kept = np.array(found.allocation.kept)
        assert left.cost.total(kept) <= budget
        assert found.loss == pytest.approx(left.loss(kept.tolist()) + sum(one.loss for one in gone))
        best = np.inf
        for some in subsets(options):
            try:
                other = Knapsack()(without_blocks(problem, some), budget)
            except BudgetError:
                continue
            best = min(best, other.loss + sum(one.loss for one in some))
        assert found.loss <= 1.05 * best
        missed += found.loss > best * (1 + 1e-9)
    assert missed <= 1


def test_against_all_allocations() -> None:
    problem, options = network(3)
    budget = 0.4 * problem.dense_cost
    assert choose_blocks(problem, options, budget, Knapsack()).loss == pytest.approx(least(problem, options, budget))


def test_blocks_alone_are_the_best_set() -> None:
    for seed in range(20):
        problem, options = network(seed)
        budget = 0.6 * problem.dense_cost
        found = only_blocks(problem, options, budget)
        full = np.array(problem.num_channels)
        fits = [some for some in subsets(options) if without_blocks(problem, some).cost.total(full) <= budget]
        assert found.loss == pytest.approx(min(sum(one.loss for one in some) for some in fits))
        assert found.allocation.kept == problem.num_channels


def test_one_of_a_name_stays() -> None:
    problem, options = network(0, of="layers")
    assert len(only_blocks(problem, options, 0.35 * problem.dense_cost).gone) == NUM_BLOCKS - 1
    assert len(choose_blocks(problem, options, 0.03 * problem.dense_cost, Knapsack()).gone) == NUM_BLOCKS - 1
    with pytest.raises(
        BudgetError, match=r"without the 3 blocks that can go 256 MACs stay \(0\.2832 of the dense cost"
    ):
        only_blocks(problem, options, 0.2 * problem.dense_cost)


def test_a_budget_that_nothing_reaches_says_what_is_left() -> None:
    problem, options = network(0)
    with pytest.raises(
        BudgetError, match="without the 4 blocks that can go, at the smallest widths of the others, 15 MACs"
    ):
        choose_blocks(problem, options, 12.0, Knapsack())
