"""Latency targets without a clock: a runtime whose times follow from the model's real work."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sapwood.errors import BudgetError
from sapwood.goals import Chooser, Chosen
from sapwood.goals.approach import CLOSE_ENOUGH, MET_WITHIN
from sapwood.goals.clock import LOADS
from sapwood.goals.layer_samples import NUM_SAMPLES
from sapwood.graph import Analysis
from sapwood.measure import LatencyRow, LatencyTable
from sapwood.pipeline import Deployment, Pruned, Target, prune
from sapwood.runtime import RUNTIMES
from support.fake_runtime import LAYER_MS, FakeRuntime, FakeSession, compared, install, without_a_clock
from support.probes import PROBES, conv

EXACT = 1e-9  # relative: the same sums in another order


@pytest.fixture(autouse=True)
def _no_clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_a_clock(monkeypatch, tmp_path)


def network(first: int = 48, second: int = 64) -> nn.Sequential:
    """Three layers, wide enough that a channel is less than half of the tolerance."""
    layers = conv(3, first), nn.BatchNorm2d(first), nn.ReLU(), conv(first, second), nn.ReLU(), conv(second, 5)
    return nn.Sequential(*layers).eval()


def inputs() -> Tensor:
    return torch.randn(1, 3, 12, 12)


def shrunk(target: float | str, model: nn.Module | None = None, **options: Any) -> Pruned:
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


def test_a_slow_machine_still_corrects_what_it_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock says that the time is over after the first network, which misses the target by a third."""
    install(monkeypatch, penalty=1.5)
    monkeypatch.setattr("sapwood.goals.latency_of_widths.Elapsed", lambda: SimpleNamespace(seconds=1000.0))
    outcome = shrunk(0.5).latency
    assert outcome is not None
    assert outcome.attempts[0].measured > 0.5 * (1.0 + 2 * MET_WITHIN)
    assert 1 < len(outcome.attempts) <= 3
    assert outcome.met


def test_rounds_that_are_far_apart_do_not_end_the_search_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first network is 9 % off, and the target between the quartiles of a busy machine's rounds."""

    def apart(sessions: Mapping[str, FakeSession], *, baseline: str, **options: Any) -> LatencyTable:
        found = compared(sessions, baseline=baseline, **options)
        rows = [replace(row, ratio_q1=0.88 * row.ratio, ratio_q3=1.12 * row.ratio) for row in found.rows]
        return LatencyTable(tuple(rows), baseline, found.conditions)

    install(monkeypatch, penalty=1.12)
    monkeypatch.setattr("sapwood.goals.clock.measure_latency", apart)
    outcome = shrunk(0.5).latency
    assert outcome is not None
    assert outcome.attempts[0].measured > 0.5 * (1.0 + MET_WITHIN)
    assert outcome.ratio == pytest.approx(0.5, rel=CLOSE_ENOUGH)


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_milliseconds_are_reached(monkeypatch: pytest.MonkeyPatch, penalty: float) -> None:
    install(monkeypatch, penalty=penalty)
    dense = FakeSession(network(), inputs(), 1.0, layers=True).ms
    asked = 0.6 * dense
    outcome = shrunk(f"{asked}ms").latency
    assert outcome is not None
    assert outcome.met
    assert outcome.target_ms == pytest.approx(asked)
    assert outcome.pruned_ms == pytest.approx(asked, rel=MET_WITHIN)
    assert outcome.dense_ms == pytest.approx(dense, rel=EXACT)
    assert outcome.target == pytest.approx(0.6, rel=EXACT)
    assert outcome.ratio == pytest.approx(outcome.pruned_ms / outcome.dense_ms, rel=EXACT)
    assert outcome.ratio in [one.measured for one in outcome.attempts]


