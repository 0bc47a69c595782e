"""A latency target for masks, on a clock that counts non-zeros: what is chosen is the best there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sapwood.errors import BudgetError, ConfigError, MeasureError
from sapwood.goals import latency_of_zeros, mask_to_latency_
from sapwood.masks import MaskCase, find_slots
from sapwood.masks.scored import GIVEN
from sapwood.measure import LatencyRow, LatencyTable

CASE = MaskCase("scored", 0.5, layers=("conv", "linear"))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1), nn.Flatten(), nn.Linear(16 * 64, 10)
    ).eval()


def effective(model: nn.Module) -> dict[str, Tensor]:
    return {slot.name: slot.effective() for slot in find_slots(model) if slot.kind in {"conv", "linear"}}


@dataclass
class CountingBench:
    """A runtime on which a layer takes a fixed time and one for each of its non-zeros.

    Attributes:
        slower: What a whole network takes beyond its layers' times, as a factor.
    """

    each: Mapping[str, float] = field(default_factory=lambda: {"0": 1e-2, "2": 1e-3, "4": 1e-4})
    fixed: float = 0.3
    slower: float = 1.0
    tells: bool = True
    deployment: Any = field(default_factory=lambda: SimpleNamespace(runtime="counting", num_threads=1, batch=1))

    def layer_times(self, model: nn.Module) -> dict[str, float] | None:
        if not self.tells:
            return None
        kept = {name.rpartition(".")[0]: int((value != 0).sum()) for name, value in effective(model).items()}
        return {"(runtime)": self.fixed} | {name: 0.01 + each * kept[name] for name, each in self.each.items()}

    def load(self, model: nn.Module) -> float:
        times = self.layer_times(model)
        assert times is not None
        dense = sum(0.01 + each * count for each, count in zip(self.each.values(), (216, 1152, 10240), strict=True))
        total = sum(times.values())
        return total if total > self.fixed + dense - 1e-9 else total * self.slower

    def again(self, model: nn.Module, session: float | None) -> float:
        del session
        return self.load(model)


def counted(pair: Mapping[str, float], **options: Any) -> LatencyTable:
    del options
    ratios = {name: time / pair["dense"] for name, time in pair.items()}
    rows = [LatencyRow(name, *(4 * [time]), *(3 * [ratios[name]]), 1.0 / ratios[name]) for name, time in pair.items()]
    return LatencyTable(tuple(rows), "dense", {})


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sapwood.goals.clock.measure_latency", counted)


def relative_error(dense: nn.Module) -> Callable[[nn.Module], float]:
    pictures = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        wanted = dense(pictures)

    def measure(model: nn.Module) -> float:
        with torch.no_grad():
            return float((model(pictures) - wanted).square().mean() / wanted.square().mean())

    return measure


@pytest.mark.parametrize("measured", [False, True], ids=["norms", "measured"])
@pytest.mark.parametrize("slower", [1.0, 1.2])
@pytest.mark.parametrize("target", [0.8, 0.5, 0.3])
def test_the_clock_agrees(target: float, slower: float, measured: bool) -> None:
    model, bench = network(), CountingBench(slower=slower)
    before = {name: value.clone() for name, value in effective(model).items()}
    measure = relative_error(network()) if measured else None
    record, outcome = mask_to_latency_(model, CASE, target, bench, measure=measure)  # type: ignore[arg-type]
    assert outcome.met
    assert record.notes == (GIVEN,)
    assert record.case.sparsity == pytest.approx(record.sparsity)
    assert bench.load(model) / bench.load(network()) == pytest.approx(outcome.ratio, rel=1e-12)
    assert record.sparsity == pytest.approx(
        sum(layer.sparsity * layer.num_params for layer in outcome.layers) / 11608, abs=1e-3
    )
    for layer, (name, value) in zip(outcome.layers, effective(model).items(), strict=True):
        assert layer.name == name
        assert float((value == 0).float().mean()) == pytest.approx(layer.sparsity, abs=1e-2)
        kept = value != 0  # the largest stay
        assert torch.equal(value[kept], before[name][kept])
        largest_gone = float(before[name].abs().masked_fill(kept, 0.0).max())
        assert float(before[name][kept].abs().min()) >= largest_gone


def test_milliseconds_are_bought_where_they_harm_least() -> None:
    """Of all pairs of levels, none that is as fast has less harm, up to the steps between levels."""
    model, bench = network(), CountingBench()
    measure = relative_error(network())
    _, outcome = mask_to_latency_(model, CASE, 0.5, bench, measure=measure)  # type: ignore[arg-type]
    by_name = {layer.name: layer for layer in outcome.layers}
    assert by_name["0.weight"].masked_ms < by_name["0.weight"].dense_ms  # 216 weights, 2.2 of 5 ms
    uniform = network()
    times, harm = [], []
    for level in np.linspace(0.0, 0.98, 50):
        with latency_of_zeros._zeroed(
            {
                slot: max(1, round((1.0 - float(level)) * slot.tensor.numel()))
                for slot in find_slots(uniform)
                if slot.kind in {"conv", "linear"}
            },
            {name: value.abs() for name, value in effective(uniform).items()},
        ):
            times.append(bench.load(uniform) / bench.load(network()))
            harm.append(measure(uniform))
    same = float(np.interp(-outcome.ratio, -np.array(times), harm))
    assert measure(model) < same


def test_what_zeros_cannot_reach_is_told() -> None:
    with pytest.raises(BudgetError, match=r"latency 0.05 is out of reach: with 98% .* it is 0\.\d+ on counting"):
        mask_to_latency_(network(), CASE, 0.05, CountingBench())  # type: ignore[arg-type]


def test_bad_requests_are_named() -> None:
    bench: Any = CountingBench()
    for target in (0.0, 1.0, float("nan")):
        with pytest.raises(ConfigError, match=r"expected a fraction of the dense network's, in \(0, 1\)"):
            mask_to_latency_(network(), CASE, target, bench)
    for case in (
        MaskCase("l1_unstructured", 0.5, layers=("conv",)),
        MaskCase("scored", blocks="2:4", layers=("conv",)),
    ):
        with pytest.raises(ConfigError, match="expected --method scored and single weights"):
            mask_to_latency_(network(), case, 0.5, bench)
    with pytest.raises(MeasureError, match="does not tell what layers take; expected runtime sapwood"):
        mask_to_latency_(network(), CASE, 0.5, CountingBench(tells=False))  # type: ignore[arg-type]
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(MeasureError, match="of the untouched model is nan"):
        mask_to_latency_(model, CASE, 0.5, bench, measure=lambda one: float("nan"))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class SteepBench(CountingBench):
    """A runtime on which whole networks gain four times what their layers do: corrections by the ratio alone swing."""

    def load(self, model: nn.Module) -> float:
        dense = self.fixed + sum(
            0.01 + each * count for each, count in zip(self.each.values(), (216, 1152, 10240), strict=True)
        )
        share = super().load(model) / dense
        return dense if share > 1.0 - 1e-9 else dense * max(0.05, 0.25 + 4.0 * (share - 0.5))


def test_a_clock_that_overshoots_is_met() -> None:
    _, outcome = mask_to_latency_(network(), CASE, 0.5, SteepBench())  # type: ignore[arg-type]
    assert outcome.met
    assert outcome.attempts[0] == (0.5, pytest.approx(0.25, abs=0.02))
    assert len(outcome.attempts) <= 4
    measured = [ratio for _, ratio in outcome.attempts]
    assert len(set(measured)) == len(measured)
