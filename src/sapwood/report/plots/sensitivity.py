"""What pruning each group alone costs: a strip a group, darker where it hurts more."""

from __future__ import annotations

from dataclasses import dataclass

from sapwood.report import formats
from sapwood.report.records import Losses
from sapwood.report.sensitivity import GroupTrials, Trial, trial_columns


@dataclass(frozen=True)
class HeatCell:
    """One trial: where its cell starts in percent, how strong its colour is in [0, 1], and what it says."""

    x: float
    width: float
    strength: float
    text: str
    title: str


@dataclass(frozen=True)
class HeatStrip:
    """One group: its cells, and its largest loss."""

    name: str
    num_channels: int
    cells: tuple[HeatCell, ...]
    worst: str


@dataclass(frozen=True)
class SensitivityPlot:
    """The whole plot: a column a fraction kept, a strip a group, and the plot in words."""

    columns: tuple[tuple[float, str], ...]
    strips: tuple[HeatStrip, ...]
    summary: str


def sensitivity_plot(losses: Losses) -> SensitivityPlot | None:
    """Places every trial; None where there was none.

    The strength is the square root of the loss over the largest one: losses grow steeply as a group narrows, and with a
    straight scale all but one column would look alike.
    """
    columns, groups = trial_columns(losses)
    if not columns:
        return None
    worst = max(group.worst for group in groups)
    width = 100.0 / len(columns)
    strips = tuple(
        HeatStrip(group.name, group.num_channels, _cells(group, width, worst), formats.loss(group.worst))
        for group in groups
    )
    places = tuple((round((index + 0.5) * width, 3), f"{formats.percent(kept)}") for index, kept in enumerate(columns))
    most, least = max(groups, key=lambda group: group.worst), min(groups, key=lambda group: group.worst)
    summary = (
        f"{losses.figure}; most sensitive {most.name}, {formats.loss(most.worst)} at worst; "
        f"least sensitive {least.name}, {formats.loss(least.worst)}"
    )
    return SensitivityPlot(places, strips, summary)


def _cells(group: GroupTrials, width: float, worst: float) -> tuple[HeatCell, ...]:
    return tuple(
        HeatCell(
            x=round(index * width, 3),
            width=round(width, 3),
            strength=_strength(trial, worst),
            text=formats.loss(trial.loss),
            title=f"{group.name}: {trial.kept} of {group.num_channels} channels kept, {formats.loss(trial.loss)}",
        )
        for index, trial in enumerate(group.cells)
        if trial is not None
    )


def _strength(trial: Trial, worst: float) -> float:
    return round((max(0.0, trial.loss) / worst) ** 0.5, 3) if worst else 0.0
