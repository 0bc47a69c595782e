"""What pruning each group alone does to the model: the table, and the cells that the page colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sapwood.report import formats
from sapwood.report.records import GroupLosses, Losses, make_part
from sapwood.report.table import TextTable, columns


@dataclass(frozen=True)
class Trial:
    """A group at one width: the channels that stayed, and how much worse the model was."""

    kept: int
    loss: float


@dataclass(frozen=True)
class GroupTrials:
    """One group: a trial a column, None where a width of that fraction was not tried."""

    name: str
    num_channels: int
    cells: tuple[Trial | None, ...]

    @property
    def worst(self) -> float:
        """The largest loss of its trials; 0 where all of them helped."""
        return max([0.0, *(cell.loss for cell in self.cells if cell is not None)])


def trial_columns(losses: Losses) -> tuple[tuple[float, ...], tuple[GroupTrials, ...]]:
    """Returns the fractions kept that were tried, and each group's trials under the nearest of them.

    The group with the most trials names the fractions; narrow groups, whose widths are rounded, stand beside it.

    Examples:
        >>> wide = {"group": "a", "num_channels": 16, "kept": (4, 8), "losses": (0.5, 0.1)}
        >>> narrow = {"group": "b", "num_channels": 3, "kept": (2,), "losses": (0.2,)}
        >>> fractions, groups = trial_columns(Losses(figure="loss", dense=1.0, rows=(wide, narrow)))
        >>> fractions, [cell and cell.kept for cell in groups[1].cells]
        ((0.25, 0.5), [None, 2])
    """
    if not losses.rows:
        return (), ()
    most = max(losses.rows, key=lambda row: (len(row.kept), row.num_channels))
    fractions = tuple(kept / most.num_channels for kept in most.kept)
    return fractions, tuple(GroupTrials(row.group, row.num_channels, _cells(row, fractions)) for row in losses.rows)


def sensitivity_table(sensitivity: Losses | Mapping[str, Any]) -> TextTable:
    """Returns a row a group, a column a fraction of its channels kept; then a row a block, gone as a whole.

    Args:
        sensitivity: The ``sensitivity`` of a record of ``sapwood prune`` or ``sapwood inspect``.
    """
    losses = make_part(Losses, sensitivity)
    fractions, groups = trial_columns(losses)
    dense = f"the dense model measures {formats.loss(losses.dense)}"
    blocks = [
        (block.name, "whole", f"{formats.loss(block.loss)} (gone)", *([formats.MISSING] * (len(fractions) - 1)))
        for block in losses.blocks
        if fractions
    ]
    return TextTable(
        "Sensitivity of each group",
        columns("group", "channels", *(f"{formats.percent(fraction)} kept" for fraction in fractions)),
        (*((group.name, str(group.num_channels), *map(trial_text, group.cells)) for group in groups), *blocks),
        heading=f"sensitivity: how much worse with one group pruned alone, by {losses.figure}",
        notes=(f"{dense}; 0 is as the dense model, below 0 better; in brackets the channels kept",),
    )


def trial_text(cell: Trial | None) -> str:
    """Writes a trial: its loss, and in brackets the channels kept."""
    return formats.MISSING if cell is None else f"{formats.loss(cell.loss)} ({cell.kept})"


def _cells(row: GroupLosses, fractions: Sequence[float]) -> tuple[Trial | None, ...]:
    """Each trial under the nearest fraction; of two under one, the narrower, which is the last word on harm."""
    found: dict[int, Trial] = {}
    for kept, loss in zip(row.kept, row.losses, strict=True):
        fraction = kept / row.num_channels
        nearest = min(range(len(fractions)), key=lambda column: abs(fractions[column] - fraction))
        found.setdefault(nearest, Trial(kept, loss))
    return tuple(found.get(column) for column in range(len(fractions)))
