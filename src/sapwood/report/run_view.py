"""The table of a run: a row a step, on the console and on the page."""

from __future__ import annotations

from collections.abc import Mapping

from sapwood.report import formats
from sapwood.report.bench import TITLES as TIMES
from sapwood.report.bench import bench_cells
from sapwood.report.records import BenchRow, RunRecord, RunStep
from sapwood.report.table import Cells, TextTable, columns

TITLES: Cells = ("step", "verb", "parameters", "of them not 0", "MACs", "accuracy", "latency", "took", "")


def run_headline(run: RunRecord) -> str:
    """Says how far the run is, and whether targets were missed."""
    done = sum(step.state != "begun" for step in run.steps)
    missed = sum(step.state == "missed" for step in run.steps)
    text = f"All {done} steps are done" if done == run.num_steps else f"{done} of {run.num_steps} steps are done"
    return f"{text}; {missed} missed a target." if missed else f"{text}."


def step_rows(run: RunRecord) -> TextTable:
    """Returns a row a step."""
    return TextTable("Steps", columns(*TITLES, words=["verb", ""]), tuple(_cells(step) for step in run.steps))


def command_rows(run: RunRecord) -> TextTable:
    """Returns the command of each step and where its files are."""
    rows = tuple((step.name, step.directory, step.command) for step in run.steps)
    return TextTable("Commands", columns("step", "directory", "command", words=["directory", "command"]), rows)


def time_rows(run: RunRecord) -> TextTable | None:
    """Returns a row for each network on each runtime that a step timed; None if none did."""
    rows = tuple(_time_cells(step, row) for step in run.steps for row in step.timed)
    return TextTable("Times", columns("step", *TIMES, words=["runtime", "model"]), rows) if rows else None


def run_tables(record: RunRecord) -> list[TextTable]:
    """The steps and the times for a console."""
    return [table for table in (step_rows(record), time_rows(record)) if table is not None]


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
    """The primary figure of what a step measured; of an int8 file that of the runtime that it was measured on."""
    result = step.result if isinstance(step.result, Mapping) else {}
    int8, metrics = result.get("int8"), result.get("metrics")
    if isinstance(int8, Mapping) and isinstance(int8.get("agreement"), float):
        name, value = int8.get("metric"), int8.get("accuracy")
        if not isinstance(value, float):
            return f"agrees on {formats.percent(int8['agreement'])}, {int8.get('runtime')}"
        return f"{name} {formats.score(value)}, {int8.get('runtime')}"
    if not isinstance(metrics, Mapping) or not metrics:
        return ""
    name = str(result.get("primary") or next(iter(metrics)))
    value, runtime = metrics.get(name), result.get("runtime", "torch")
    where = "" if runtime == "torch" else f", {runtime}"
    return f"{name} {formats.score(value)}{where}" if isinstance(value, float) else ""


def _latency(step: RunStep) -> str:
    """The time that a step measured as a ratio; of several networks on several runtimes, the least one."""
    result = step.result if isinstance(step.result, Mapping) else {}
    latency = result.get("latency")
    if isinstance(latency, Mapping) and isinstance(latency.get("ratio"), float):
        return formats.times(latency["ratio"])
    ratios = [row.ratio for row in step.timed if row.ratio is not None]
    return f"down to {formats.times(min(ratios))}" if len(ratios) > 1 else ""


def _time_cells(step: RunStep, row: BenchRow) -> Cells:
    cells = bench_cells(row)
    if row.median_ms is None:
        cells = (*cells[:2], f"not timed: {row.reason}")
    return (step.name, *cells, *[formats.MISSING] * (len(TIMES) - len(cells)))
