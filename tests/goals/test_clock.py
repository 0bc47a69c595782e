"""The clock of latency targets on a machine that is busy for a while."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from sapwood.goals.clock import LOADS, MOST_LOADS, timed
from sapwood.measure import LatencyRow

QUIET, BUSY = (0.49, 0.5, 0.52), (0.05, 0.06, 2.0)


class Table(dict[str, LatencyRow]):
    """What one load's rounds gave."""

    conditions: dict[str, Any] = {"threads": 1}  # noqa: RUF012 - never changed


class Bench:
    """Loads nothing, and counts."""

    loads = 0
    deployment = type("Deployment", (), {"num_threads": 1})()

    def load(self, model: nn.Module) -> nn.Module:
        self.loads += 1
        return model


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
