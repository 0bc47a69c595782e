"""The table of a run: a row a step, on the console and on the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from sapwood.report import formats
from sapwood.report.pruned_view import Cells, TextTable
from sapwood.report.run_record import RunRecord, RunStep

TITLES: Cells = ("step", "verb", "parameters", "of them not 0", "MACs", "accuracy", "latency", "took", "")


def run_headline(run: RunRecord) -> str:
    """Says how far the run is, and whether targets were missed."""
    done = sum(step.state != "begun" for step in run.steps)
    missed = sum(step.state == "missed" for step in run.steps)
    text = f"All {done} steps are done" if done == run.num_steps else f"{done} of {run.num_steps} steps are done"
    return f"{text}; {missed} missed a target." if missed else f"{text}."


def step_rows(run: RunRecord) -> TextTable:
    """Returns a row a step."""
    figures = (False, False, True, True, True, True, True, True, False)
    return TextTable("Steps", TITLES, figures, tuple(_cells(step) for step in run.steps))


def command_rows(run: RunRecord) -> TextTable:
    """Returns the command of each step and where its files are."""
    rows = tuple((step.name, step.directory, step.command) for step in run.steps)
    return TextTable("Commands", ("step", "directory", "command"), (False, False, False), rows)


def time_rows(run: RunRecord) -> TextTable | None:
    """Returns a row for each network on each runtime that a step timed; None if none did."""
    rows = tuple(_time_cells(step, row) for step in run.steps for row in _benched(step))
    titles = ("step", "runtime", "network", "median", "ratio to the first", "on this runtime")
    return TextTable("Times", titles, (False, False, False, True, True, True), rows) if rows else None


def run_tables(record: RunRecord) -> list[Table]:
    """The steps and the times for a console."""
    found = (step_rows(record), time_rows(record))
    return [_console_table(rows) for rows in found if rows is not None]


def _console_table(rows: TextTable) -> Table:
    table = Table()
    for title, figure in zip(rows.titles, rows.figures, strict=True):
        table.add_column(title, justify="right" if figure else "left")
    for row in rows.rows:
        table.add_row(*row)
    return table


def _cells(step: RunStep) -> Cells:
    size = step.size
    return (
        step.name,
        step.verb,
        formats.count(size.params) if size else "",
        formats.percent(size.nonzeros / max(1, size.params)) if size else "",
        formats.count(size.macs) if size else "",
        _accuracy(step),
        _latency(step),
        formats.seconds(step.seconds) if step.seconds is not None else "",
        {"begun": "not finished", "missed": step.missed or "missed"}.get(step.state, ""),
    )


def _accuracy(step: RunStep) -> str:
    """The primary figure of what a step measured."""
    metrics = step.result.get("metrics") if isinstance(step.result, Mapping) else None
    if not isinstance(metrics, Mapping) or not metrics:
        return ""
    name = str(step.result.get("primary") or next(iter(metrics)))
    value = metrics.get(name)
    return f"{name} {formats.score(value)}" if isinstance(value, float) else ""


def _latency(step: RunStep) -> str:
    """The time that a step measured as a ratio; of several networks on several runtimes, the least one."""
    result = step.result if isinstance(step.result, Mapping) else {}
    latency = result.get("latency")
    if isinstance(latency, Mapping) and isinstance(latency.get("ratio"), float):
        return formats.times(latency["ratio"])
    ratios = [row["ratio"] for row in _benched(step) if isinstance(row.get("ratio"), float)]
    return f"down to {formats.times(min(ratios))}" if len(ratios) > 1 else ""


def _benched(step: RunStep) -> list[Mapping[str, Any]]:
    """What a bench step timed: a row a network and runtime."""
    found = step.result.get("rows") if step.verb == "bench" and isinstance(step.result, Mapping) else None
    return [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []


def _time_cells(step: RunStep, row: Mapping[str, Any]) -> Cells:
    median, ratio, same = (row.get(key) for key in ("median_ms", "ratio", "same_runtime_ratio"))
    return (
        step.name,
        str(row.get("runtime", "")),
        str(row.get("model", "")),
        formats.milliseconds(median) if isinstance(median, float) else str(row.get("reason") or "not timed"),
        formats.times(ratio) if isinstance(ratio, float) else formats.MISSING,
        formats.times(same) if isinstance(same, float) else formats.MISSING,
    )
