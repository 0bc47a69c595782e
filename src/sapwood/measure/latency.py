"""Latency that can be compared: rounds in which every candidate runs once, and ratios within a round."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sapwood.arguments import check_kind
from sapwood.errors import ConfigError, MeasureError
from sapwood.measure.hardware import machine
from sapwood.runtime import kept_memory

Candidate = Callable[[], object]

MIN_ROUNDS = 5
"""Rounds that are run whatever the time budget says: fewer have no quartiles worth the name."""


SPIN_DOWN = 0.05
"""Seconds after which the thread pools of all runtimes sleep. By its own default ONNX Runtime's spins for some 45 ms of
processor time after a call; PyTorch's (OpenMP) does for 4 to 12 ms, OpenVINO's for 1 ms."""


@dataclass(frozen=True)
class LatencyRow:
    """One candidate's times over all rounds.

    Attributes:
        name: The candidate.
        median_ms: Median time of one call, in milliseconds.
        q1_ms: Lower quartile.
        q3_ms: Upper quartile.
        min_ms: Fastest call.
        ratio: Median over the rounds of this candidate's time divided by the baseline's in the same round; below 1 is
            faster than the baseline.
        ratio_q1: Lower quartile of those ratios.
        ratio_q3: Upper quartile of those ratios.
        speedup: ``1 / ratio``.
    """

    name: str
    median_ms: float
    q1_ms: float
    q3_ms: float
    min_ms: float
    ratio: float
    ratio_q1: float
    ratio_q3: float
    speedup: float


@dataclass(frozen=True)
class LatencyTable:
    """All candidates of one measurement; its ``asdict`` is plain JSON.

    Attributes:
        rows: One a candidate, in the order given.
        baseline: The candidate that ratios are formed to.
        conditions: The machine (:func:`sapwood.measure.machine`), ``threads``, ``rounds`` (run), ``warmup``, ``seed``,
            and whatever the caller said (``batch``).
    """

    rows: tuple[LatencyRow, ...]
    baseline: str
    conditions: Mapping[str, Any]

    def __getitem__(self, name: str) -> LatencyRow:
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"no candidate {name!r}; there are: {', '.join(row.name for row in self.rows)}")


def measure_latency(
    candidates: Mapping[str, Candidate],
    *,
    baseline: str,
    rounds: int = 30,
    warmup: int = 3,
    threads: int | None = None,
    seed: int = 0,
    seconds: float | None = None,
    batch: int | None = None,
    pause: float = 0.0,
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[int, int], None] | None = None,
) -> LatencyTable:
    r"""Times candidates against each other in paired, interleaved rounds.

    Every round runs every candidate once, in an order drawn anew, and a candidate is compared with the baseline of the
    same round, so that a machine that grows slower or is shared harms all candidates alike:

    .. math:: \mathrm{ratio}_c = \mathrm{median}_r \; t_{c,r} / t_{\mathrm{baseline},r}

    Garbage is collected between calls, not during them, and memory that a call frees stays with the process
    (:func:`sapwood.runtime.kept_memory`): else a process's history decides how many page faults a call takes.

    Args:
        candidates: What to call, by name; a call is timed until it returns. Any runtime is a candidate.
        baseline: One of the names.
        rounds: Rounds to time, at least 1.
        warmup: Rounds before them that are not timed.
        threads: Threads PyTorch may use meanwhile; as it is if not given. Other runtimes set their own.
        seed: Of the orders.
        seconds: Stops after the round in which this time is over, but not before 5 rounds; warm-up does not count.
        batch: Pictures a call, for the record.
        pause: Seconds to sleep before each call. The threads of some runtimes keep spinning after a call and take cores
            from the next candidate; with different runtimes among the candidates, use :data:`SPIN_DOWN`.
        clock: Seconds, as :func:`time.perf_counter`.
        progress: Called with (done, total) rounds, warm-up included.

    Returns:
        One row a candidate and the conditions they hold under.

    Raises:
        ConfigError: If there is no such baseline or a number is out of range.
        MeasureError: If a candidate raises (named), or the baseline takes no time that the clock can tell.

    Examples:
        >>> calls = {"dense": lambda: sum(range(900)), "half": lambda: sum(range(450))}
        >>> table = measure_latency(calls, baseline="dense")
        >>> table["dense"].ratio, table.conditions["rounds"]
        (1.0, 30)
    """
    check_kind("candidates", candidates, Mapping, "a dict of names and what to call")
    if baseline not in candidates:
        raise ConfigError(
            f"baseline: got {baseline!r}; expected one of the candidates: {', '.join(candidates) or 'none'}"
        )
    times, conditions = time_rounds(
        candidates,
        rounds=rounds,
        warmup=warmup,
        threads=threads,
        seed=seed,
        seconds=seconds,
        batch=batch,
        pause=pause,
        clock=clock,
        progress=progress,
    )
    return summarise(times, baseline, conditions)


def time_rounds(
    candidates: Mapping[str, Candidate],
    *,
    rounds: int = 30,
    warmup: int = 3,
    threads: int | None = None,
    seed: int = 0,
    seconds: float | None = None,
    batch: int | None = None,
    pause: float = 0.0,
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """Times candidates in rounds: :func:`measure_latency` without the table, for several of them (:func:`summarise`).

    Returns:
        One mapping a round, from candidate to seconds; and the conditions they hold under.

    Raises:
        ConfigError: If a number is out of range.
        MeasureError: If a candidate raises (named).
    """
    if not 0.0 <= pause < float("inf"):
        raise ConfigError(f"pause: got {pause!r}; expected at least 0 seconds")
    _check({"rounds": (rounds, 1), "warmup": (warmup, 0), "threads": (threads, 1)}, seconds)
    tick = _Ticker(progress, warmup + rounds)
    names = list(candidates)
    orders = random.Random(seed)
    times: list[dict[str, float]] = []
    with _quiet(threads), kept_memory() as kept:
        for _ in range(warmup):
            _round(candidates, orders.sample(names, len(names)), clock, pause)
            tick()
        conditions = machine()
        start = clock()
        while len(times) < rounds and not (
            seconds is not None and len(times) >= MIN_ROUNDS and clock() - start >= seconds
        ):
            times.append(_round(candidates, orders.sample(names, len(names)), clock, pause))
            tick()
    conditions |= {"rounds": len(times), "warmup": warmup, "seed": seed}
    conditions["freed_memory"] = "kept" if kept else "given back"
    if batch is not None:
        conditions["batch"] = batch
    if pause:
        conditions["pause_s"] = pause
    return times, conditions


def summarise(times: Sequence[Mapping[str, float]], baseline: str, conditions: Mapping[str, Any]) -> LatencyTable:
    """Turns times into a table.

    Args:
        times: One mapping a round, from candidate to seconds.
        baseline: The candidate that ratios are formed to.
        conditions: What the times hold under.

    Raises:
        MeasureError: If a baseline's time is not positive.

    Examples:
        >>> summarise([{"a": 1.0, "b": 0.5}, {"a": 2.0, "b": 1.0}, {"a": 4.0, "b": 1.0}], "a", {})["b"].ratio
        0.5
    """
    reference = np.array([one[baseline] for one in times])
    if not (reference > 0.0).all():
        raise MeasureError(f"{baseline}: a call took no time that the clock can tell; expected more work a call")
    rows = []
    for name in times[0]:
        seconds = np.array([one[name] for one in times])
        q1, median, q3 = np.percentile(1e3 * seconds, (25, 50, 75)).tolist()
        ratio_q1, ratio, ratio_q3 = np.percentile(seconds / reference, (25, 50, 75)).tolist()
        if ratio <= 0.0:
            raise MeasureError(f"{name}: a call took no time that the clock can tell; expected more work a call")
        fastest = float(1e3 * seconds.min())
        rows.append(LatencyRow(name, median, q1, q3, fastest, ratio, ratio_q1, ratio_q3, 1.0 / ratio))
    return LatencyTable(tuple(rows), baseline, conditions)


def _round(
    candidates: Mapping[str, Candidate], order: Sequence[str], clock: Callable[[], float], pause: float
) -> dict[str, float]:
    """Runs every candidate once; returns their seconds in the candidates' own order."""
    took = {}
    for name in order:
        call = candidates[name]
        gc.collect(0)  # while the collector is off everything new is in the youngest generation, so this is quick
        if pause:
            time.sleep(pause)
        try:
            start = clock()
            output = call()
            end = clock()
        except Exception as error:
            raise MeasureError(f"candidate {name!r} failed with {type(error).__name__}: {error}") from error
        del output  # freeing the result is not part of the call
        took[name] = end - start
    return {name: took[name] for name in candidates}


@contextmanager
def _quiet(threads: int | None) -> Iterator[None]:
    """The collector off and PyTorch on ``threads`` threads inside; both as before afterwards."""
    collecting, before = gc.isenabled(), torch.get_num_threads()
    gc.collect()
    gc.disable()
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        yield
    finally:
        torch.set_num_threads(before)
        if collecting:
            gc.enable()


class _Ticker:
    """Counts rounds for a progress callback."""

    def __init__(self, progress: Callable[[int, int], None] | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def __call__(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._total)


def _check(numbers: Mapping[str, tuple[int | None, int]], seconds: float | None) -> None:
    for name, (value, least) in numbers.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise ConfigError(f"{name}: got {value!r}; expected a whole number of at least {least}")
    if seconds is not None and not seconds > 0.0:
        raise ConfigError(f"seconds: got {seconds!r}; expected more than 0")
