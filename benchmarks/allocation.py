"""How long allocators take on 150 groups of 64 to 2,048 channels, and how near the knapsack comes to the best.

    python benchmarks/allocation.py

The large network has the costs of a bottleneck ResNet: products of widths, and residual streams that many layers share.
Small networks of the same kind are compared with every allocation there is. Run it with OMP_NUM_THREADS=1 for figures
of one core.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from dataclasses import replace

import numpy as np

from sapwood.allocation import ALLOCATORS, CostTable, Extent, Problem, Term, allowed_widths, losses_from_scores


def network(rng: np.random.Generator, blocks: list[int], base: int, *, round_to: int = 1) -> Problem:
    """A bottleneck network: a residual stream a stage and two inner widths a block, twice as wide each stage."""
    channels: list[int] = []
    terms: list[Term] = []

    def group(width: int) -> Extent:
        channels.append(width)
        return Extent(0, {len(channels) - 1: 1})

    before = Extent(3)
    for stage, num_blocks in enumerate(blocks):
        pixels = 4.0 ** (len(blocks) - stage)
        stream = group(base * 4 * 2**stage)
        terms.append(Term(f"{stage}.shortcut", pixels, (before, stream)))
        for block in range(num_blocks):
            first, second = group(base * 2**stage), group(base * 2**stage)
            name = f"{stage}.{block}"
            terms.append(Term(f"{name}.1", pixels, (stream if block else before, first)))
            terms.append(Term(f"{name}.2", 9 * pixels, (first, second)))
            terms.append(Term(f"{name}.3", pixels, (second, stream)))
        before = stream
    terms.append(Term("head", 1.0, (before, Extent(1000))))
    scores = tuple(rng.gamma(0.7, rng.lognormal(0, 1), size) for size in channels)
    widths = tuple(allowed_widths(size, round_to=round_to) for size in channels)
    losses = tuple(map(losses_from_scores, scores, widths))
    names = tuple(f"g{number}" for number in range(len(channels)))
    return Problem(names, tuple(channels), widths, losses, CostTable("MACs", tuple(terms)), scores=scores)


def best_loss(problem: Problem, budget: float) -> float:
    """The least loss of all allocations, found by trying each."""
    best = math.inf
    grids = list(itertools.product(*(range(len(own)) for own in problem.widths[:-1])))
    last = len(problem.names) - 1
    for places in grids:
        kept = [int(own[place]) for own, place in zip(problem.widths, places, strict=False)]
        costs = problem.cost.options(np.array([*kept, 1]), last, problem.widths[last])
        fitting = np.flatnonzero(costs <= budget)
        if len(fitting):
            loss = sum(own[place] for own, place in zip(problem.losses, places, strict=False))
            best = min(best, loss + float(problem.losses[last][fitting[-1]]))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", type=int, default=40, help="Small networks to compare with every allocation")
    options = parser.parse_args()
    problem = network(np.random.default_rng(0), [8, 20, 35, 10], 64)
    print(f"{len(problem.names)} groups of {min(problem.num_channels)} to {max(problem.num_channels)} channels")
    for fraction in (0.3, 0.5, 0.8):
        for name in ALLOCATORS:
            start = time.perf_counter()
            result = ALLOCATORS[name]()(problem, fraction * problem.dense_cost)
            seconds = time.perf_counter() - start
            proven = f", the best at most {result.gap / result.loss:.2%} lower" if name == "knapsack" else ""
            print(f"{fraction:.0%} of the MACs, {name:8}: {seconds:5.2f} s, loss {result.loss:9.1f}{proven}")
    rng = np.random.default_rng(1)
    terms = tuple(Term(name, rng.uniform(0.5, 20), (Extent(3, {g: 1}),)) for g, name in enumerate(problem.names))
    adding = replace(problem, cost=CostTable("ms", terms))
    start = time.perf_counter()
    result = ALLOCATORS["knapsack"]()(adding, 0.5 * adding.dense_cost)
    seconds = time.perf_counter() - start
    print(f"costs that add up, knapsack: {seconds:5.2f} s, the best at most {result.gap / result.loss:.2%} lower")
    excess: dict[str, list[float]] = {name: [] for name in ALLOCATORS}
    for seed in range(options.small):
        small = network(np.random.default_rng(seed), [1, 1], 2 + seed % 2)
        budget = (0.3, 0.5, 0.8)[seed % 3] * small.dense_cost
        best = best_loss(small, budget)
        for name in ALLOCATORS:
            excess[name].append(ALLOCATORS[name]()(small, budget).loss / best - 1)
    for name, values in excess.items():
        exact = sum(value < 1e-9 for value in values)
        spread = f"median +{np.median(values):.2%}, worst +{max(values):.2%}"
        print(f"small, {name:8}: best in {exact} of {len(values)}, {spread}")


if __name__ == "__main__":
    main()
