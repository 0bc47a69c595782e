"""The time of the layers in order of execution: where in the run each begins and ends."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sapwood.report import formats
from sapwood.report.plots.axis import Axis, axis_from_zero
from sapwood.report.records import LayerTime

TELLING = 0.004
"""Share of the time below which layers that follow one another are drawn as one."""


@dataclass(frozen=True)
class FallStep:
    """A layer: where its bars begin and how long they are, in percent of the axis; and the same in words."""

    name: str
    start: float
    width: float
    start_after: float | None
    width_after: float | None
    text: str
    title: str


@dataclass(frozen=True)
class Waterfall:
    """The steps in order, ticks in milliseconds, and the plot in words."""

    steps: tuple[FallStep, ...]
    ticks: tuple[tuple[float, str], ...]
    summary: str


def waterfall(layers: Sequence[LayerTime], order: Sequence[str]) -> Waterfall | None:
    """Places each layer behind the one before.

    Args:
        layers: Their times.
        order: Names of the layers from the input to the output. What is not among them stands where its number has it,
            and what the runtime adds, last.
    """
    if not layers:
        return None
    places = {name: number for number, name in enumerate(order)}
    ordered = _merged(sorted(layers, key=lambda layer: _place(layer.layer, places)))
    total, total_after = (
        sum(times) for times in zip(*((before, after or 0.0) for _, before, after in ordered), strict=True)
    )
    axis = axis_from_zero(max(total, total_after), num_ticks=6)
    steps: list[FallStep] = []
    at = at_after = 0.0
    for name, before, after in ordered:
        steps.append(_step(axis, name, (at, before), None if after is None else (at_after, after)))
        at, at_after = at + before, at_after + (after or 0.0)
    ticks = tuple((axis.place(tick), axis.label(tick)) for tick in axis.ticks)
    return Waterfall(tuple(steps), ticks, "; ".join(step.title for step in steps))


def _place(name: str, places: Mapping[str, int]) -> float:
    """Where a layer stands; one without weights, as ``layers.6``, behind the last whose number is smaller.

    Examples:
        >>> known = {"layers.2.conv": 0, "layers.10.conv": 1}
        >>> [_place(name, known) for name in ("layers.6", "layers.10.conv", "(overhead)")]
        [0.5, 1, 2]
    """
    if name in places:
        return places[name]
    own = _numbers(name)
    if not own:
        return len(places)
    return max((place for known, place in places.items() if _numbers(known) < own), default=-1) + 0.5


def _numbers(name: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", name))


def _merged(layers: Sequence[LayerTime]) -> list[tuple[str, float, float | None]]:
    """Layers too short to be seen are one with those beside them that are, too."""
    total = sum(layer.before_ms for layer in layers) or 1.0
    total_after = sum(layer.after_ms or 0.0 for layer in layers) or 1.0
    rows: list[tuple[list[str], float, float | None]] = []
    tiny_before = False
    for layer in layers:
        tiny = layer.before_ms < TELLING * total and (layer.after_ms or 0.0) < TELLING * total_after
        if tiny and tiny_before:
            names, before, after = rows[-1]
            joined = None if after is None else after + (layer.after_ms or 0.0)
            rows[-1] = ([*names, layer.layer], before + layer.before_ms, joined)
        else:
            rows.append(([layer.layer], layer.before_ms, layer.after_ms))
        tiny_before = tiny
    return [(names[0] if len(names) == 1 else f"{len(names)} small layers", *times) for names, *times in rows]  # type: ignore[misc]


def _step(axis: Axis, name: str, before: tuple[float, float], after: tuple[float, float] | None) -> FallStep:
    text = formats.milliseconds(before[1])
    if after is not None:
        text = f"{text.removesuffix(' ms')} → {formats.milliseconds(after[1])}"
    return FallStep(
        name,
        axis.place(before[0]),
        axis.place(before[1]),
        None if after is None else axis.place(after[0]),
        None if after is None else axis.place(after[1]),
        text,
        f"{name}: {text}",
    )
