"""Small allocation problems, and the slow, obviously right answers."""

from __future__ import annotations

import itertools
import math

import numpy as np

from sapwood.allocation import CostTable, Extent, Problem, Term, allowed_widths, losses_from_scores


def separable_problem(seed: int, *, num_groups: int = 4, most: int = 7, whole: bool = False) -> Problem:
    """Groups whose costs add up: linear in the width, some with steps, some squared as a depthwise pair is not."""
    rng = np.random.default_rng(seed)
    channels = tuple(int(c) for c in rng.integers(1, most + 1, num_groups))
    scores = tuple(rng.integers(0, 4, c).astype(float) if whole else rng.gamma(0.7, 1, c) for c in channels)
    terms = []
    for group in range(num_groups):
        extent = Extent(float(rng.integers(0, 3)), {group: 1.0}, step=int(rng.choice([1, 1, 4])))
        factor = float(rng.integers(1, 5)) if whole else float(rng.uniform(0.5, 5))
        terms.append(Term(f"l{group}", factor, (extent,) * int(rng.integers(1, 3))))
    return make_problem(channels, scores, CostTable("ms", tuple(terms), fixed=float(rng.integers(0, 5))))


def product_problem(seed: int, *, num_groups: int = 4, most: int = 8, step: int = 1, round_to: int = 1) -> Problem:
    """A chain with a residual stream: every second layer writes to group 0, which all of them read."""
    rng = np.random.default_rng(seed)
    channels = tuple(int(c) for c in rng.integers(2, most + 1, num_groups))
    scores = tuple(rng.gamma(0.7, rng.lognormal(0, 1), c) for c in channels)
    stream = Extent(0, {0: 1}, step)
    terms = [Term("stem", 27.0, (stream,))]
    for group in range(1, num_groups):
        inner = Extent(0, {group: 1}, step)
        terms.append(Term(f"{group}.in", float(rng.integers(1, 10)), (stream, inner)))
        terms.append(Term(f"{group}.out", float(rng.integers(1, 10)), (inner, stream)))
        if group > 1:
            terms.append(Term(f"{group}.skip", 1.0, (Extent(0, {group - 1: 1, group: 1}, step), inner)))
    terms.append(Term("head", 1.0, (stream, Extent(10))))
    return make_problem(channels, scores, CostTable("MACs", tuple(terms)), round_to=round_to)


def make_problem(
    channels: tuple[int, ...],
    scores: tuple[np.ndarray, ...],
    cost: CostTable,
    *,
    round_to: int = 1,
    equal: tuple[tuple[int, ...], ...] = (),
) -> Problem:
    widths = tuple(allowed_widths(c, round_to=round_to) for c in channels)
    losses = tuple(map(losses_from_scores, scores, widths))
    names = tuple(f"g{number}" for number in range(len(channels)))
    return Problem(names, channels, widths, losses, cost, equal, scores)


def naive_cost(table: CostTable, kept: tuple[int, ...]) -> float:
    """The definition, one term after the other."""
    total = table.fixed
    for term in table.terms:
        product = term.factor
        for extent in term.extents:
            size = extent.fixed + sum(by * kept[group] for group, by in extent.per_channel.items())
            if size > extent.step:
                size = math.ceil(size / extent.step) * extent.step
            product *= size
        total += product
    return total


def one_share(problem: Problem, kept: tuple[int, ...]) -> bool:
    """Whether the groups of each set keep the same share of their channels."""
    return all(
        kept[one] * problem.num_channels[other] == kept[other] * problem.num_channels[one]
        for numbers in problem.together
        for one, other in itertools.combinations(numbers, 2)
    )


def brute_force(problem: Problem, budget: float) -> float:
    """The least loss of all allocations that fit."""
    best = math.inf
    for kept in itertools.product(*(own.tolist() for own in problem.widths)):
        if any(len({kept[number] for number in numbers}) > 1 for numbers in problem.equal):
            continue
        if not one_share(problem, kept):
            continue
        if naive_cost(problem.cost, kept) <= budget:
            best = min(best, problem.loss(kept))
    return best


def cost_range(problem: Problem) -> tuple[float, float]:
    """The costs of the smallest and of the largest widths."""
    least = naive_cost(problem.cost, tuple(int(own[0]) for own in problem.widths))
    return least, naive_cost(problem.cost, tuple(int(own[-1]) for own in problem.widths))


def budget_at(problem: Problem, fraction: float) -> float:
    """A budget between the least cost there is and the most, and above both by more than sums differ by their order."""
    least, most = cost_range(problem)
    return least + fraction * (most - least) + 1e-12 * most
