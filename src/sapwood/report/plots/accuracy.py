"""Accuracy over how far cases go: a plot a unit of that, one line a family."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from sapwood.report import formats
from sapwood.report.plots.axis import Axis, axis_from_zero
from sapwood.report.records import CaseResult, Comparison

NUM_COLORS = 8
NUM_MARKS = 4
"""Colours and shapes of marks: so many families times so many have one of their own."""

UNITS = {
    "macs": "multiply-accumulates removed",
    "params": "parameters removed",
    "latency": "time to be saved",
    "channels": "channels removed",
    "zero channels": "channels set to zero",
    "weights": "weights set to zero",
}
"""What the level of a case is a fraction of, and how an axis is called."""


@dataclass(frozen=True)
class Point:
    """A case in the plot: x and y in percent of the plot (y from the top), and what it says when pointed at."""

    x: float
    y: float
    title: str


@dataclass(frozen=True)
class Segment:
    """A straight piece of a line, in percent of the plot."""

    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True)
class FamilyLine:
    """A family's line: its colour, its mark, its points from left to right, and the pieces that join them."""

    family: str
    color: int
    mark: int
    points: tuple[Point, ...]
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class AccuracyPlot:
    """The whole plot.

    Attributes:
        metric: What stands on the vertical axis.
        unit: What stands on the horizontal one.
        x_ticks: Place in percent and label.
        y_ticks: Place in percent from the top and label.
        baseline: Place of the unpruned network's accuracy, in percent from the top, and its label.
        lines: One a family.
        summary: The plot in words, for readers who do not see it.
    """

    metric: str
    unit: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    baseline: tuple[float, str]
    lines: tuple[FamilyLine, ...]
    summary: str


def unit_of(case: CaseResult) -> str:
    """What the level of a case is a fraction of: a key of :data:`UNITS`."""
    given = case.settings
    if case.kind == "prune":
        return next((field for field in ("macs", "params", "latency") if given.get(field) is not None), "channels")
    return "zero channels" if "structured" in str(given.get("method", "")).split("_") else "weights"


def accuracy_plots(comparison: Comparison) -> tuple[AccuracyPlot, ...]:
    """Returns a plot for each unit of :data:`UNITS` that a family of cases goes by, at more than one level."""
    made = (accuracy_plot(comparison, unit) for unit in UNITS)
    return tuple(plot for plot in made if plot is not None)


def accuracy_plot(comparison: Comparison, unit: str) -> AccuracyPlot | None:
    """Places the accuracy of every case over the sparsity it was asked for; None where there is no line to draw.

    The horizontal axis is the case's level: of the layers that the case is about, not of the whole network; for a case
    that has none, as one with masks from a file, the share of zeros in the whole network.
    """
    dense = comparison.baseline.value
    families = {
        family: placeable
        for family, cases in comparison.families().items()
        if (placeable := [case for case in cases if case.value is not None and unit_of(case) == unit])
    }
    if dense is None or not any(len(cases) > 1 for cases in families.values()):
        return None
    levels = [_level(case) for cases in families.values() for case in cases]
    highest = max([dense, *(case.value or 0.0 for cases in families.values() for case in cases)])
    x_axis, y_axis = axis_from_zero(max(levels)), axis_from_zero(highest)
    lines = tuple(
        _line(family, index, cases, (x_axis, y_axis), comparison)
        for index, (family, cases) in enumerate(families.items())
    )
    return AccuracyPlot(
        metric=comparison.primary,
        unit=UNITS[unit],
        x_ticks=tuple((x_axis.place(tick), formats.percent(tick)) for tick in x_axis.ticks),
        y_ticks=tuple((100.0 - y_axis.place(tick), y_axis.label(tick)) for tick in y_axis.ticks),
        baseline=(100.0 - y_axis.place(dense), f"unpruned {formats.score(dense)}"),
        lines=lines,
        summary=_summary(families, comparison),
    )


def _level(case: CaseResult) -> float:
    return case.sparsity if case.level is None else case.level


def _line(
    family: str, index: int, cases: Sequence[CaseResult], axes: tuple[Axis, Axis], comparison: Comparison
) -> FamilyLine:
    """A family's line, which starts at the unpruned network; a single case has none."""
    x_axis, y_axis = axes
    dense = comparison.baseline.value or 0.0
    points = tuple(
        Point(
            x_axis.place(_level(case)),
            100.0 - y_axis.place(case.value or 0.0),
            f"{case.name}: {comparison.primary} {formats.score(case.value)}",
        )
        for case in sorted(cases, key=_level)
    )
    start = Point(x_axis.place(0.0), 100.0 - y_axis.place(dense), "unpruned")
    segments = tuple(
        Segment(first.x, first.y, second.x, second.y)
        for first, second in itertools.pairwise((start, *points) if len(points) > 1 else points)
    )
    color, mark = index % NUM_COLORS, (index + index // NUM_COLORS) % NUM_MARKS
    return FamilyLine(family, color, mark, points, segments)


def _summary(families: dict[str, list[CaseResult]], comparison: Comparison) -> str:
    parts = [
        f"{family}: " + ", ".join(f"{formats.score(case.value)} at {formats.percent(_level(case))}" for case in cases)
        for family, cases in families.items()
    ]
    start = f"{comparison.primary} over sparsity; unpruned {formats.score(comparison.baseline.value)}. "
    return start + ". ".join(parts) + "."
