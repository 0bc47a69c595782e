"""The arithmetic of paired rounds, on a clock that does not depend on the machine."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
import torch
from torch import nn

from sapwood.errors import ConfigError, MeasureError
from sapwood.measure import LatencyTable, measure_latency
from sapwood.runtime import model_call


class Clock:
    """A clock that only candidates move."""

    def __init__(self) -> None:
        self.now = 100.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        return self.now

    def candidate(self, name: str, *seconds: float) -> Callable[[], None]:
        """A candidate that takes these times one after the other, and the last one ever after."""
        left = list(seconds)

        def call() -> None:
            self.calls.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return call


def test_ratios_are_formed_within_a_round() -> None:
    """The machine slows down fourfold; the candidate takes half, half and a quarter of the baseline."""
    clock = Clock()
    candidates = {"dense": clock.candidate("dense", 1.0, 2.0, 4.0), "half": clock.candidate("half", 0.5, 1.0, 1.0)}
    table = measure_latency(candidates, baseline="dense", rounds=3, warmup=0, clock=clock)
    dense, half = table.rows
    assert (dense.name, dense.median_ms, dense.q1_ms, dense.q3_ms, dense.min_ms) == ("dense", 2000, 1500, 3000, 1000)
    assert (dense.ratio, dense.ratio_q1, dense.ratio_q3, dense.speedup) == (1, 1, 1, 1)
    assert (half.median_ms, half.q1_ms, half.q3_ms, half.min_ms) == (1000, 750, 1000, 500)
    assert (half.ratio, half.ratio_q1, half.ratio_q3, half.speedup) == (0.5, 0.375, 0.5, 2)
    assert table["half"] is half
    assert table.baseline == "dense"


def test_every_round_runs_everyone_once_in_an_order_drawn_anew() -> None:
    def orders(seed: int) -> list[tuple[str, ...]]:
        clock = Clock()
        names = ("a", "b", "c")
        candidates = {name: clock.candidate(name, 1.0) for name in names}
        measure_latency(candidates, baseline="a", rounds=40, warmup=2, seed=seed, clock=clock)
        return [tuple(clock.calls[start : start + 3]) for start in range(0, len(clock.calls), 3)]

    rounds = orders(seed=1)
    assert len(rounds) == 42
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert len(set(rounds)) == 6
    assert rounds == orders(seed=1)
    assert rounds != orders(seed=2)


def test_warm_up_is_not_timed() -> None:
    clock = Clock()
    candidates = {"dense": clock.candidate("dense", 50.0, 50.0, 1.0)}
    table = measure_latency(candidates, baseline="dense", rounds=4, warmup=2, clock=clock)
    assert table["dense"].median_ms == 1000
    assert len(clock.calls) == 6


@pytest.mark.parametrize(("seconds", "rounds"), [(3.0, 5), (7.5, 8), (8.0, 8), (1000.0, 20), (None, 20)])
def test_a_time_budget(seconds: float | None, rounds: int) -> None:
    clock = Clock()
    candidates = {"dense": clock.candidate("dense", 1.0)}
    table = measure_latency(candidates, baseline="dense", rounds=20, warmup=3, seconds=seconds, clock=clock)
    assert table.conditions["rounds"] == rounds


def test_the_conditions_are_said() -> None:
    clock = Clock()
    table = measure_latency(
        {"dense": clock.candidate("dense", 1.0)},
        baseline="dense",
        rounds=7,
        warmup=2,
        seed=9,
        batch=4,
        clock=clock,
        threads=1,
    )
    said = {name: table.conditions[name] for name in ("rounds", "warmup", "seed", "batch", "threads", "torch")}
    assert said == {"rounds": 7, "warmup": 2, "seed": 9, "batch": 4, "threads": 1, "torch": torch.__version__}
    assert table.conditions["cpu"]
    again = json.loads(json.dumps(asdict(table), allow_nan=False))
    assert again["rows"][0]["ratio"] == 1.0
    with pytest.raises(KeyError, match=r"no candidate 'sparse'; there are: dense"):
        table["sparse"]


def test_threads_and_the_collector_are_set_meanwhile_and_restored() -> None:
    before = torch.get_num_threads()
    seen = []
    for wish in (1, before + 1, None):
        candidates = {"dense": lambda: seen.append((torch.get_num_threads(), gc.isenabled()))}
        measure_latency(candidates, baseline="dense", rounds=1, warmup=0, threads=wish)
    assert seen == [(1, False), (before + 1, False), (before, False)]
    assert torch.get_num_threads() == before
    assert gc.isenabled()


@pytest.mark.parametrize("warmup", [0, 1])
def test_a_candidate_that_fails_is_named(warmup: int) -> None:
    def broken() -> None:
        raise ValueError("no such kernel")

    before = torch.get_num_threads()
    with pytest.raises(MeasureError, match=r"candidate 'sparse' failed with ValueError: no such kernel"):
        measure_latency({"dense": int, "sparse": broken}, baseline="dense", rounds=1, warmup=warmup, threads=1)
    assert gc.isenabled()
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"baseline": "none"}, r"baseline: got 'none'; expected one of the candidates: dense"),
        ({"rounds": 0}, r"rounds: got 0; expected a whole number of at least 1"),
        ({"rounds": 2.5}, r"rounds: got 2.5;"),
        ({"warmup": -1}, r"warmup: got -1; expected a whole number of at least 0"),
        ({"threads": 0}, r"threads: got 0; expected a whole number of at least 1"),
        ({"seconds": 0.0}, r"seconds: got 0.0; expected more than 0"),
        ({"seconds": float("nan")}, r"seconds: got nan; expected more than 0"),
        ({"candidates": {}}, r"baseline: got 'dense'; expected one of the candidates: none"),
    ],
)
def test_bad_options(fields: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"candidates": {"dense": int}, "baseline": "dense"}
    with pytest.raises(ConfigError, match=message):
        measure_latency(**(good | fields))


@pytest.mark.parametrize("instant", ["dense", "sparse"])
def test_a_call_that_takes_no_time_has_no_ratio(instant: str) -> None:
    clock = Clock()
    candidates = {name: clock.candidate(name, 0.0 if name == instant else 1.0) for name in ("dense", "sparse")}
    with pytest.raises(MeasureError, match=f"{instant}: a call took no time that the clock can tell"):
        measure_latency(candidates, baseline="dense", rounds=2, warmup=0, clock=clock)


def test_progress_counts_warm_up_too() -> None:
    seen: list[tuple[int, int]] = []
    measure_latency({"a": int}, baseline="a", rounds=2, warmup=1, progress=lambda *now: seen.append(now))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_model_as_a_candidate() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5), nn.BatchNorm1d(2)).train()
    model[1].eval()
    call = model_call(model, torch.ones(4, 3))
    output = call()
    assert output.is_inference()
    assert torch.equal(output, call())
    assert [module.training for module in model] == [True, False, True]
    assert model[2].num_batches_tracked == 0
    table = measure_latency({"dense": call}, baseline="dense", rounds=5, warmup=1)
    assert isinstance(table, LatencyTable)
    assert 0 < table["dense"].min_ms <= table["dense"].q1_ms <= table["dense"].median_ms <= table["dense"].q3_ms


@pytest.mark.parametrize("inputs", [torch.ones(2, 3), (torch.ones(2, 3),), {"input": torch.ones(2, 3)}])
def test_the_forms_of_example_inputs(inputs: Any) -> None:
    model = nn.Linear(3, 2)
    assert torch.equal(model_call(model, inputs)(), model(torch.ones(2, 3)))


def test_a_model_that_fails_gets_its_mode_back() -> None:
    model = nn.Linear(3, 2).train()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        model_call(model, torch.ones(2, 4))()
    assert model.training
