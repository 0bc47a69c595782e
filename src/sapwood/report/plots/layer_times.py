"""Time of each layer as bars: before and after pruning, or of one network alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sapwood.report import formats
from sapwood.report.latency import TimeRow
from sapwood.report.plots.axis import axis_from_zero


@dataclass(frozen=True)
class TimeBars:
    """One layer: its times in percent of the plot's width, and the same in words."""

    name: str
    before: float
    after: float | None
    value: str
    title: str
    reason: str


@dataclass(frozen=True)
class LayerTimePlot:
    """The whole plot: a row a layer, ticks in milliseconds, and the plot in words."""

    rows: tuple[TimeBars, ...]
    ticks: tuple[tuple[float, str], ...]
    summary: str


def layer_time_plot(rows: Sequence[TimeRow]) -> LayerTimePlot | None:
    """Places the time of every row on one axis; None where there is none."""
    if not rows:
        return None
    axis = axis_from_zero(max(max(row.before_ms, row.after_ms or 0.0) for row in rows), num_ticks=6)
    bars = tuple(
        TimeBars(
            name=row.name,
            before=axis.place(row.before_ms),
            after=None if row.after_ms is None else axis.place(row.after_ms),
            value=formats.percent(row.share_before) if row.after_ms is None else formats.times(row.ratio),
            title=_title(row),
            reason=row.reason,
        )
        for row in rows
    )
    ticks = tuple((axis.place(tick), axis.label(tick)) for tick in axis.ticks)
    return LayerTimePlot(bars, ticks, "; ".join(bar.title for bar in bars))


def _title(row: TimeRow) -> str:
    if row.after_ms is None:
        return f"{row.name}: {formats.milliseconds(row.before_ms)}"
    return f"{row.name}: {formats.milliseconds(row.before_ms)} before, {formats.milliseconds(row.after_ms)} after"
