"""Latency targets without a clock: a runtime whose times follow from the model's real work."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sapwood.errors import BudgetError
from sapwood.goals.approach import MET_WITHIN
from sapwood.goals.clock import LOADS
from sapwood.goals.layer_samples import NUM_SAMPLES
from sapwood.measure import LatencyRow, LatencyTable, count_macs
from sapwood.pipeline import Deployment, Pruned, Target, prune
from sapwood.runtime import RUNTIMES
from support.probes import PROBES, conv

MS_PER_MAC = 1e-6
LAYER_MS = 0.02
"""What the fake runtime takes for a multiplication, and for calling a layer."""

EXACT = 1e-9  # relative: the same sums in another order


class FakeSession:
    def __init__(self, model: nn.Module, inputs: Any, factor: float, *, layers: bool) -> None:
        macs = count_macs(model, inputs).per_module
        leaves = [name for name, module in model.named_modules() if not list(module.children()) and name in macs]
        self._times = {name: LAYER_MS + MS_PER_MAC * macs[name] for name in leaves}
        self._factor, self._layers = factor, layers

    def __call__(self) -> None:
        raise AssertionError("nothing is run in these tests")

    def outputs(self) -> list[Tensor]:
        raise AssertionError("nothing is run in these tests")

    def layer_times(self, rounds: int) -> Mapping[str, float] | None:
        return dict(self._times) if self._layers else None

    @property
    def ms(self) -> float:
        """Of the whole: ``factor`` more than its layers, for pruned networks only (see :class:`FakeRuntime`)."""
        return sum(self._times.values()) * self._factor


class FakeRuntime:
    """Counts what it loads; networks that are pruned take ``penalty`` times what their layers say."""

    name = "fake"

    def __init__(self, *, layers: bool = True, penalty: float = 1.0) -> None:
        self.layers, self.penalty, self.loads, self.dense = layers, penalty, 0, 0

    def version(self) -> str:
        return f"1.0 {self.layers} {self.penalty}"

    def load(self, model: nn.Module, example_inputs: Any, *, threads: int) -> FakeSession:
        self.loads += 1
        size = sum(parameter.numel() for parameter in model.parameters())
        self.dense = max(self.dense, size)
        return FakeSession(model, example_inputs, self.penalty if size < self.dense else 1.0, layers=self.layers)


def compared(sessions: Mapping[str, FakeSession], *, baseline: str, **_: Any) -> LatencyTable:
    dense = sessions[baseline].ms
    rows = [
        LatencyRow(name, one.ms, one.ms, one.ms, one.ms, *(3 * [one.ms / dense]), dense / one.ms)
        for name, one in sessions.items()
    ]
    return LatencyTable(tuple(rows), baseline, {"clock": "none"})


@pytest.fixture(autouse=True)
def _no_clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sapwood.goals.clock.measure_latency", compared)
    monkeypatch.setenv("SAPWOOD_CACHE", str(tmp_path / "cache"))


def install(monkeypatch: pytest.MonkeyPatch, **options: Any) -> FakeRuntime:
    runtime = FakeRuntime(**options)
    monkeypatch.setattr(RUNTIMES, "_entries", {**RUNTIMES._entries, "fake": runtime})
    return runtime


def network(first: int = 48, second: int = 64) -> nn.Sequential:
    """Three layers, wide enough that a channel is less than half of the tolerance."""
    layers = conv(3, first), nn.BatchNorm2d(first), nn.ReLU(), conv(first, second), nn.ReLU(), conv(second, 5)
    return nn.Sequential(*layers).eval()


def inputs() -> Tensor:
    return torch.randn(1, 3, 12, 12)


def shrunk(target: float, model: nn.Module | None = None, **options: Any) -> Pruned:
    torch.manual_seed(0)
    deployment = Deployment("fake", threads=1)
    return prune(model or network(), inputs(), target=Target(latency=target), deployment=deployment, **options)


@pytest.mark.parametrize("penalty", [1.0, 1.3, 0.8])
@pytest.mark.parametrize("target", [0.75, 0.5])
def test_the_target_is_reached(monkeypatch: pytest.MonkeyPatch, target: float, penalty: float) -> None:
    """Also where the whole takes 30 % more than the layers say, or 20 % less: what is measured corrects the ask."""
    install(monkeypatch, penalty=penalty)
    model = network()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    pruned = shrunk(target, model)
    outcome = pruned.latency
    assert outcome is not None
    assert outcome.met
    assert abs(outcome.ratio / target - 1) <= MET_WITHIN
    fresh = FakeSession(pruned.model, inputs(), penalty, layers=True).ms
    assert outcome.pruned_ms == pytest.approx(fresh, rel=EXACT), "the model returned is the one that was measured"
    assert outcome.dense_ms == pytest.approx(FakeSession(model, inputs(), 1.0, layers=True).ms, rel=EXACT)
    assert pruned.verification.passed
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert outcome.conditions["runtime"] == "fake"
    assert {row.layer for row in outcome.layers} == {"0", "3", "5"}


def test_narrow_networks_may_have_any_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 24 and 32 channels few multiples of 8 are left: the nearest come to 0.62 on this runtime."""
    install(monkeypatch, penalty=0.8)
    pruned = shrunk(0.75, network(24, 32))
    assert pruned.latency is not None
    assert pruned.latency.met
    assert pruned.allocation is not None
    assert any(width % 8 for width in pruned.allocation.kept)


