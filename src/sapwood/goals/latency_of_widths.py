"""A latency target: measure, solve, prune, measure, correct, and solve again until the clock agrees."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import nn

from sapwood.allocation import Allocation, Work, held_groups, layer_work
from sapwood.errors import BudgetError
from sapwood.goals.approach import (
    CLOSE_ENOUGH,
    MAX_NUDGES,
    MET_WITHIN,
    Reached,
    distance,
    is_met,
    next_fraction,
    nudged,
)
from sapwood.goals.chooser import Chooser
from sapwood.goals.clock import timed
from sapwood.goals.layer_samples import Bench, layer_samples
from sapwood.graph import Analysis
from sapwood.measure import (
    LatencyModel,
    LatencyRow,
    LatencyTable,
    LayerChange,
    Sample,
    explain,
    fit_latency,
    sample_work,
)
from sapwood.models import apply_plan
from sapwood.ops import Axis
from sapwood.removal import Planner, Solution, unproven

MAX_ATTEMPTS = 8
SECONDS_IN_ALL = 40.0
"""After this no other network is tried: making and measuring one takes seconds, and most targets are met by then."""

ROUNDS_BY_LAYER = 12


@dataclass(frozen=True)
class Attempt:
    """One network that was made and measured: ratios to the dense network's latency."""

    predicted: float
    measured: float


@dataclass(frozen=True)
class LatencyOutcome:
    """How a latency target was met.

    Attributes:
        target: The ratio asked for; None where the network was pruned to another target and only timed.
        ratio: The ratio measured, round by round (median), with its quartiles.
        ratio_q1: Lower quartile.
        ratio_q3: Upper quartile.
        predicted: What the fitted times had promised for this network.
        dense_ms: Median latency of the dense network.
        pruned_ms: Median latency of the pruned one.
        attempts: All that was tried, in order; the best one was taken.
        fit_error: Median error of the fitted times on whole networks of other widths.
        layers: Where the time went, before and after, and why; empty where the runtime cannot tell.
        conditions: Runtime, threads, batch, machine.
        tolerance: How far the ratio may be from the target, as a fraction of it.
        at_most: Whether any faster network will do.
    """

    target: float | None
    ratio: float
    ratio_q1: float
    ratio_q3: float
    predicted: float
    dense_ms: float
    pruned_ms: float
    attempts: tuple[Attempt, ...]
    fit_error: float
    layers: tuple[LayerChange, ...]
    conditions: Mapping[str, Any]
    tolerance: float = MET_WITHIN
    at_most: bool = False

    @property
    def met(self) -> bool:
        """Whether the target is reached, as far as the clock can tell; see :func:`sapwood.goals.approach.is_met`."""
        return self.target is None or is_met(
            self.ratio,
            self.target,
            quartiles=(self.ratio_q1, self.ratio_q3),
            tolerance=self.tolerance,
            at_most=self.at_most,
        )


@dataclass
class _Try:
    """One network under way: how it was chosen, and what became of it."""

    solution: Solution
    allocation: Allocation
    predicted: float
    row: LatencyRow | None = None
    table: LatencyTable | None = None
    times: dict[str, float] | None = None
    dense_times: dict[str, float] | None = None

    @property
    def ratio(self) -> float:
        """Its measured ratio."""
        assert self.row is not None
        return self.row.ratio

    def is_hit(self, target: float) -> bool:
        """Whether trying on can hardly do better: the clock's own spread decides."""
        assert self.row is not None
        return self.distance(target) <= CLOSE_ENOUGH or self.row.ratio_q1 <= target <= self.row.ratio_q3

    def distance(self, target: float) -> float:
        """How far its measured ratio is from the target."""
        return distance(self.ratio, target)


