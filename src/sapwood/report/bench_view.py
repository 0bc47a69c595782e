"""The page of `sapwood bench`: a bar a network and runtime, and the five questions of the fastest pair."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sapwood.report import formats
from sapwood.report.answers import FASTER, GET, LOST, PLACE, SURE, Answer, times_as_fast, where_text
from sapwood.report.bench import bench_table, row_spread
from sapwood.report.findings import Finding
from sapwood.report.names import runtime_name
from sapwood.report.noise import unsteady_text
from sapwood.report.plots.axis import axis_from_zero
from sapwood.report.plots.latency import LEAST_HIGH, Bar, LatencyPlot
from sapwood.report.records import BenchRecord, BenchRow, MadeBy


def fastest(record: BenchRecord) -> BenchRow | None:
    """The pair that takes the least time; None where none ran."""
    timed = [row for row in record.rows if row.ratio is not None]
    return min(timed, key=lambda row: row.ratio or 0.0, default=None)


def bench_headline(record: BenchRecord) -> Finding:
    """Says which pair is the fastest, and beside what."""
    best = fastest(record)
    if best is None or record.baseline is None or best.ratio is None:
        return Finding("Speed", "Nothing ran.", "bad")
    model, runtime = record.baseline
    if (best.model, best.runtime) == (model, runtime):
        return Finding("Speed", f"Nothing is faster than {model} in {runtime_name(runtime)}.")
    text = f"{best.model} in {runtime_name(best.runtime)} is {times_as_fast(best.ratio).lower()} as {model} in"
    return Finding("Speed", f"{text} {runtime_name(runtime)}.", "good")


def bench_answers(record: BenchRecord, made: MadeBy | None) -> tuple[Answer, ...]:
    """The five questions, of the fastest pair."""
    best = fastest(record)
    if best is None or best.ratio is None or best.q1_ms is None or best.q3_ms is None or best.median_ms is None:
        return ()
    spread = f"half of the rounds {formats.three(best.q1_ms)} to {formats.milliseconds(best.q3_ms)}"
    error = (
        "" if best.max_relative_error is None else f"outputs differ from PyTorch's by {best.max_relative_error:.1e}; "
    )
    command = made.commands if made is not None else ()
    return (
        Answer(FASTER, f"{1.0 / best.ratio:.1f}×", f"{formats.milliseconds(best.median_ms)} a call: {best.model}"),
        Answer(PLACE, runtime_name(best.runtime), where_text(record.conditions)),
        Answer(LOST, "not measured", "accuracy: sapwood eval measures it"),
        Answer(
            SURE,
            formats.several(record.conditions["rounds"], "round") if "rounds" in record.conditions else "rounds",
            "; ".join([f"{error}{spread}", *_unsteady(record, best)]),
        ),
        Answer(GET, "", "", command),
    )


def _unsteady(record: BenchRecord, best: BenchRow) -> list[str]:
    """That one of the two whose ratio stands above was disturbed."""
    pair = [row for row in record.rows if row is best or (row.model, row.runtime) == record.baseline]
    told = unsteady_text({f"{row.model} in {runtime_name(row.runtime)}": row_spread(row) or 0.0 for row in pair})
    return [told] if told else []


def bench_plot(record: BenchRecord) -> LatencyPlot | None:
    """A bar for each pair that ran, as a ratio to the first one."""
    timed = [row for row in record.rows if row.ratio is not None and row.median_ms]
    base = next((row for row in timed if (row.model, row.runtime) == record.baseline), None)
    if base is None or base.median_ms is None:
        return None
    spans = [tuple((one or 0.0) / base.median_ms for one in (row.q1_ms, row.q3_ms)) for row in timed]
    axis = axis_from_zero(max([LEAST_HIGH, *(high for _, high in spans)]), num_ticks=6)
    bars = tuple(
        Bar(
            name=f"{row.model} in {runtime_name(row.runtime)}",
            median=axis.place(row.ratio or 0.0),
            low=axis.place(low),
            high=axis.place(high),
            value=formats.times(row.ratio),
            spread=f"{low:.2f} to {high:.2f}",
            verdict="same" if row is base else "faster" if high < 1.0 else "slower" if low > 1.0 else "same",
        )
        for row, (low, high) in zip(timed, spans, strict=True)
    )
    ticks = tuple((axis.place(tick), axis.label(tick)) for tick in axis.ticks)
    summary = "; ".join(f"{bar.name} {bar.value} ({bar.spread})" for bar in bars)
    return LatencyPlot(bars, ticks, axis.place(1.0), formats.milliseconds(base.median_ms), summary)


def bench_values(record: BenchRecord, made: MadeBy | None) -> Mapping[str, Any]:
    """What the template of the page shows."""
    return {
        "record": record,
        "headline": bench_headline(record),
        "answers": bench_answers(record, made),
        "bars": bench_plot(record),
        "table": bench_table(record),
        "reasons": [f"{row.model} in {runtime_name(row.runtime)}: {row.reason}" for row in record.rows if row.reason],
        "made": made,
    }