def test_milliseconds_count_whatever_the_rounds_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dense network takes twice its time in rounds with another one: a ratio would be met by a slower network."""

    def disturbed(sessions: Mapping[str, FakeSession], *, baseline: str, **_: Any) -> LatencyTable:
        factor = 2.0 if len(sessions) > 1 else 1.0
        rows = [LatencyRow("dense", *(4 * [factor * sessions[baseline].ms]), *(3 * [1.0]), 1.0)]
        for name in set(sessions) - {baseline}:
            ms = sessions[name].ms
            rows.append(LatencyRow(name, *(4 * [ms]), *(3 * [ms / rows[0].median_ms]), rows[0].median_ms / ms))
        return LatencyTable(tuple(rows), baseline, {})

    install(monkeypatch)
    monkeypatch.setattr("sapwood.goals.clock.measure_latency", disturbed)
    asked = 0.6 * FakeSession(network(), inputs(), 1.0, layers=True).ms
    outcome = shrunk(f"{asked}ms").latency
    assert outcome is not None
    assert outcome.met
    assert outcome.pruned_ms == pytest.approx(asked, rel=MET_WITHIN)
    assert outcome.target == pytest.approx(0.3, rel=EXACT), "of what the dense network took beside the best"


def test_a_network_that_is_quick_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A time that it does not take: it is as asked for, and nothing has to go."""
    install(monkeypatch)
    for at_most in (False, True):
        torch.manual_seed(0)
        target, where = Target(latency="1s", at_most=at_most), Deployment("fake", threads=1)
        pruned = prune(network(), inputs(), target=target, deployment=where)
        assert pruned.latency is not None
        assert pruned.latency.met
        assert pruned.latency.target_ms == 1000.0
        assert pruned.latency.ratio == 1.0
        assert pruned.allocation is not None
        assert pruned.allocation.kept == pruned.num_channels
        assert "the network given takes no longer than what was asked for: nothing was removed" in pruned.notes


def test_milliseconds_below_the_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    with pytest.raises(
        BudgetError, match=r"^latency 1us on fake: no widths reach it; the narrowest network takes 0\.0"
    ):
        shrunk("1us", network(24, 32))


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


@pytest.mark.slow
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


class OwnAttention(nn.Module):
    """One projection whose result the code takes apart: query, key and value of each head keep equal widths."""

    def __init__(self, width: int = 64, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        mixed = (q @ k.transpose(-2, -1) * (c // self.heads) ** -0.5).softmax(-1) @ v
        return self.proj(mixed.transpose(1, 2).reshape(b, n, c))


class TornAttention(nn.Module):
    """Query from one place, key and value from another: the weights of nn.MultiheadAttention are read in parts."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.first, self.memory = nn.Linear(8, width), nn.Linear(8, width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        memory = self.memory(x)
        mixed: Tensor = self.attention(self.first(x).relu(), memory, memory, need_weights=False)[0]
        return self.head(mixed)


def own_attention(width: int = 64) -> nn.Module:
    return nn.Sequential(nn.Linear(8, width), nn.ReLU(), OwnAttention(width), nn.Linear(width, 5))


@pytest.mark.parametrize("make", [own_attention, TornAttention])
def test_widths_that_work_only_together(monkeypatch: pytest.MonkeyPatch, make: Callable[[], nn.Module]) -> None:
    """What a sparsity narrows, a latency narrows too: the stream and the heads in the same share."""
    install(monkeypatch)
    torch.manual_seed(0)
    model, x = make().eval(), torch.randn(2, 64, 8)
    pruned = prune(model, x, target=Target(latency=0.6), deployment=Deployment("fake", threads=1))
    assert pruned.latency is not None
    assert pruned.latency.met
    assert pruned.verification.passed
    fresh = FakeSession(pruned.model, x, 1.0, layers=True).ms
    assert pruned.latency.pruned_ms == pytest.approx(fresh, rel=EXACT)
    by_share = prune(model, x, target=Target(sparsity=0.5))
    assert narrowed(pruned) == narrowed(by_share), "the same dimensions lose channels under either target"
    (projection,) = [name for name, _ in model.named_parameters() if name.endswith(("qkv.weight", "in_proj_weight"))]
    assert {(projection, 0), (projection, 1)} <= narrowed(pruned)
    pruned.model(x).sum().backward()


def test_what_the_proof_keeps_whole_is_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof of the network that was measured lets nothing go: what is told is the time of what is returned."""
    install(monkeypatch)

    def whole(chooser: Chooser, analysis: Analysis, before: Analysis, chosen: Chosen) -> Chosen:
        kept = tuple(group.num_channels for group in analysis.groups)
        removed = chosen.removed[:0]
        return replace(chosen, removed=removed, allocation=replace(chosen.allocation, kept=kept))

    monkeypatch.setattr(Chooser, "choose_again", whole)
    pruned = shrunk(0.5)
    assert pruned.latency is not None
    assert pruned.latency.ratio == pytest.approx(1.0)
    assert not pruned.latency.met


def narrowed(pruned: Pruned) -> set[tuple[str, int]]:
    return {(cut.tensor, cut.dim) for cut in pruned.plan.cuts}


def test_a_network_with_equal_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    model, picture = PROBES["c2f"]()
    pruned = prune(model, picture, target=Target(latency=0.5), deployment=Deployment("fake", threads=1))
    assert pruned.latency is not None
    assert pruned.verification.passed
    assert pruned.model.a.out_channels % 2 == 0