@dataclass
class LatencyTarget:
    """Prunes a model to a measured latency.

    Attributes:
        planner: Of the model.
        model: The dense model, float32.
        bench: Where it runs.
        chooser: How widths and channels are chosen; its cost is replaced by the fitted times.
        target: Fraction of the dense latency; None to time what was pruned to another target.
        progress: Called with (done, total) steps.
        tolerance: How far the ratio may be from the target, as a fraction of it.
        at_most: Whether any faster network will do.
        seconds: When no other network is tried; the first one always is.
    """

    planner: Planner
    model: nn.Module
    bench: Bench
    chooser: Chooser
    target: float | None
    progress: Callable[[int, int], None] | None = None
    tolerance: float = MET_WITHIN
    at_most: bool = False
    seconds: float = SECONDS_IN_ALL
    _samples: list[Sample] = field(default_factory=list)

    def reach(self) -> tuple[Solution, Allocation, LatencyOutcome]:
        """Finds the network.

        Returns:
            The proven solution, the widths, and the outcome; ``outcome.met`` tells whether the target was met.

        Raises:
            BudgetError: If no widths are fast enough: the narrowest network was measured, and the text says what its
                time goes into.
        """
        assert self.target is not None
        target = self.target
        self._samples = self._measured_samples()
        tries = self._attempts(target)
        best = min(tries, key=lambda one: one.distance(target))
        kept = best.allocation.kept

        def again(analysis: Analysis) -> Axis:
            scores = self.chooser.score(analysis)
            return self.chooser.removed(analysis, scores, kept)

        solution = self.planner.solve(again)
        return solution, best.allocation, self._outcome(best, tries, solution)

    def observe(self, solution: Solution, allocation: Allocation) -> LatencyOutcome:
        """Times a network that was pruned to another target, and explains where its time goes."""
        self._samples = self._measured_samples()
        table = fit_latency(self._samples).table(self._work(solution.analysis))
        full = np.array([group.num_channels for group in solution.analysis.groups], dtype=np.int64)
        predicted = table.total(np.asarray(allocation.kept, dtype=np.int64)) / table.total(full)
        seen = _Try(solution, allocation, predicted)
        self._measure(seen)
        return self._outcome(seen, [seen], solution)

    def _measured_samples(self) -> list[Sample]:
        return layer_samples(
            self.planner,
            self.model,
            self.bench,
            whole_heads=self.chooser.limits.whole_heads,
            routes=dict(self.chooser.routes),
            progress=self.progress,
        )

    def _attempts(self, target: float) -> list[_Try]:
        """Makes and measures networks until one is close enough."""
        tries: list[_Try] = []
        fraction = target
        seen: set[tuple[int, ...]] = set()
        nudges = 0
        over = time.monotonic() + self.seconds
        while len(tries) < MAX_ATTEMPTS and not (tries and time.monotonic() > over):
            fit = fit_latency(self._samples)
            try:
                found = self._solve(fit, fraction)
            except BudgetError:
                if self._finer():
                    continue
                found = self._floor(fit)
                if found.allocation.kept in seen:
                    break
                seen.add(found.allocation.kept)
                self._measure(found)
                if found.row is not None and found.row.ratio > target * (1.0 + self.tolerance):
                    raise BudgetError(self._floor_text(found)) from None
                tries.append(found)
                self._learn(found)
                fraction = self._next(tries, fit_latency(self._samples), target)
                continue
            if found.allocation.kept in seen:
                best = min(tries, key=lambda one: one.distance(target))
                if best.distance(target) <= CLOSE_ENOUGH:
                    break
                if not self._finer():  # this one is known: ask for a little more, or less
                    fraction = nudged(fraction, best.ratio, target)
                    nudges += 1
                if nudges > MAX_NUDGES:
                    break
                continue
            seen.add(found.allocation.kept)
            self._measure(found)
            tries.append(found)
            if found.is_hit(target):
                break
            self._learn(found)
            fraction = self._next(tries, fit_latency(self._samples), target)
        return tries

    def _finer(self) -> bool:
        """Allows any width where those that vector kernels like do not do; whether that is new."""
        new = not self.chooser.fine
        self.chooser = replace(self.chooser, fine=True)
        return new

    def _solve(self, fit: LatencyModel, fraction: float) -> _Try:
        """The best network that the fitted times call fast enough."""
        chosen: list[tuple[Allocation, float]] = []
        chooser = replace(self.chooser, cost=lambda analysis, held: fit.table(layer_work(analysis, held)))

        def select(analysis: Analysis) -> Axis:
            removed, allocation = chooser.choose(analysis, fraction)
            full = np.array([group.num_channels for group in analysis.groups], dtype=np.int64)
            held = held_groups(analysis, whole_heads=self.chooser.limits.whole_heads)
            chosen.append((allocation, chooser.cost(analysis, held).total(full)))
            return removed

        solution = self.planner.solve(select, prove=unproven)
        allocation, dense = chosen[-1]
        return _Try(solution, allocation, allocation.cost / dense)

    def _floor(self, fit: LatencyModel) -> _Try:
        """The narrowest network there is."""
        analysis = self.planner.analysis()
        problem = self.chooser.problem(analysis, self.chooser.score(analysis))
        kept = tuple(int(widths[0]) for widths in problem.widths)

        def select(now: Analysis) -> Axis:
            return self.chooser.removed(now, self.chooser.score(now), kept)

        solution = self.planner.solve(select, prove=unproven)
        table = fit.table(self._work(solution.analysis))
        cost = table.total(np.asarray(kept, dtype=np.int64))
        dense = table.total(np.asarray(problem.num_channels, dtype=np.int64))
        return _Try(solution, Allocation(kept, 0.0, cost, 0.0), cost / dense)

    def _measure(self, found: _Try) -> None:
        """Times a network against the dense one, and its layers."""
        small = apply_plan(self.model, found.solution.realised.plan)
        clocked = timed(self.bench, self.model, small)
        found.row, found.table = clocked.row, clocked.table
        times = clocked.session.layer_times(ROUNDS_BY_LAYER)
        dense_times = clocked.dense.layer_times(ROUNDS_BY_LAYER)
        found.times = None if times is None else dict(times)
        found.dense_times = None if dense_times is None else dict(dense_times)

    def _learn(self, found: _Try) -> None:
        """Adds what was measured to what the next fit knows."""
        if found.times is not None:
            self._samples.append(self._sample(found))

    def _next(self, tries: list[_Try], fit: LatencyModel, target: float) -> float:
        """The fraction to ask the solver for next, by what the fitted times of now say of all that was measured."""
        return next_fraction([Reached(self._predicted(one, fit), one.ratio) for one in tries], target)

    def _predicted(self, found: _Try, fit: LatencyModel) -> float:
        """What the fitted times of now say of a network that was measured."""
        table = fit.table(self._work(found.solution.analysis))
        sizes = [group.num_channels for group in found.solution.analysis.groups]
        dense = table.total(np.asarray(sizes, dtype=np.int64))
        return table.total(np.asarray(found.allocation.kept, dtype=np.int64)) / dense

    def _work(self, analysis: Analysis) -> Work:
        return layer_work(analysis, held_groups(analysis, whole_heads=self.chooser.limits.whole_heads))

    def _sample(self, found: _Try) -> Sample:
        assert found.times is not None
        work = self._work(found.solution.analysis)
        return Sample(found.times, sample_work(work, found.allocation.kept))

    def _outcome(self, best: _Try, tries: list[_Try], solution: Solution) -> LatencyOutcome:
        assert best.row is not None
        assert best.table is not None
        fit = fit_latency(self._samples)
        layers: tuple[LayerChange, ...] = ()
        if best.times is not None and best.dense_times is not None:
            dense = Sample(
                best.dense_times, self._samples[0].work
            )  # timed at the same time, not when samples were taken
            layers = explain(dense, self._sample(best), fit, frozen_layers(solution.analysis))
        conditions = {
            **best.table.conditions,
            "runtime": self.bench.deployment.runtime,
            "threads": self.bench.deployment.num_threads,
        }
        return LatencyOutcome(
            target=self.target,
            ratio=best.row.ratio,
            ratio_q1=best.row.ratio_q1,
            ratio_q3=best.row.ratio_q3,
            predicted=best.predicted,
            dense_ms=best.table["dense"].median_ms,
            pruned_ms=best.row.median_ms,
            attempts=tuple(Attempt(one.predicted, one.row.ratio) for one in tries if one.row is not None),
            fit_error=fit.error,
            layers=layers,
            conditions=conditions,
            tolerance=self.tolerance,
            at_most=self.at_most,
        )

    def _floor_text(self, found: _Try) -> str:
        """Why no width reaches the target."""
        assert found.row is not None
        text = (
            f"latency {self.target:g} on {self.bench.deployment.runtime}: no widths reach it; the narrowest network "
            f"measures {found.row.ratio:.3f} of the dense one"
        )
        if found.times is None:
            return text
        total = sum(found.times.values())
        largest = sorted(found.times.items(), key=lambda item: -item[1])[:5]
        parts = ", ".join(f"{name or '(the model)'} {time / total:.0%}" for name, time in largest)
        return f"{text}, and its time goes into {parts}"


def frozen_layers(analysis: Analysis) -> dict[str, str]:
    """Layers whose own channels cannot go, with the reason."""
    return {
        entry.tensor.rpartition(".")[0]: entry.reason.partition(" in module ")[0]
        for entry in reversed(analysis.unpruned)
        if entry.dim == 0
    }
