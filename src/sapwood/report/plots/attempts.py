"""What was promised for each network that was made, against what the clock said."""

from __future__ import annotations

from dataclasses import dataclass

from sapwood.report import formats
from sapwood.report.plots.axis import axis_from_zero
from sapwood.report.records import TargetLatency


@dataclass(frozen=True)
class AttemptMarks:
    """One network: both ratios in percent of the plot's width, and in words."""

    name: str
    predicted: float
    measured: float
    predicted_text: str
    measured_text: str
    error: str


@dataclass(frozen=True)
class AttemptPlot:
    """The whole plot: a row an attempt, where the target stands, ticks, and the plot in words."""

    rows: tuple[AttemptMarks, ...]
    target: float
    ticks: tuple[tuple[float, str], ...]
    summary: str


def attempt_plot(latency: TargetLatency) -> AttemptPlot | None:
    """Places the predicted and the measured ratio of every attempt on an axis from 0; None without a target."""
    if latency.target is None or not latency.attempts:
        return None
    highest = max([latency.target, *(max(one.predicted, one.measured) for one in latency.attempts)])
    axis = axis_from_zero(highest, num_ticks=6)
    rows = tuple(
        AttemptMarks(
            name=f"attempt {number}" + (" (taken)" if one.measured == latency.ratio else ""),
            predicted=axis.place(one.predicted),
            measured=axis.place(one.measured),
            predicted_text=f"{one.predicted:.3f}",
            measured_text=f"{one.measured:.3f}",
            error=formats.MISSING if not one.predicted else _signed(one.measured / one.predicted - 1.0),
        )
        for number, one in enumerate(latency.attempts, 1)
    )
    summary = "; ".join(f"{row.name}: predicted {row.predicted_text}, measured {row.measured_text}" for row in rows)
    ticks = tuple((axis.place(tick), axis.label(tick)) for tick in axis.ticks)
    return AttemptPlot(rows, axis.place(latency.target), ticks, summary)


def _signed(error: float) -> str:
    """An error in percent with its sign."""
    if abs(error) < 5e-4:
        return "±0 %"
    return ("+" if error > 0 else formats.MINUS) + formats.percent(abs(error))
