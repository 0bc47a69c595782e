"""A runtime without a clock: its times follow from a model's real work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import Tensor, nn

from sapwood.measure import LatencyRow, LatencyTable, count_macs
from sapwood.runtime import RUNTIMES

MS_PER_MAC = 1e-6
LAYER_MS = 0.02
"""What the fake runtime takes for a multiplication, and for calling a layer."""


class FakeSession:
    def __init__(self, model: nn.Module, inputs: Any, factor: float, *, layers: bool) -> None:
        macs = count_macs(model, inputs).per_module
        inner = {name.rpartition(".")[0] for name in macs if name}
        leaves = [name for name, _ in model.named_modules() if name in macs and name not in inner]
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


def drifting(speed: float, loads: int) -> Callable[..., LatencyTable]:
    """Compares as :func:`compared`, on a machine that takes ``speed`` times as long in the first so many loads."""
    left = [loads]

    def slower(sessions: Mapping[str, FakeSession], *, baseline: str, **_: Any) -> LatencyTable:
        factor = speed if left[0] > 0 else 1.0
        left[0] -= 1
        found = compared(sessions, baseline=baseline)
        times = ("median_ms", "q1_ms", "q3_ms", "min_ms")
        rows = [replace(row, **{name: factor * getattr(row, name) for name in times}) for row in found.rows]
        return replace(found, rows=tuple(rows))

    return slower


def without_a_clock(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Compares by what sessions say, and keeps what was measured in ``folder``."""
    monkeypatch.setattr("sapwood.goals.clock.measure_latency", compared)
    monkeypatch.setattr("sapwood.goals.latency_of_widths.Elapsed", lambda: SimpleNamespace(seconds=0.0))
    monkeypatch.setenv("SAPWOOD_CACHE", str(folder / "cache"))


def install(monkeypatch: pytest.MonkeyPatch, **options: Any) -> FakeRuntime:
    """Puts the runtime among the others, as "fake"."""
    runtime = FakeRuntime(**options)
    monkeypatch.setattr(RUNTIMES, "_entries", {**RUNTIMES._entries, "fake": runtime})
    return runtime
