"""The time of all candidates against each other, and what a live mask adds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sapwood.cases import BASELINE, Candidate
from sapwood.errors import MissingDependencyError, SapwoodError
from sapwood.goals import Bench, Deployment
from sapwood.measure import SPIN_DOWN, LatencyRow, measure_latency
from sapwood.report import Latency, LiveMask
from sapwood.runtime import instruction_set, model_call
from sapwood.types import ModelBundle

Progress = Callable[[int, int], None]

REFERENCE = "onnxruntime"
"""The runtime on which the unpruned network is what one would deploy otherwise."""

REPEATS = 5
"""Calls that are timed as one where the runtimes differ."""


def time_candidates(
    candidates: Mapping[str, Candidate], rounds: int, progress: Progress | None = None
) -> tuple[dict[str, Latency], Mapping[str, Any]]:
    """Times one pass of one picture through every candidate, all of them in every round.

    Returns:
        Each candidate's times, and the conditions they hold under.
    """
    calls = {name: _call(candidate.running) for name, candidate in candidates.items()}
    table = measure_latency(calls, baseline=BASELINE, rounds=rounds, batch=1, progress=progress)
    return {row.name: _latency(row) for row in table.rows}, table.conditions


def time_on_engine(
    candidates: Mapping[str, Candidate],
    rounds: int,
    threads: int | None,
    progress: Progress | None = None,
    sessions: dict[str, Callable[[], object]] | None = None,
) -> tuple[dict[str, Latency], str]:
    """Times one pass of one picture through every candidate on the sparse engine, each in rounds with the baseline in
    PyTorch; ``progress`` is told of candidates, and ``sessions`` gets what was compiled.

    Returns:
        The times, ratios being to the baseline in PyTorch, and on what, or why there are none.
    """
    times: dict[str, Latency] = {}
    reasons: list[str] = []
    dense = _call(candidates[BASELINE].bundle)
    deployment = Deployment("sapwood", threads, 1)
    cores = deployment.num_threads
    turns = -(-rounds // REPEATS)  # as many calls as elsewhere
    for done, (name, candidate) in enumerate(candidates.items(), start=1):
        try:
            session = Bench.of(candidate.bundle.example_inputs, deployment).load(candidate.bundle.model)
        except MissingDependencyError as error:
            return {}, str(error)
        except SapwoodError as error:
            reasons.append(f"{name}: {error}")
            continue
        if sessions is not None:
            sessions[name] = session
        pair = {"dense": _repeated(dense), "engine": _repeated(session)}
        table = measure_latency(pair, baseline="dense", rounds=turns, threads=cores, batch=1, pause=SPIN_DOWN)
        times[name] = _latency(table["engine"], REPEATS)
        if progress is not None:
            progress(done, len(candidates))
    return times, "; ".join([f"{instruction_set()}, {cores} threads", *reasons])


def time_deployed(
    candidates: Mapping[str, Candidate],
    engine: Mapping[str, Callable[[], object]],
    rounds: int,
    threads: int | None,
    progress: Progress | None = None,
) -> tuple[dict[str, dict[str, Latency]], str]:
    """Times one pass of one picture through every candidate on ONNX Runtime and on the sparse engine, where ``engine``
    has it, each in rounds with the unpruned network on ONNX Runtime; ``progress`` is told of candidates.

    Returns:
        Each candidate's times by runtime, as ratios to the unpruned network on ONNX Runtime; why some are missing.
    """
    times: dict[str, dict[str, Latency]] = {}
    reasons: list[str] = []
    cores = Deployment(REFERENCE, threads, 1).num_threads
    dense, missing = _loaded(candidates[BASELINE], REFERENCE, threads)
    if dense is None:
        return {}, missing
    for done, (name, candidate) in enumerate(candidates.items(), start=1):
        own, reason = (None, "") if name == BASELINE else _loaded(candidate, REFERENCE, threads)
        reasons += [f"{name}: {reason}"] if reason else []
        sessions = {REFERENCE: own, "sapwood": engine.get(name)}
        calls = {runtime: _repeated(call) for runtime, call in sessions.items() if call is not None}
        table = measure_latency(
            {"dense": _repeated(dense), **calls},
            baseline="dense",
            rounds=-(-rounds // REPEATS),
            threads=cores,
            batch=1,
            pause=SPIN_DOWN,
        )
        itself = {REFERENCE: "dense"} if name == BASELINE else {}
        rows = {**itself, **{runtime: runtime for runtime in calls}}
        times[name] = {runtime: _latency(table[row], REPEATS) for runtime, row in rows.items()}
        if progress is not None:
            progress(done, len(candidates))
    return times, "; ".join([f"{cores} threads", *reasons])


def _loaded(candidate: Candidate, runtime: str, threads: int | None) -> tuple[Callable[[], object] | None, str]:
    """A candidate on a runtime, or why it does not run there."""
    bench = Bench.of(candidate.bundle.example_inputs, Deployment(runtime, threads, 1))
    try:
        return bench.load(candidate.bundle.model), ""
    except SapwoodError as error:
        return None, str(error)


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


def _repeated(call: Callable[[], object]) -> Callable[[], object]:
    """Some calls in a row: of two runtimes in turns each has sleeping threads at first."""

    def calls() -> None:
        for _ in range(REPEATS):
            call()

    return calls


def _latency(row: LatencyRow, calls: int = 1) -> Latency:
    return Latency(
        median_ms=row.median_ms / calls,
        q25_ms=row.q1_ms / calls,
        q75_ms=row.q3_ms / calls,
        min_ms=row.min_ms / calls,
        ratio=row.ratio,
        ratio_q25=row.ratio_q1,
        ratio_q75=row.ratio_q3,
    )
