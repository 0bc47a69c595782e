"""``sapwood bench``: models on runtimes, each checked against PyTorch and then timed in the same rounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from sapwood.errors import CheckFailedError, ConfigError, ExportError, MeasureError, MissingDependencyError
from sapwood.export import relative_error, run_flat
from sapwood.goals import Deployment, with_batch
from sapwood.measure import SPIN_DOWN, summarise, time_rounds
from sapwood.report import BenchRecord, BenchRow
from sapwood.runtime import RUNTIMES, Session, check_session, is_exact
from sapwood.types import ExampleInputs, ModelBundle

Pair = tuple[str, str]


def bench(
    models: Mapping[str, ModelBundle],
    runtimes: Sequence[str],
    *,
    threads: int | None = None,
    batch: int | None = None,
    rounds: int = 30,
    progress: Callable[[int, int], None] | None = None,
) -> BenchRecord:
    """Times every model on every runtime, all of them in every round.

    Each session is first compared with its model; one that gives other results is not timed. Sessions of int8 are
    calibrated on the example inputs and on random ones, and their difference is told, not judged.

    Args:
        models: By name; the first is the one that others are compared with.
        runtimes: Names in :data:`sapwood.runtime.RUNTIMES`.
        threads: That each may use; all cores that this process may run on where None.
        batch: Examples a call; as many as the example inputs hold where None.
        rounds: To time.
        progress: Called with (done, total) rounds.

    Returns:
        A row a pair. Those that could not run have a reason and no times.

    Raises:
        ConfigError: If there is no model, no runtime, or a name that is none.
    """
    if not models or not runtimes:
        raise ConfigError("nothing to measure; expected at least one model and one runtime")
    entries = {name: RUNTIMES[name] for name in runtimes}
    num_threads = Deployment("torch", threads, batch).num_threads
    rows: dict[Pair, BenchRow] = {}
    sessions: dict[Pair, Session] = {}
    for runtime in entries:
        for model, bundle in models.items():
            row, session = _load(model, bundle, runtime, num_threads, batch)
            rows[model, runtime] = row
            if session is not None:
                sessions[model, runtime] = session
    versions = {name: entries[name].version() for name in entries if any(pair[1] == name for pair in sessions)}
    if not sessions:
        return BenchRecord(tuple(rows.values()), None, versions, {})
    calls = {_key(pair): session for pair, session in sessions.items()}
    times, conditions = time_rounds(
        calls, rounds=rounds, threads=num_threads, pause=SPIN_DOWN, progress=progress
    )  # fmt: skip
    baseline = next(iter(sessions))
    timed = _rows(rows, times, list(sessions), next(iter(models)))
    return BenchRecord(timed, baseline, versions, {**conditions, "batch": batch})


def _load(
    model: str, bundle: ModelBundle, runtime: str, threads: int, batch: int | None
) -> tuple[BenchRow, Session | None]:
    """A session that was found to be right, or the reason why there is none."""
    row = BenchRow(model, runtime)
    inputs = with_batch(bundle.example_inputs, batch)
    try:
        session = RUNTIMES[runtime].load(bundle.model, inputs, threads=threads)
        error = _error_of(session, runtime, bundle, inputs)
    except CheckFailedError as failed:
        return replace(row, reason=str(failed), check_failed=True), None
    except (ExportError, MissingDependencyError, MeasureError) as failed:
        return replace(row, reason=str(failed)), None
    return replace(row, max_relative_error=error), session


def _error_of(session: Session, runtime: str, bundle: ModelBundle, inputs: ExampleInputs) -> float:
    """How far a session's results are from the model's: within rounding, but for int8, which is told and not judged."""
    if is_exact(RUNTIMES[runtime]):
        return check_session(session, bundle.model, inputs)
    return relative_error(session.outputs(), run_flat(bundle.model, inputs))


def _rows(
    rows: Mapping[Pair, BenchRow], times: Sequence[Mapping[str, float]], timed: Sequence[Pair], first: str
) -> tuple[BenchRow, ...]:
    whole = summarise(times, _key(timed[0]), {})
    found = []
    for pair, row in rows.items():
        if pair not in timed:
            found.append(row)
            continue
        line, same = whole[_key(pair)], None
        if (first, pair[1]) in timed:
            own = {_key(pair), _key((first, pair[1]))}
            only = [{name: seconds for name, seconds in one.items() if name in own} for one in times]
            same = summarise(only, _key((first, pair[1])), {})[_key(pair)].ratio
        found.append(
            replace(
                row,
                median_ms=line.median_ms,
                q1_ms=line.q1_ms,
                q3_ms=line.q3_ms,
                ratio=line.ratio,
                speedup=line.speedup,
                same_runtime_ratio=same,
            )
        )
    return tuple(found)


def _key(pair: Pair) -> str:
    return f"{pair[0]} on {pair[1]}"
