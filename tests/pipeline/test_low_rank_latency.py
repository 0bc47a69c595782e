"""Layers that become two for a measured latency: without a clock, on a runtime whose times follow from real work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sapwood
from sapwood.factoring import TwoLayers
from sapwood.goals.approach import MET_WITHIN
from sapwood.goals.clock import LOADS
from sapwood.models import LowRank
from sapwood.pipeline import Deployment, Pruned, Target
from sapwood.runtime import RUNTIMES
from support.fake_runtime import FakeRuntime, FakeSession, drifting, install, without_a_clock

WIDE = 48
X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
EXACT = 1e-9  # relative: the same sums in another order


@pytest.fixture(autouse=True)
def _no_clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_a_clock(monkeypatch, tmp_path)


class Net(nn.Module):
    """A wide convolution whose results vary in eight directions, between two that use all of theirs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.wide, self.head = conv(3, WIDE), conv(WIDE, WIDE), conv(WIDE, 10)
        self.wide.weight.data = torch.einsum("or,rikl->oikl", torch.randn(WIDE, 8), torch.randn(8, WIDE, 3, 3)) / 40

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.wide(torch.relu(self.stem(x)))))  # type: ignore[no-any-return]


def conv(num_in: int, num_out: int) -> nn.Conv2d:
    return nn.Conv2d(num_in, num_out, 3, padding=1)


def pruned(latency: float | str, model: nn.Module | None = None, **options: Any) -> Pruned:
    deployment = Deployment("fake", threads=1)
    target = Target(latency=latency)
    return sapwood.prune(model or Net().eval(), X, target=target, low_rank=True, deployment=deployment, **options)


def ms(model: nn.Module) -> float:
    return FakeSession(model, X, 1.0, layers=True).ms


def is_two(found: Pruned) -> bool:
    return any(isinstance(module, LowRank) for module in found.model.modules())


class WhereTwo(FakeRuntime):
    """A network with a layer that is two takes other times than its layers say: a fraction of the dense network's."""

    def __init__(self, takes: Callable[[float], float]) -> None:
        super().__init__()
        self.takes = takes

    def load(self, model: nn.Module, example_inputs: Any, *, threads: int) -> FakeSession:
        session = super().load(model, example_inputs, threads=threads)
        if any(isinstance(module, LowRank) for module in model.modules()):
            dense = ms(Net())
            session._factor = self.takes(session.ms / dense) * dense / session.ms
        return session


def where_two(monkeypatch: pytest.MonkeyPatch, takes: Callable[[float], float]) -> None:
    monkeypatch.setattr(RUNTIMES, "_entries", {**RUNTIMES._entries, "fake": WhereTwo(takes)})


@pytest.mark.parametrize("asked", [0.7, 0.5])
def test_a_latency_is_reached_with_a_layer_that_is_two(monkeypatch: pytest.MonkeyPatch, asked: float) -> None:
    install(monkeypatch)
    found = pruned(asked)
    assert is_two(found)
    assert found.latency is not None
    assert found.latency.met
    assert found.latency.ratio == pytest.approx(ms(found.model) / ms(Net()), rel=EXACT)
    assert found.latency.ratio == pytest.approx(asked, rel=MET_WITHIN)
    assert found.latency.dense_ms == pytest.approx(ms(Net()), rel=EXACT)
    assert {row.layer for row in found.latency.layers} == {"stem", "wide.0", "wide.1", "head"}


@pytest.mark.parametrize("speed", [2.0, 1.2, 0.8, 0.4])
def test_a_machine_of_another_speed_a_minute_later_is_no_reason_to_stop(
    monkeypatch: pytest.MonkeyPatch, speed: float
) -> None:
    """What was asked for in the time of the first minute would be reached by all channels, or by none, in the next."""
    install(monkeypatch)
    monkeypatch.setattr("sapwood.goals.clock.measure_latency", drifting(speed, LOADS))
    found = pruned(0.6)
    assert ms(found.model) == pytest.approx(0.6 * ms(Net()), rel=MET_WITHIN)
    assert sapwood.count_params(found.model) < sapwood.count_params(Net())
    assert found.latency is not None
    assert found.latency.met
    assert len(found.latency.attempts) > 0


