"""The table of the latency of models on runtimes."""

from __future__ import annotations

from statistics import median

from sapwood.report import formats
from sapwood.report.noise import noise_text, unsteady_text
from sapwood.report.records import BenchRecord, BenchRow
from sapwood.report.table import Cells, TextTable, columns

TITLES = ("runtime", "model", "median", "half of the rounds", "ratio", "speed-up", "ratio on this runtime")
"""Titles of the columns that :func:`bench_cells` fills."""

INT8 = "-int8"
"""How the names of runtimes end that compute in it."""


def bench_cells(row: BenchRow) -> Cells:
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


def bench_table(record: BenchRecord) -> TextTable:
    """Returns a record as a table: a row a pair, runtimes apart."""
    rows = record.rows
    return TextTable(
        "Latency of one call",
        columns(*TITLES, words=["model"]),
        tuple(bench_cells(row) for row in rows),
        heading="latency of one call, in paired rounds",
        notes=_notes(record),
        looks={(place, 2): "red" for place, row in enumerate(rows) if row.median_ms is None},
        rules=[place for place in range(1, len(rows)) if rows[place].runtime != rows[place - 1].runtime],
    )


def row_spread(row: BenchRow) -> float | None:
    """What the middle half of a pair's rounds spans, as a fraction of its time; None where it was not timed."""
    if row.q1_ms is None or row.q3_ms is None or not row.median_ms:
        return None
    return (row.q3_ms - row.q1_ms) / row.median_ms


def reasons(record: BenchRecord) -> list[str]:
    """Why pairs were not timed, a line each."""
    return [f"{row.runtime}, {row.model}: {row.reason}" for row in record.rows if row.reason is not None]


def _notes(record: BenchRecord) -> Cells:
    if record.baseline is None:
        return ()
    given = record.conditions
    spreads = {
        f"{row.model} on {row.runtime}": spread for row in record.rows if (spread := row_spread(row)) is not None
    }
    whole = noise_text(median(spreads.values()) if spreads else 0.0)
    one = "" if whole else unsteady_text(spreads)
    rounded = any(name.endswith(INT8) for name in record.versions)
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    rounds = formats.several(given["rounds"], "round")
    return (
        f"ratio to {record.baseline[0]} on {record.baseline[1]}, round by round; {given['cpu']}, threads "
        f"{given['threads']}, batch {given['batch'] or 'of the example inputs'}, {rounds}; {versions}" + whole,
        *((one,) if one else ()),
        *(("int8 is calibrated on random inputs, for the time only; accuracy: sapwood eval --runtime",) * rounded),
    )
