"""The time of all candidates against each other, and what a live mask adds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sapwood.cases import BASELINE
from sapwood.measure import LatencyRow, measure_latency
from sapwood.pipeline.candidates import Candidate
from sapwood.report.record import Latency, LiveMask
from sapwood.runtime import model_call
from sapwood.types import ModelBundle

Progress = Callable[[int, int], None]


def time_candidates(
    candidates: Mapping[str, Candidate], rounds: int, progress: Progress | None = None
) -> tuple[dict[str, Latency], Mapping[str, Any]]:
    """Times one pass of one picture through every candidate, all of them in every round.

    Returns:
        Each candidate's times, and the conditions they hold under.
    """
    calls = {name: _call(candidate.bundle) for name, candidate in candidates.items()}
    table = measure_latency(calls, baseline=BASELINE, rounds=rounds, batch=1, progress=progress)
    return {row.name: _latency(row) for row in table.rows}, table.conditions


def time_live_mask(
    candidates: Mapping[str, Candidate], rounds: int, progress: Progress | None = None
) -> LiveMask | None:
    """Times the first candidate that came from masks with its masks live, against itself with them removed."""
    for name, candidate in candidates.items():
        if candidate.with_live_masks is not None:
            live = model_call(candidate.with_live_masks(), candidate.bundle.example_inputs)
            table = measure_latency(
                {"removed": _call(candidate.bundle), "live": live},
                baseline="removed",
                rounds=rounds,
                batch=1,
                progress=progress,
            )
            row = table["live"]
            return LiveMask(case=name, ratio=row.ratio, ratio_q25=row.ratio_q1, ratio_q75=row.ratio_q3)
    return None


def _call(bundle: ModelBundle) -> Callable[[], object]:
    return model_call(bundle.model, bundle.example_inputs)


def _latency(row: LatencyRow) -> Latency:
    return Latency(
        median_ms=row.median_ms,
        q25_ms=row.q1_ms,
        q75_ms=row.q3_ms,
        min_ms=row.min_ms,
        ratio=row.ratio,
        ratio_q25=row.ratio_q1,
        ratio_q75=row.ratio_q3,
    )
