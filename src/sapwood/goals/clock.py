"""The clock of latency targets: a network against the dense one, loaded anew more than once."""

from __future__ import annotations

from collections.abc import Mapping
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


def timed(bench: Bench, dense_model: nn.Module, model: nn.Module) -> Timed:
    """Times a network against the dense one, in :data:`LOADS` loads of both, not counting those that tell nothing."""
    every: list[LatencyTable] = []
    while len([table for table in every if _tells(table)]) < LOADS and len(every) < MOST_LOADS:
        dense, session = bench.load(dense_model), bench.load(model)
        every.append(_table({"dense": dense, "pruned": session}, bench))
    tables = [table for table in every if _tells(table)] or every
    means: dict[str, Any] = {name: fmean(getattr(table["pruned"], name) for table in tables) for name in FIGURES}
    row = replace(tables[-1]["pruned"], **means, speedup=1.0 / means["ratio"])
    dense_ms = fmean(table["dense"].median_ms for table in tables)
    return Timed(row, dense_ms, tables[-1].conditions, dense, session)


def _tells(table: LatencyTable) -> bool:
    """Whether the rounds of a load agree enough."""
    row = table["pruned"]
    return row.ratio_q3 <= TELLING * row.ratio_q1


def alone(bench: Bench, model: nn.Module) -> float:
    """The median milliseconds of a network by itself."""
    return fmean(_table({"dense": bench.load(model)}, bench)["dense"].median_ms for _ in range(LOADS))


def _table(sessions: Mapping[str, Session], bench: Bench) -> LatencyTable:
    threads = bench.deployment.num_threads
    return measure_latency(sessions, baseline="dense", rounds=ROUNDS, seconds=SECONDS, threads=threads)
