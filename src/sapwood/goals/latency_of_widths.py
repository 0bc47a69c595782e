"""A latency target: measure, solve, prune, measure, correct, and solve again until the clock agrees."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import nn

from sapwood.allocation import Work, layer_work
from sapwood.elapsed import Elapsed
from sapwood.errors import BudgetError
from sapwood.goals.approach import (
    CLOSE_ENOUGH,
    MAX_NUDGES,
    MET_WITHIN,
    Reached,
    is_between,
    next_fraction,
    nudged,
)
from sapwood.goals.bench import Bench, session_times
from sapwood.goals.chooser import Chooser, Chosen
from sapwood.goals.clock import Timed, alone, timed
from sapwood.goals.layer_samples import layer_samples
from sapwood.goals.milliseconds import Aim
from sapwood.goals.targets import Target
from sapwood.graph import Analysis
from sapwood.measure import (
    LatencyModel,
    LatencyRow,
    LayerChange,
    Sample,
    explain,
    fit_latency,
    sample_work,
)
from sapwood.models import apply_plan
from sapwood.removal import Planner, Solution, unproven
from sapwood.runtime import LayerTimes, Session

MAX_ATTEMPTS = 8
SECONDS_IN_ALL = 40.0
"""After this no other network is tried: making and measuring one takes seconds, and most targets are met by then."""

LEAST_ATTEMPTS = 3
"""So many are made of a target that is missed, however long they take, and of one that is only between the quartiles:
what was measured first corrects the next."""

ROUNDS_BY_LAYER = 12

SEARCHES = 2
"""How often a network is looked for: again where the proof of the first one let less go than had been measured."""


@dataclass(frozen=True)
class Beside:
    """The network that a latency is a fraction of, where the one that is pruned was made of it.

    All that is tried is timed beside it, in the same rounds: a time in milliseconds would be one of another minute, in
    which the machine may have been half as fast.

    Attributes:
        model: It.
        ratio: What the one that is pruned takes with all channels, as a fraction of its time.
    """

    model: nn.Module
    ratio: float


@dataclass(frozen=True)
class Attempt:
    """One network that was made and measured: ratios to the dense network's latency."""

    predicted: float
    measured: float


