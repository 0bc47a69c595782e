"""Time of each case as a ratio to the unpruned network's, with the spread over the rounds."""

from __future__ import annotations

from dataclasses import dataclass

from sapwood.report import formats
from sapwood.report.findings import speed
from sapwood.report.plots.axis import axis_from_zero
from sapwood.report.records import Comparison

LEAST_HIGH = 1.2
"""The axis reaches at least this far, so that the line at 1.0 is never its edge."""


@dataclass(frozen=True)
class Bar:
    """One case: median and quartiles in percent of the plot's width, and the same in words."""

    name: str
    median: float
    low: float
    high: float
    value: str
    spread: str
    verdict: str


@dataclass(frozen=True)
class LatencyPlot:
    """The whole plot: a bar a case, ticks, and where 1.0 stands."""

    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    one: float
    baseline_ms: str
    summary: str


def latency_plot(comparison: Comparison) -> LatencyPlot | None:
    """Places every measured case's ratio on an axis that starts at 0; None where no case but the baseline was timed."""
    timed = [(case.name, case.latency) for case in comparison.candidates if case.latency is not None]
    dense = comparison.baseline.latency
    if not timed or dense is None:
        return None
    axis = axis_from_zero(max([LEAST_HIGH, *(latency.ratio_q75 for _, latency in timed)]), num_ticks=6)
    bars = tuple(
        Bar(
            name=name,
            median=axis.place(latency.ratio),
            low=axis.place(latency.ratio_q25),
            high=axis.place(latency.ratio_q75),
            value=formats.times(latency.ratio),
            spread=f"{latency.ratio_q25:.2f} to {latency.ratio_q75:.2f}",
            verdict=speed(latency),
        )
        for name, latency in timed
    )
    return LatencyPlot(
        bars=bars,
        ticks=tuple((axis.place(tick), axis.label(tick)) for tick in axis.ticks),
        one=axis.place(1.0),
        baseline_ms=formats.milliseconds(dense.median_ms),
        summary="; ".join(f"{bar.name} {bar.value} ({bar.spread})" for bar in bars),
    )
