"""The latency of models on runtimes: its record, and the table of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich.table import Table
from rich.text import Text

from sapwood.report import formats
from sapwood.report.noise import noise_text


@dataclass(frozen=True)
class BenchRow:
    """One model on one runtime: times, or the reason why there are none.

    Attributes:
        model: What it is called.
        runtime: A name in :data:`sapwood.runtime.RUNTIMES`.
        median_ms: Of one call; None with a reason.
        q1_ms: Lower quartile.
        q3_ms: Upper quartile.
        ratio: To the first pair that ran, the median over the rounds.
        speedup: ``1 / ratio``.
        same_runtime_ratio: To the first model on the same runtime; None if that did not run.
        max_relative_error: Of the session's outputs against PyTorch's.
        reason: Why there are no times.
        check_failed: Whether that is because its outputs are not the model's.
    """

    model: str
    runtime: str
    median_ms: float | None = None
    q1_ms: float | None = None
    q3_ms: float | None = None
    ratio: float | None = None
    speedup: float | None = None
    same_runtime_ratio: float | None = None
    max_relative_error: float | None = None
    reason: str | None = None
    check_failed: bool = False


@dataclass(frozen=True)
class BenchRecord:
    """All models on all runtimes; its ``asdict`` is plain JSON.

    Attributes:
        rows: Runtime by runtime, the models in the order given.
        baseline: Model and runtime that ``ratio`` is formed to; None if nothing ran.
        versions: Of each runtime that is there.
        conditions: Those of the measurement.
    """

    rows: tuple[BenchRow, ...]
    baseline: tuple[str, str] | None
    versions: Mapping[str, str]
    conditions: Mapping[str, Any]


TITLES = ("runtime", "model", "median", "half of the rounds", "ratio", "speed-up", "ratio on this runtime")
"""Titles of the columns that :func:`bench_cells` fills."""


def bench_cells(row: BenchRow) -> tuple[str, ...]:
    """Returns a row as text; of a pair that was not timed its first three columns."""
    if row.median_ms is None or row.ratio is None or row.q1_ms is None or row.q3_ms is None:
        return row.runtime, row.model, "not timed"
    return (
        row.runtime,
        row.model,
        f"{row.median_ms:.3f} ms",
        f"{row.q1_ms:.3f} to {row.q3_ms:.3f}",
        f"{row.ratio:.3f}",
        f"{1 / row.ratio:.2f} x",
        formats.MISSING if row.same_runtime_ratio is None else f"{row.same_runtime_ratio:.3f}",
    )


def bench_table(record: BenchRecord) -> Table:
    """Returns a record as a table: a row a pair, runtimes apart."""
    table = Table(title="latency of one call, in paired rounds")
    table.add_column("runtime", no_wrap=True)
    table.add_column("model", overflow="fold")
    for title in TITLES[2:]:
        table.add_column(title, justify="right")
    previous = None
    for row in record.rows:
        if previous not in {None, row.runtime}:
            table.add_section()
        style = "red" if row.median_ms is None else ""
        runtime, model, *figures = bench_cells(row)
        table.add_row(Text(runtime), Text(model), *(Text(figure, style=style) for figure in figures))
        previous = row.runtime
    table.caption = Text(_caption(record))
    return table


def reasons(record: BenchRecord) -> list[str]:
    """Why pairs were not timed, a line each."""
    return [f"{row.runtime}, {row.model}: {row.reason}" for row in record.rows if row.reason is not None]


def _caption(record: BenchRecord) -> str:
    if record.baseline is None:
        return ""
    given = record.conditions
    rows = [(row.q1_ms, row.median_ms, row.q3_ms) for row in record.rows]
    spreads = [(q3 - q1) / middle for q1, middle, q3 in rows if q1 is not None and q3 is not None and middle]
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    return (
        f"ratio to {record.baseline[0]} on {record.baseline[1]}, round by round; {given['cpu']}, threads "
        f"{given['threads']}, batch {given['batch'] or 'of the example inputs'}, {given['rounds']} rounds; {versions}"
        + noise_text(median(spreads) if spreads else 0.0)
    )