def test_the_fit_knows_such_a_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    outcome = shrunk(0.5).latency
    assert outcome is not None
    assert outcome.fit_error < EXACT
    assert outcome.predicted == pytest.approx(outcome.ratio, rel=1e-6)


def test_a_target_below_the_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each layer at least 0.02 ms stay; the last one then takes as long as the others."""
    install(monkeypatch)
    model = network(24, 32)
    message = re.compile(
        r"^latency 0\.05 on fake: no widths reach it; the narrowest network measures (0\.\d{3}) of the dense one, and "
        r"its time goes into (\S+) \d+%, (\S+) \d+%, (\S+) \d+%$"
    )
    with pytest.raises(BudgetError) as caught:
        shrunk(0.05, model)
    found = message.match(str(caught.value))
    assert found
    assert set(found.groups()[1:]) == {"0", "3", "5"}
    floor = 3 * LAYER_MS / FakeSession(model, inputs(), 1.0, layers=True).ms
    assert floor < float(found[1]) < 0.2


def test_a_runtime_that_cannot_tell_layers_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eager PyTorch says what layers cost beside each other; only the whole is this runtime's."""
    runtime = install(monkeypatch, layers=False)
    eager = FakeRuntime()
    monkeypatch.setitem(RUNTIMES._entries, "torch", eager)
    outcome = shrunk(0.5).latency
    assert outcome is not None
    assert outcome.met
    assert outcome.layers == ()
    assert eager.loads == NUM_SAMPLES
    assert runtime.loads == NUM_SAMPLES + 2 * LOADS * len(outcome.attempts)


def test_samples_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    runtime = install(monkeypatch)
    steps: list[tuple[int, int]] = []
    first = shrunk(0.6, progress=lambda done, total: steps.append((done, total)))
    assert steps[:NUM_SAMPLES] == [(number + 1, NUM_SAMPLES) for number in range(NUM_SAMPLES)]
    assert first.latency is not None
    measured = 2 * LOADS * len(first.latency.attempts)
    assert runtime.loads == NUM_SAMPLES + measured
    runtime.loads = 0
    again = shrunk(0.6)
    assert runtime.loads == measured, "the dense network and the attempts, each anew, and no sample"
    assert again.plan == first.plan
    assert again.latency == first.latency
    (kept,) = (tmp_path / "cache").rglob("*.json")
    whole = kept.read_text()
    damages = ["", "{", "[" * 100_000, "[{}]", "[]", "null", '[{"layer_ms": {"a": 1.0}, "work": {}}]']
    damages += [json.dumps(json.loads(whole)[:-1]), whole.replace('"layer_ms"', '"layer"')]
    damages.append(json.dumps([{**row, "layer_ms": {"0": float("nan")}} for row in json.loads(whole)]))
    damages.append(json.dumps([{**row, "work": {"1": {}}} for row in json.loads(whole)]))
    for text in damages:
        kept.write_text(text)
        runtime.loads = 0
        with pytest.warns(UserWarning, match=rf"{kept.name}.*expected {NUM_SAMPLES} samples of layer times; they are"):
            assert shrunk(0.6).plan == first.plan
        assert runtime.loads == NUM_SAMPLES + measured, f"a cache file that holds {text!r} is not read"


def test_samples_that_cannot_be_kept_are_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch)
    wanted = shrunk(0.6).plan
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.warns(UserWarning, match=r"not kept for the next time: .*/cache/layers/.*\.json: cannot be written"):
        assert shrunk(0.6).plan == wanted


def test_another_model_is_sampled_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch)
    shrunk(0.6)
    shrunk(0.6, nn.Sequential(conv(3, 24), nn.ReLU(), conv(24, 24), nn.ReLU(), conv(24, 5)).eval())
    assert len(list((tmp_path / "cache").rglob("*.json"))) == 2


def test_a_network_with_equal_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    model, picture = PROBES["c2f"]()
    pruned = prune(model, picture, target=Target(latency=0.5), deployment=Deployment("fake", threads=1))
    assert pruned.latency is not None
    assert pruned.verification.passed
    assert pruned.model.a.out_channels % 2 == 0