@dataclass(frozen=True)
class LatencyOutcome:
    """How a latency target was met.

    Attributes:
        target: The ratio asked for, or that of the milliseconds asked for to ``dense_ms``; None where the network was
            pruned to another target and only timed.
        ratio: The ratio measured, round by round (median), with its quartiles; where milliseconds were asked for, that
            of the medians.
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
        target_ms: The milliseconds asked for, where they were.
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
    target_ms: float | None = None

    @property
    def met(self) -> bool:
        """Whether the target is reached, as far as the clock can tell; see :func:`sapwood.goals.approach.is_met`."""
        if self.target is None:
            return True
        aim = Aim(self.target, tolerance=self.tolerance, at_most=self.at_most)
        return aim.is_met((self.ratio_q1, self.ratio, self.ratio_q3))


@dataclass
class _Try:
    """One network under way: how it was chosen, and what became of it."""

    solution: Solution[Chosen]
    predicted: float
    clocked: Timed | None = None
    times: LayerTimes | None = None
    dense_times: LayerTimes | None = None

    @property
    def kept(self) -> tuple[int, ...]:
        """How many channels each group keeps."""
        return self.solution.chosen.allocation.kept

    @property
    def row(self) -> LatencyRow:
        """What the clock said of it."""
        assert self.clocked is not None
        return self.clocked.row

    def is_hit(self, aim: Aim, tries: int) -> bool:
        """Whether trying on can hardly do better: the clock's own spread decides, but not of the first few networks.

        The rounds of a busy machine are far apart, and their median is known better than that.
        """
        low, _, high = aim.shown(self.row)
        if aim.distance(self.row) <= CLOSE_ENOUGH:
            return True
        return tries >= LEAST_ATTEMPTS and is_between(aim.ratio, low, high)


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
        beside: The network that the target is one for, where that is another than ``model``.
        seconds: When no other network is tried; until the target is met, :data:`LEAST_ATTEMPTS` always are.
    """

    planner: Planner
    model: nn.Module
    bench: Bench
    chooser: Chooser
    target: Target
    progress: Callable[[int, int], None] | None = None
    beside: Beside | None = None
    seconds: float = SECONDS_IN_ALL
    _samples: list[Sample] = field(default_factory=list)
    _dense: Session | None = None
    _whole: Session | None = None

    def solve(self) -> tuple[Solution[Chosen], LatencyOutcome]:
        """Finds the network and times it.

        Returns:
            The proven solution, and the outcome; ``outcome.met`` tells whether a latency was met. Where a time was
            asked for that the dense network does not take, that of all widths.

        Raises:
            BudgetError: If no widths are fast enough: the narrowest network was measured, and the text says what its
                time goes into.
        """
        if self.target.kind != "latency":
            return self._observe(self.planner.solve(self.chooser.towards(self.target)))
        aim = self._aim()
        if aim.ratio > 1.0:
            return self._observe(self.planner.solve(lambda analysis: self.chooser.choose(analysis, 1.0)))
        return self._reach(aim)

    @property
    def _dense_model(self) -> nn.Module:
        """The network that times are fractions of."""
        return self.model if self.beside is None else self.beside.model

    @property
    def _known(self) -> list[Reached]:
        """What is known of the network with all channels before any other is made, where it is not the dense one."""
        return [] if self.beside is None else [Reached(1.0, self.beside.ratio)]

    def _aim(self) -> Aim:
        """The ratio that the clock is to show; milliseconds are one to the dense network, which is timed first."""
        asked, near = self.target.milliseconds, (self.target.tolerance, self.target.at_most)
        if asked is None:
            return Aim(self.target.value, None, *near)
        dense_ms = alone(self.bench, self._dense_model)
        if asked > dense_ms:  # it is fast enough as it is
            self.target, near = replace(self.target, at_most=True), (self.target.tolerance, True)
        return Aim(asked / dense_ms, dense_ms, *near)

    def _reach(self, aim: Aim) -> tuple[Solution[Chosen], LatencyOutcome]:
        """Finds the network whose measured ratio is the target, and proves it."""
        self._samples = self._measured_samples()
        tries: list[_Try] = []
        for _ in range(SEARCHES):
            tries = self._attempts(aim)
            best = min(tries, key=lambda one: aim.distance(one.row))
            proven = self._proven(best)
            if proven.kept == best.kept:
                return proven.solution, self._outcome(replace(best, solution=proven.solution), tries)
            self._measure(proven)  # more has to stay whole than was thought: what was measured is another network
            tries.append(proven)
            if aim.is_met(aim.shown(proven.row)):
                break
        return proven.solution, self._outcome(proven, tries)

    def _proven(self, best: _Try) -> _Try:
        """The network with its proof, for which more may have to stay whole."""
        before = best.solution
        solution = self.planner.solve(
            lambda analysis: self.chooser.choose_again(analysis, before.analysis, before.chosen)
        )
        return _Try(solution, best.predicted)

    def _observe(self, solution: Solution[Chosen]) -> tuple[Solution[Chosen], LatencyOutcome]:
        """Times a network that was pruned to another target, and explains where its time goes."""
        self._samples = self._measured_samples()
        seen = _Try(solution, 0.0)
        seen.predicted = self._predicted(seen, fit_latency(self._samples))
        self._measure(seen)
        return solution, self._outcome(seen, [seen])

    def _measured_samples(self) -> list[Sample]:
        return layer_samples(
            self.planner,
            self.model,
            self.bench,
            whole_heads=self.chooser.limits.whole_heads,
            routes=dict(self.chooser.routes),
            multiple=self.chooser.multiple,
            progress=self.progress,
        )

    def _attempts(self, aim: Aim) -> list[_Try]:
        """Makes and measures networks until one is close enough."""
        tries: list[_Try] = []
        fraction = next_fraction(self._known, aim.ratio) if self._known else min(1.0, aim.ratio)
        seen: set[tuple[int, ...]] = set()
        nudges = 0
        elapsed = Elapsed()
        while len(tries) < MAX_ATTEMPTS and not (self._are_enough(tries, aim) and elapsed.seconds > self.seconds):
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
                if aim.shown(found.row)[1] > aim.ratio * (1.0 + aim.tolerance):
                    raise BudgetError(self._floor_text(found)) from None
                tries.append(found)
                self._learn(found)
                fraction = self._next(tries, aim)
                continue
            if found.kept in seen:
                best = min(tries, key=lambda one: aim.distance(one.row))
                if aim.distance(best.row) <= CLOSE_ENOUGH:
                    break
                if not self._finer():  # this one is known: ask for a little more, or less
                    fraction = nudged(fraction, aim.shown(best.row)[1], aim.ratio)
                    nudges += 1
                if nudges > MAX_NUDGES:
                    break
                continue
            seen.add(found.kept)
            self._measure(found)
            tries.append(found)
            if found.is_hit(aim, len(tries)):
                break
            self._learn(found)
            fraction = self._next(tries, aim)
        return tries

    def _are_enough(self, tries: Sequence[_Try], aim: Aim) -> bool:
        """Whether the search may end by the clock."""
        return len(tries) >= LEAST_ATTEMPTS or any(aim.is_met(aim.shown(one.row)) for one in tries)

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
        found.clocked = timed(self.bench, self._dense_model, small, self._dense)
        self._dense = found.clocked.dense
        if self.beside is not None:  # layers have the names of the network that is pruned
            self._whole = self.bench.again(self.model, self._whole)
        found.times = session_times(found.clocked.session, ROUNDS_BY_LAYER)
        found.dense_times = session_times(self._whole or self._dense, ROUNDS_BY_LAYER)

    def _learn(self, found: _Try) -> None:
        """Adds what was measured to what the next fit knows."""
        if found.times is not None:
            self._samples.append(self._sample(found))

    def _next(self, tries: list[_Try], aim: Aim) -> float:
        """The fraction to ask the solver for next, by what the fitted times of now say of all that was measured."""
        fit = fit_latency(self._samples)
        reached = [Reached(self._predicted(one, fit), aim.shown(one.row)[1]) for one in tries]
        return next_fraction([*self._known, *reached], aim.ratio)

    def _predicted(self, found: _Try, fit: LatencyModel) -> float:
        """What the fitted times of now say of a network that was measured."""
        table = fit.table(self._work(found.solution.analysis))
        sizes = [group.num_channels for group in found.solution.analysis.groups]
        dense = table.total(np.asarray(sizes, dtype=np.int64))
        return table.total(np.asarray(found.kept, dtype=np.int64)) / dense

    def _work(self, analysis: Analysis) -> Work:
        return layer_work(analysis, self.chooser.held(analysis))

    def _sample(self, found: _Try) -> Sample:
        assert found.times is not None
        work = self._work(found.solution.analysis)
        return Sample(found.times, sample_work(work, found.kept), found.times.quartiles)

    def _outcome(self, best: _Try, tries: list[_Try]) -> LatencyOutcome:
        assert best.clocked is not None
        fit = fit_latency(self._samples)
        layers: tuple[LayerChange, ...] = ()
        if best.times is not None and best.dense_times is not None:
            dense = Sample(  # timed at the same time, not when samples were taken
                best.dense_times, self._samples[0].work, best.dense_times.quartiles
            )
            layers = explain(dense, self._sample(best), fit, frozen_layers(best.solution.analysis))
        conditions = {
            **best.clocked.conditions,
            "runtime": self.bench.deployment.runtime,
            "threads": self.bench.deployment.num_threads,
        }
        dense_ms, asked = best.clocked.dense_ms, self.target.milliseconds
        aim = Aim(0.0, None if asked is None else dense_ms)  # times to what the dense network took beside the best
        ratio_q1, ratio, ratio_q3 = aim.shown(best.row)
        return LatencyOutcome(
            target=self._asked_ratio(dense_ms),
            ratio=ratio,
            ratio_q1=ratio_q1,
            ratio_q3=ratio_q3,
            predicted=best.predicted,
            dense_ms=dense_ms,
            pruned_ms=best.row.median_ms,
            attempts=tuple(Attempt(one.predicted, aim.shown(one.row)[1]) for one in tries),
            fit_error=fit.error,
            layers=layers,
            conditions=conditions,
            tolerance=self.target.tolerance,
            at_most=self.target.at_most,
            target_ms=asked,
        )

    def _asked_ratio(self, dense_ms: float) -> float | None:
        """The latency asked for as a ratio to what the dense network took; None of another target."""
        if self.target.kind != "latency":
            return None
        return self.target.value / (1.0 if self.target.milliseconds is None else dense_ms)

    def _floor_text(self, found: _Try) -> str:
        """Why no width reaches the target."""
        took = "" if self.target.milliseconds is None else f"takes {found.row.median_ms:.3g} ms, "
        text = (
            f"latency {self.target.latency} on {self.bench.deployment.runtime}: no widths reach it; the narrowest "
            f"network {took or 'measures '}{found.row.ratio:.3f} of the dense one"
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
