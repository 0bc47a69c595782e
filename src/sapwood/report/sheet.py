"""A page of one verb's figures: a headline, answers, bars, and tables in the order in which they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sapwood.report import formats
from sapwood.report.answers import Answer
from sapwood.report.findings import Finding
from sapwood.report.plots.accuracy import AccuracyPlot
from sapwood.report.plots.axis import axis_from_zero
from sapwood.report.plots.layers import LayerPlot
from sapwood.report.table import TextTable


@dataclass(frozen=True)
class ShareBar:
    """A bar: how long it is and between which places its whisker stands, in percent, and the same in words."""

    name: str
    width: float
    low: float
    high: float
    value: str


@dataclass(frozen=True)
class ShareBars:
    """Bars on one axis, ticks, and a line in words."""

    bars: tuple[ShareBar, ...]
    ticks: tuple[tuple[float, str], ...]
    unit: str
    summary: str


@dataclass(frozen=True)
class Photo:
    """A picture: its name, an address that holds it whole, and what is seen on it."""

    name: str
    address: str
    caption: str


@dataclass(frozen=True)
class SheetPart:
    """A part of a page.

    Attributes:
        anchor: What a link to it names.
        title: Its heading.
        text: A sentence or two below that.
        bars: What is drawn.
        layers: Likewise, a bar a layer.
        curves: Likewise, lines.
        photos: Pictures.
        table: What is told in numbers.
        lines: What else is to be told, a sentence each.
    """

    anchor: str
    title: str
    text: str = ""
    bars: ShareBars | None = None
    layers: LayerPlot | None = None
    curves: tuple[AccuracyPlot, ...] = ()
    photos: tuple[Photo, ...] = ()
    table: TextTable | None = None
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sheet:
    """A page.

    Attributes:
        verb: Which command's.
        subject: What it is about, in small letters above the headline.
        headline: What it came to.
        answers: The questions that come first.
        sections: What else there is.
    """

    verb: str
    subject: str
    headline: Finding
    answers: tuple[Answer, ...]
    sections: tuple[SheetPart, ...]


def shares(
    values: Mapping[str, float],
    unit: str,
    whiskers: Mapping[str, tuple[float, float]] | None = None,
    *,
    names: Sequence[str] | None = None,
    write: Callable[[float], str] = formats.score,
) -> ShareBars:
    """Places bars of figures on an axis that begins at 0.

    Args:
        values: Figures in [0, 1], by name.
        unit: What the axis is of.
        whiskers: Between which values some of them lie.
        names: The order; that of the values where None.
        write: How a figure is written.

    Examples:
        >>> shares({"dog": 0.25, "cat": 0.5}, "AP").bars[1]
        ShareBar(name='cat', width=100.0, low=100.0, high=100.0, value='0.500')
    """
    spans = {name: (whiskers or {}).get(name, (value, value)) for name, value in values.items()}
    axis = axis_from_zero(max([0.0, *values.values(), *(high for _, high in spans.values())]))
    bars = tuple(
        ShareBar(name, axis.place(values[name]), axis.place(low), axis.place(high), write(values[name]))
        for name in (names or values)
        for low, high in (spans[name],)
    )
    ticks = tuple((axis.place(tick), axis.label(tick)) for tick in axis.ticks)
    return ShareBars(bars, ticks, unit, "; ".join(f"{bar.name} {bar.value}" for bar in bars))
