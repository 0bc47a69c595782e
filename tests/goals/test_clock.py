"""The clock of latency targets on a machine that is busy for a while."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from sapwood.goals.clock import LOADS, MOST_LOADS, alone, timed
from sapwood.measure import LatencyRow

QUIET, BUSY = (0.49, 0.5, 0.52), (0.05, 0.06, 2.0)


class Table(dict[str, LatencyRow]):
    """What one load's rounds gave."""

    conditions: dict[str, Any] = {"threads": 1}  # noqa: RUF012 - never changed


class Bench:
    """Loads nothing, and counts."""

    def __init__(self, threads: int = 1) -> None:
        self.loads = 0
        self.deployment = SimpleNamespace(num_threads=threads)

    def load(self, model: nn.Module) -> Any:
        self.loads += 1
        return model

    def again(self, model: nn.Module, session: Any) -> Any:
        return session.again() if hasattr(session, "again") else self.load(model)


def table(low: float, ratio: float, high: float) -> Table:
    row = LatencyRow("pruned", ratio, low, high, low, ratio, low, high, 1.0 / ratio)
    dense = LatencyRow("dense", 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    return Table(pruned=row, dense=dense)


@pytest.mark.parametrize(
    ("loads", "ratio", "asked"),
    [
        ([QUIET, QUIET], 0.5, LOADS),
        ([BUSY, QUIET, QUIET], 0.5, LOADS + 1),
        ([BUSY, QUIET, BUSY, BUSY], 0.5, MOST_LOADS),
        ([BUSY, BUSY, BUSY, BUSY], 0.06, MOST_LOADS),  # then it is all that is known
    ],
)
def test_loads_that_tell_nothing_are_made_up_for(
    monkeypatch: pytest.MonkeyPatch, loads: list[tuple[float, float, float]], ratio: float, asked: int
) -> None:
    tables = [table(*one) for one in loads]
    monkeypatch.setattr("sapwood.goals.clock.measure_latency", lambda *_, **__: tables.pop(0))
    bench: Any = Bench()
    assert timed(bench, nn.Identity(), nn.Identity()).row.ratio == pytest.approx(ratio)
    assert bench.loads == 2 * asked
    assert tables == []


class Interrupted:
    """A call that computes for a millisecond or two, and now and then waits, as where other work has the core."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.calls = seconds, 0

    def __call__(self) -> None:
        self.calls += 1
        over = time.process_time() + self.seconds
        while time.process_time() < over:
            pass
        if self.calls % 3:
            time.sleep(0.02)


class Interrupting(Bench):
    """Loads what says how long it computes."""

    def load(self, model: Any) -> Any:
        self.loads += 1
        return Interrupted(model)


def test_where_calls_are_interrupted_the_processors_time_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sapwood.goals.clock.ROUNDS", 12)
    bench: Any = Interrupting()
    found = timed(bench, 0.002, 0.001)  # type: ignore[arg-type]
    assert found.row.ratio == pytest.approx(0.5, rel=0.1)
    assert found.dense_ms == pytest.approx(2.0, rel=0.1)
    assert found.conditions["timed_by"] == "the processor's time"
    assert alone(bench, 0.002) == pytest.approx(2.0, rel=0.1)  # type: ignore[arg-type]


class Waiting(Interrupted):
    """A call that always waits for its core, much longer than it computes."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.calls = 0

    def __call__(self) -> None:
        self.calls = 0
        super().__call__()


def test_where_every_call_waits_as_long_the_processors_time_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the clock both take 21 and 22 ms, in every round."""
    monkeypatch.setattr("sapwood.goals.clock.ROUNDS", 8)
    bench: Any = Interrupting()
    monkeypatch.setattr(bench, "load", Waiting)
    found = timed(bench, 0.002, 0.001)  # type: ignore[arg-type]
    assert found.row.ratio == pytest.approx(0.5, rel=0.1)
    assert found.conditions["timed_by"] == "the processor's time"


def test_with_several_threads_the_clock_counts_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sapwood.goals.clock.ROUNDS", 12)
    bench: Any = Interrupting(threads=2)
    assert "timed_by" not in timed(bench, 0.002, 0.001).conditions  # type: ignore[arg-type]


class Opened:
    """A session that counts how often it was opened anew."""

    def __init__(self, made: list[str], name: str) -> None:
        self.made, self.name = made, name

    def __call__(self) -> None:
        """Runs in no time."""

    def again(self) -> Opened:
        self.made.append(f"{self.name} again")
        return Opened(self.made, self.name)


class Quantising(Bench):
    """Loads what takes long to make, and says what it made."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[str] = []

    def load(self, model: Any) -> Any:
        self.made.append(model)
        return Opened(self.made, model)


def test_a_file_is_made_once_and_opened_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sapwood.goals.clock.measure_latency", lambda *_, **__: table(*QUIET))
    bench: Any = Quantising()
    first = timed(bench, "dense", "one")  # type: ignore[arg-type]
    timed(bench, "dense", "two", first.dense)  # type: ignore[arg-type]
    once, anew = ["dense", "one"], ["dense again", "one again"]
    assert bench.made == [*once, *anew, "dense again", "two", "dense again", "two again"]
