"""How training went: figures over epochs, a line each."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from sapwood.report import formats
from sapwood.report.plots.accuracy import NUM_COLORS, NUM_MARKS, AccuracyPlot, FamilyLine, Point, Segment
from sapwood.report.plots.axis import Axis, axis_from_zero

MOST_MARKS = 80
"""Points of a line that have marks; of longer lines some have none."""


def epoch_plot(lines: Mapping[str, Sequence[tuple[int, float]]], reference: tuple[float, str]) -> AccuracyPlot | None:
    """Places figures over the epochs they were taken at; None where there are fewer than two of each.

    Args:
        lines: Epochs, from 1, and figures of at least 0, by name.
        reference: A figure that a dashed line stands at, and what it is called.

    Examples:
        >>> plot = epoch_plot({"loss": [(1, 4.0), (2, 2.0)]}, (2.0, "last 2.00"))
        >>> [(point.x, point.y) for point in plot.lines[0].points]
        [(50.0, 0.0), (100.0, 50.0)]
    """
    if not any(len(found) > 1 for found in lines.values()):
        return None
    last = max(epoch for found in lines.values() for epoch, _ in found)
    highest = max(value for found in lines.values() for _, value in found)
    x_axis, y_axis = _whole(last), axis_from_zero(highest)
    drawn = tuple(
        _line(name, number, found, (x_axis, y_axis)) for number, (name, found) in enumerate(lines.items()) if found
    )
    summary = "; ".join(
        f"{name} from {formats.three(found[0][1])} at epoch {found[0][0]} to {formats.three(found[-1][1])} at epoch "
        f"{found[-1][0]}"
        for name, found in lines.items()
        if found
    )
    return AccuracyPlot(
        metric=next(iter(lines)),
        unit="epochs",
        x_ticks=tuple((x_axis.place(tick), f"{tick:.0f}") for tick in x_axis.ticks),
        y_ticks=tuple((100.0 - y_axis.place(tick), y_axis.label(tick)) for tick in y_axis.ticks),
        baseline=(100.0 - y_axis.place(reference[0]), reference[1]),
        lines=drawn,
        summary=summary,
    )


def _whole(last: int) -> Axis:
    """An axis from 0 to the last epoch, ticks at whole numbers."""
    steps = [tick for tick in axis_from_zero(last).ticks if float(tick).is_integer() and tick <= last]
    return Axis(0.0, float(last), tuple(steps), 0)


def _line(name: str, number: int, found: Sequence[tuple[int, float]], axes: tuple[Axis, Axis]) -> FamilyLine:
    x_axis, y_axis = axes
    points = tuple(
        Point(x_axis.place(epoch), 100.0 - y_axis.place(value), f"epoch {epoch}: {name} {formats.three(value)}")
        for epoch, value in found
    )
    segments = tuple(Segment(one.x, one.y, other.x, other.y) for one, other in itertools.pairwise(points))
    every = -(-len(points) // MOST_MARKS)
    return FamilyLine(name, number % NUM_COLORS, number % NUM_MARKS, points[::-every][::-1], segments)