def test_layers_are_one_each_where_two_are_never_that_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on int8, where many short layers take longer than their work says."""
    where_two(monkeypatch, lambda ratio: max(ratio, 0.8))
    found = pruned(0.6)
    assert not is_two(found)
    assert not found.plan.factored
    assert found.latency is not None
    assert found.latency.met
    assert ms(found.model) == pytest.approx(0.6 * ms(Net()), rel=MET_WITHIN)
    assert "all layers are one each: as two they missed latency 0.6, at 0.800 of the dense network's" in found.notes
    assert not any("channels between layers that are two" in note for note in found.notes)


def test_layers_are_one_each_where_two_miss_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has two is too fast as soon as anything of it goes."""
    where_two(monkeypatch, lambda ratio: 0.4 if ratio < 1.0 else 1.1)
    found = pruned(0.6)
    assert not is_two(found)
    assert found.latency is not None
    assert found.latency.met
    assert ms(found.model) == pytest.approx(0.6 * ms(Net()), rel=MET_WITHIN)
    assert "all layers are one each: as two they missed latency 0.6, at 0.400 of the dense network's" in found.notes


def test_what_is_larger_and_slower_than_the_network_given_is_not_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within 5 % of what was asked for, and for nothing."""
    where_two(monkeypatch, lambda ratio: 1.03)
    found = pruned(1.0)
    assert not is_two(found)
    assert sapwood.count_params(found.model) <= sapwood.count_params(Net())
    assert ms(found.model) <= ms(Net()) * (1 + EXACT)


@pytest.mark.parametrize(
    ("bounds", "note"),
    [
        ({"wide.0": (1.0, 1.0)}, "no layer takes less as two of low rank: none is"),
        (
            {"wide.0": (0.6, 1.0), "stem": (0.7, 1.0)},
            "all layers are one each: latency 0.75 on fake: no widths reach it; the narrowest network measures 0.827",
        ),
    ],
    ids=["by what it takes", "by the clock"],
)
def test_limits_that_forbid_two_do_not_keep_one_from_it(
    monkeypatch: pytest.MonkeyPatch, bounds: dict[str, tuple[float, float]], note: str
) -> None:
    """Calling one layer more takes a fifth of the time."""
    install(monkeypatch)
    monkeypatch.setattr("support.fake_runtime.LAYER_MS", 1.0)
    found = pruned(0.75, limits={"bounds": bounds, "round_to": 1})
    assert not is_two(found)
    assert ms(found.model) == pytest.approx(0.75 * ms(Net()), rel=MET_WITHIN)
    assert any(one.startswith(note) for one in found.notes), found.notes


class SlowAsOne(FakeRuntime):
    """Networks with fewer parameters than the one given, of which no layer is two, take nine tenths of its time."""

    def load(self, model: nn.Module, example_inputs: Any, *, threads: int) -> FakeSession:
        session = super().load(model, example_inputs, threads=threads)
        is_one = not any(isinstance(module, LowRank) for module in model.modules())
        if is_one and sapwood.count_params(model) < sapwood.count_params(Net()):
            session._factor = 0.9 * ms(Net()) / session.ms
        return session


def test_two_that_reach_it_stay_where_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where two seem to take no less than one when the clock is asked."""
    monkeypatch.setattr(RUNTIMES, "_entries", {**RUNTIMES._entries, "fake": SlowAsOne()})
    answers = iter([[], ["wide"]])
    monkeypatch.setattr(TwoLayers, "takes_no_less", lambda *_, **__: next(answers))
    found = pruned(0.6)
    assert next(answers, None) is None
    assert is_two(found)
    assert ms(found.model) == pytest.approx(0.6 * ms(Net()), rel=MET_WITHIN)


class QuickWhereSmaller(FakeRuntime):
    """Networks with fewer parameters than the one given take two thirds of what their layers say."""

    def load(self, model: nn.Module, example_inputs: Any, *, threads: int) -> FakeSession:
        session = super().load(model, example_inputs, threads=threads)
        if sapwood.count_params(model) < sapwood.count_params(Net()):
            session._factor = 2 / 3
        return session


def test_what_multiply_accumulates_do_not_allow_the_clock_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RUNTIMES, "_entries", {**RUNTIMES._entries, "fake": QuickWhereSmaller()})
    bounds = {"stem": (0.8, 1.0), "wide": (0.8, 1.0), "wide.0": (0.9, 1.0)}
    with pytest.raises(sapwood.errors.BudgetError, match="MACs"):
        sapwood.prune(Net().eval(), X, target={"macs": 0.5}, low_rank=True, limits={"bounds": bounds, "round_to": 1})
    found = pruned(0.5, limits={"bounds": bounds, "round_to": 1})
    assert found.latency is not None
    assert found.latency.ratio == pytest.approx(0.5, rel=MET_WITHIN)
    assert any(note.startswith("all layers are one each: budget") for note in found.notes)


def test_what_no_network_reaches_is_told_in_the_words_of_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in those of the multiply-accumulates that it is reckoned with before."""
    install(monkeypatch)
    with pytest.raises(sapwood.errors.BudgetError, match=r"^latency 0.001 on fake: no widths reach it"):
        pruned(0.001)
