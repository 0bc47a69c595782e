"""A latency target: measure, solve, prune, measure, correct, and solve again until the clock agrees."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import nn

from sapwood.allocation import Work, held_groups, layer_work
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
from sapwood.goals.chooser import Chooser, Chosen
from sapwood.goals.clock import timed
from sapwood.goals.layer_samples import Bench, layer_samples
from sapwood.goals.targets import Target
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

    solution: Solution[Chosen]
    predicted: float
    row: LatencyRow | None = None
    table: LatencyTable | None = None
    times: dict[str, float] | None = None
    dense_times: dict[str, float] | None = None

    @property
    def kept(self) -> tuple[int, ...]:
        """How many channels each group keeps."""
        return self.solution.chosen.allocation.kept

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
    """Prunes a model to a measured latency, or to another target, and times what that gave.

    Attributes:
        planner: Of the model.
        model: The dense model, float32.
        bench: Where it runs.
        chooser: How widths and channels are chosen; its cost is replaced by the fitted times.
        target: What to reach.
        progress: Called with (done, total) steps.
        seconds: When no other network is tried; the first one always is.
    """

    planner: Planner
    model: nn.Module
    bench: Bench
    chooser: Chooser
    target: Target
    progress: Callable[[int, int], None] | None = None
    seconds: float = SECONDS_IN_ALL
    _samples: list[Sample] = field(default_factory=list)

    def solve(self) -> tuple[Solution[Chosen], LatencyOutcome]:
        """Finds the network and times it.

        Returns:
            The proven solution, and the outcome; ``outcome.met`` tells whether a latency was met.

        Raises:
            BudgetError: If no widths are fast enough: the narrowest network was measured, and the text says what its
                time goes into.
        """
        if self.target.kind == "latency":
            return self._reach(self.target.value)
        return self._observe(self.planner.solve(self.chooser.towards(self.target)))

    def _reach(self, target: float) -> tuple[Solution[Chosen], LatencyOutcome]:
        """Finds the network whose measured ratio is the target, and proves it."""
        self._samples = self._measured_samples()
        tries = self._attempts(target)
        best = min(tries, key=lambda one: one.distance(target))
        before = best.solution
        solution = self.planner.solve(
            lambda analysis: self.chooser.choose_again(analysis, before.analysis, before.chosen)
        )
        return solution, self._outcome(best, tries, solution)

    def _observe(self, solution: Solution[Chosen]) -> tuple[Solution[Chosen], LatencyOutcome]:
        """Times a network that was pruned to another target, and explains where its time goes."""
        self._samples = self._measured_samples()
        seen = _Try(solution, 0.0)
        seen.predicted = self._predicted(seen, fit_latency(self._samples))
        self._measure(seen)
        return solution, self._outcome(seen, [seen], solution)

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
                if found.kept in seen:
                    break
                seen.add(found.kept)
                self._measure(found)
                if found.row is not None and found.row.ratio > target * (1.0 + self.target.tolerance):
                    raise BudgetError(self._floor_text(found)) from None
                tries.append(found)
                self._learn(found)
                fraction = self._next(tries, fit_latency(self._samples), target)
                continue
            if found.kept in seen:
                best = min(tries, key=lambda one: one.distance(target))
                if best.distance(target) <= CLOSE_ENOUGH:
                    break
                if not self._finer():  # this one is known: ask for a little more, or less
                    fraction = nudged(fraction, best.ratio, target)
                    nudges += 1
                if nudges > MAX_NUDGES:
                    break
                continue
            seen.add(found.kept)
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
        chooser = self._by_fit(fit)
        solution = self.planner.solve(lambda analysis: chooser.choose(analysis, fraction), prove=unproven)
        return _Try(solution, solution.chosen.share)

    def _floor(self, fit: LatencyModel) -> _Try:
        """The narrowest network there is."""
        solution = self.planner.solve(self._by_fit(fit).choose_narrowest, prove=unproven)
        return _Try(solution, solution.chosen.share)

    def _by_fit(self, fit: LatencyModel) -> Chooser:
        """The chooser with the fitted times for its cost."""
        return replace(self.chooser, cost=lambda analysis, held: fit.table(layer_work(analysis, held)))

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
        return table.total(np.asarray(found.kept, dtype=np.int64)) / dense

    def _work(self, analysis: Analysis) -> Work:
        return layer_work(analysis, held_groups(analysis, whole_heads=self.chooser.limits.whole_heads))

    def _sample(self, found: _Try) -> Sample:
        assert found.times is not None
        work = self._work(found.solution.analysis)
        return Sample(found.times, sample_work(work, found.kept))

    def _outcome(self, best: _Try, tries: list[_Try], solution: Solution[Chosen]) -> LatencyOutcome:
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
            target=self.target.latency,
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
            tolerance=self.target.tolerance,
            at_most=self.target.at_most,
        )

    def _floor_text(self, found: _Try) -> str:
        """Why no width reaches the target."""
        assert found.row is not None
        text = (
            f"latency {self.target.value:g} on {self.bench.deployment.runtime}: no widths reach it; the narrowest "
            f"network measures {found.row.ratio:.3f} of the dense one"
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
