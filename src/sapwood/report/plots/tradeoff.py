"""Accuracy over time: every case on every runtime, and the line of those that none beats in both."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from sapwood.report import formats
from sapwood.report.plots.axis import axis_from_zero
from sapwood.report.records import Comparison
from sapwood.report.standing import LOSES, NAMES, Standing, retained, standings
from sapwood.report.sureness import accuracy_interval

SERIES = tuple(NAMES)
"""Runtimes in the order of the palette: a mark and a colour each."""


@dataclass(frozen=True)
class Mark:
    """A case on a runtime: places in percent of the plot, y from the top.

    Attributes:
        x: Its time.
        y: Its accuracy.
        series: Of its runtime.
        low: Where the error bar ends, lower.
        high: And higher; both as y without one.
        left: Lower quartile of the time.
        right: Upper quartile.
        row: Which row of the table it belongs to.
        title: What it says when pointed at.
        best: Whether no other is faster and as accurate.
        baseline: Whether it is the unpruned network.
    """

    x: float
    y: float
    series: int
    low: float
    high: float
    left: float
    right: float
    row: int
    title: str
    best: bool
    baseline: bool


@dataclass(frozen=True)
class TradeoffPlot:
    """The whole plot; the line is of pairs of places."""

    metric: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    marks: tuple[Mark, ...]
    line: tuple[tuple[float, float, float, float], ...]
    runtimes: tuple[tuple[int, str], ...]
    has_bars: bool
    summary: str


def tradeoff_plot(comparison: Comparison) -> TradeoffPlot | None:
    """Places every case that has both an accuracy and a time; None where there are not two of them."""
    shown = [one for one in standings(comparison) if one.case.value is not None]
    if len(shown) < 2:
        return None
    x_axis = axis_from_zero(max(one.ms for one in shown), num_ticks=6)
    tops = [interval.high for one in shown if (interval := accuracy_interval(one.case))]
    y_axis = axis_from_zero(max([*tops, *(one.case.value or 0.0 for one in shown)]))
    best = pareto([one for one in shown if (retained(one.case, comparison) or 0.0) >= LOSES])
    rows = {case.name: number for number, case in enumerate(comparison.cases)}

    def mark(one: Standing) -> Mark:
        value, found = one.case.value or 0.0, accuracy_interval(one.case)
        y, low, high = (
            100.0 - y_axis.place(at) for at in (value, *((found.low, found.high) if found else (value,) * 2))
        )
        left, right = (x_axis.place(ratio * one.ms / one.ratio) for ratio in (one.low, one.high))
        return Mark(
            x=x_axis.place(one.ms),
            y=y,
            series=SERIES.index(one.runtime),
            low=low,
            high=high,
            left=left,
            right=right,
            row=rows[one.case.name],
            title=_title(one, comparison),
            best=one in best,
            baseline=one.case is comparison.baseline,
        )

    marks = tuple(mark(one) for one in shown)
    front = sorted({(one.x, one.y) for one in marks if one.best})
    line = tuple((x1, y1, x2, y2) for (x1, y1), (x2, y2) in itertools.pairwise(front))
    return TradeoffPlot(
        metric=comparison.primary,
        x_ticks=tuple((x_axis.place(tick), x_axis.label(tick)) for tick in x_axis.ticks),
        y_ticks=tuple((100.0 - y_axis.place(tick), y_axis.label(tick)) for tick in y_axis.ticks),
        marks=marks,
        line=line,
        runtimes=tuple((SERIES.index(key), NAMES[key]) for key in SERIES if any(one.runtime == key for one in shown)),
        has_bars=bool(tops),
        summary=". ".join(one.title for one in marks if one.best),
    )


def pareto(shown: Sequence[Standing]) -> list[Standing]:
    """Those that no other beats: none is as accurate in less time, or more accurate in as little."""
    found: list[Standing] = []
    for one in sorted(shown, key=lambda one: (one.ms, -(one.case.value or 0.0))):
        if not found or (one.case.value or 0.0) > (found[-1].case.value or 0.0):
            found.append(one)
    return found


def _title(one: Standing, comparison: Comparison) -> str:
    name = "unpruned network" if one.case is comparison.baseline else one.case.name
    figures = one.case.accuracy.metrics if one.case.accuracy else {}
    told = ", ".join(f"{figure} {formats.score(value)}" for figure, value in figures.items())
    return f"{name} in {NAMES[one.runtime]}: {formats.milliseconds(one.ms)}, {told}"
