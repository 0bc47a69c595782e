"""The clock of latency targets: a network against the dense one, loaded anew more than once.

Other work on the same core interrupts calls: by the clock a call of 2 ms then takes 2 or 40, and the ratio of two
networks says how often each was interrupted. Where that is seen and one thread works, the processor's time counts.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from torch import nn

from sapwood.goals.approach import TELLING
from sapwood.goals.bench import Bench
from sapwood.measure import LatencyRow, LatencyTable, measure_latency
from sapwood.runtime import Session

ROUNDS = 200
SECONDS = 2.0
"""How long one attempt is measured against the dense model, each time: rounds or seconds, whichever is less."""

LOADS = 2
"""How often both are loaded anew for that: where their memory lies shifts the ratio by a few percent."""

MOST_LOADS = 4
"""How often at most, where a machine is so busy that what a load shows tells nothing; the search would follow it."""

UNDISTURBED = 0.9
"""The share of the time that one thread has of its core at least, unless others want it as well."""

SHORT = 0.05
"""Seconds that say nothing of that."""

TIMED_BY = "timed_by"
"""The condition that says which time counts, where that is not the clock's."""

PROCESSOR = "the processor's time"

FIGURES = ("median_ms", "q1_ms", "q3_ms", "ratio", "ratio_q1", "ratio_q3")


@dataclass(frozen=True)
class Timed:
    """One network against the dense one.

    Attributes:
        row: Of the network: its ratios and times are means over all loads.
        dense_ms: Of the dense network, likewise.
        conditions: What the last load's times hold under.
        dense: The dense network as it was loaded last.
        session: The other one, likewise.
    """

    row: LatencyRow
    dense_ms: float
    conditions: Mapping[str, Any]
    dense: Session
    session: Session


def timed(bench: Bench, dense_model: nn.Module, model: nn.Module, dense: Session | None = None) -> Timed:
    """Times a network against the dense one, in :data:`LOADS` loads of both, not counting those that tell nothing.

    Args:
        bench: Where both run.
        dense_model: The dense network.
        model: The other one.
        dense: A session of the dense network, of before, to open once more.
    """
    every: list[_Load] = []
    while len([load for load in every if load.tells]) < LOADS and len(every) < MOST_LOADS:
        every.append(_load({"dense": dense_model, "pruned": model}, bench, every, {"dense": dense}))
    counted = _counted(every)
    rows = [load.table["pruned"] for load in counted]
    means: dict[str, Any] = {name: fmean(getattr(row, name) for row in rows) for name in FIGURES}
    row = replace(rows[-1], **means, speedup=1.0 / means["ratio"])
    dense_ms = fmean(load.table["dense"].median_ms for load in counted)
    last = every[-1].sessions
    return Timed(row, dense_ms, counted[-1].conditions, last["dense"], last["pruned"])


def alone(bench: Bench, model: nn.Module) -> float:
    """The median milliseconds of a network by itself."""
    every: list[_Load] = []
    while len([load for load in every if load.tells]) < LOADS and len(every) < MOST_LOADS:
        every.append(_load({"dense": model}, bench, every))
    return fmean(load.table["dense"].median_ms for load in _counted(every))


@dataclass(frozen=True)
class _Load:
    """What the rounds of one load gave, and by which clock."""

    table: LatencyTable
    sessions: Mapping[str, Session]
    by_processor: bool
    waited: bool

    @property
    def tells(self) -> bool:
        """Whether the rounds agree enough: in the ratio, or in the time where there is one network only.

        Where every call waits for the core, they agree on nothing but that: two networks of less than a millisecond
        then take the same.
        """
        if self.waited and not self.by_processor:
            return False
        if "pruned" in self.sessions:
            row = self.table["pruned"]
            return row.ratio_q3 <= TELLING * row.ratio_q1
        row = self.table["dense"]
        return row.q3_ms <= TELLING * row.q1_ms

    @property
    def conditions(self) -> dict[str, Any]:
        return {**self.table.conditions, **({TIMED_BY: PROCESSOR} if self.by_processor else {})}


def _load(
    models: Mapping[str, nn.Module],
    bench: Bench,
    before: Sequence[_Load],
    known: Mapping[str, Session | None] | None = None,
) -> _Load:
    """Opens the networks and times them; by the processor's time after a load in which the clock told nothing."""
    opened = before[-1].sessions if before else known or {}
    sessions = {name: bench.again(model, opened.get(name)) for name, model in models.items()}
    threads = bench.deployment.num_threads
    by_processor = threads == 1 and not all(load.tells for load in before)
    clock = time.process_time if by_processor else time.perf_counter
    start, own = time.perf_counter(), time.process_time()
    table = measure_latency(sessions, baseline="dense", rounds=ROUNDS, seconds=SECONDS, threads=threads, clock=clock)
    whole, own = time.perf_counter() - start, time.process_time() - own
    waited = threads == 1 and whole > SHORT and own < UNDISTURBED * whole
    return _Load(table, sessions, by_processor, waited)


def _counted(every: Sequence[_Load]) -> Sequence[_Load]:
    """The loads that tell something, of one clock; where none does, all that there are of the better one."""
    by_processor = [load for load in every if load.by_processor]
    one_clock = by_processor or every
    return [load for load in one_clock if load.tells] or one_clock
