"""The clock of latency targets: a network against the dense one, loaded anew more than once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import fmean

from torch import nn

from sapwood.goals.layer_samples import Bench
from sapwood.measure import LatencyRow, LatencyTable, measure_latency
from sapwood.runtime import Session

ROUNDS = 200
SECONDS = 2.0
"""How long one attempt is measured against the dense model, each time: rounds or seconds, whichever is less."""

LOADS = 2
"""How often both are loaded anew for that: where their memory lies shifts the ratio by a few percent."""

RATIOS = ("ratio", "ratio_q1", "ratio_q3")


@dataclass(frozen=True)
class Timed:
    """One network against the dense one.

    Attributes:
        row: Of the network: its ratios are means over all loads, its times those of the last.
        table: The last load's rows, ``"dense"`` and ``"pruned"``.
        dense: The dense network as it was loaded last.
        session: The other one, likewise.
    """

    row: LatencyRow
    table: LatencyTable
    dense: Session
    session: Session


def timed(bench: Bench, dense_model: nn.Module, model: nn.Module) -> Timed:
    """Times a network against the dense one, in :data:`LOADS` loads of both."""
    rows = []
    for _ in range(LOADS):
        dense, session = bench.load(dense_model), bench.load(model)
        table = measure_latency(
            {"dense": dense, "pruned": session},
            baseline="dense",
            rounds=ROUNDS,
            seconds=SECONDS,
            threads=bench.deployment.num_threads,
        )
        rows.append(table["pruned"])
    ratio, q1, q3 = (fmean(getattr(row, name) for row in rows) for name in RATIOS)
    return Timed(replace(rows[-1], ratio=ratio, ratio_q1=q1, ratio_q3=q3, speedup=1.0 / ratio), table, dense, session)
