"""How sure the figures of a run are: the ± of an accuracy, the spread of a time, and with how many threads it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sapwood.report import formats
from sapwood.report.bench import row_spread
from sapwood.report.noise import noise_text
from sapwood.report.records import BenchRow, RunRecord


def run_sure(
    run: RunRecord,
    directory: str,
    runtime: str | None,
    directory_of: Callable[[str], str],
) -> tuple[str, list[str]]:
    """Says how sure the accuracy and the time of a run's network are.

    Args:
        run: The run.
        directory: Of the step that made the network.
        runtime: Where its time was measured; None where it was not.
        directory_of: Tells that directory from the words of a command, or from a model that was timed.

    Returns:
        The answer, and what else belongs to it.
    """
    answer, more = "no ± measured", []
    for result in _measured(run, directory, directory_of):
        interval, pictures = result.get("interval"), result.get("num_images")
        if isinstance(interval, Mapping) and {"low", "high"} <= set(interval):
            answer = f"± {50.0 * (float(interval['high']) - float(interval['low'])):.1f} points"
            more = [f"95 of 100 samples of {pictures} pictures"]
    rows = [row for row in _timed(run) if row.runtime == runtime and directory_of(row.model) == directory]
    if rows and rows[-1].q1_ms is not None and rows[-1].q3_ms is not None:
        last = rows[-1]
        noise = noise_text(row_spread(last) or 0.0)
        more.append(
            f"half of the rounds {formats.three(last.q1_ms or 0.0)} to {formats.milliseconds(last.q3_ms)}{noise}"
        )
    return answer, more


def threads_of(run: RunRecord, runtime: str) -> int | None:
    """With how many threads a runtime was timed; None where steps do not say so, or differ."""
    found = set()
    for step in run.steps:
        result = step.result if isinstance(step.result, Mapping) else {}
        latency = result.get("latency")
        if step.verb == "bench" and any(row.runtime == runtime for row in step.timed):
            found.add(_threads(result))
        elif isinstance(latency, Mapping) and (latency.get("conditions") or {}).get("runtime", "torch") == runtime:
            found.add(_threads(latency))
    return found.pop() if len(found) == 1 else None


def _threads(record: Mapping[str, Any]) -> int | None:
    threads = (record.get("conditions") or {}).get("threads")
    return threads if isinstance(threads, int) else None


def _measured(run: RunRecord, directory: str, directory_of: Callable[[str], str]) -> Iterator[Mapping[str, Any]]:
    """What steps told that measured a network's accuracy in PyTorch, in their order."""
    for step in run.steps:
        if not isinstance(step.result, Mapping):
            continue
        named = directory_of(step.command) if step.verb == "eval" else step.directory
        if step.verb in {"eval", "train"} and named == directory and step.result.get("runtime", "torch") == "torch":
            yield step.result


def _timed(run: RunRecord) -> Iterator[BenchRow]:
    for step in run.steps:
        yield from step.timed
