"""What pruning each group alone does to the model: the console table, and the cells that the page colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from sapwood.report import formats

Record = Mapping[str, Any]


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


def trial_columns(sensitivity: Record) -> tuple[tuple[float, ...], tuple[GroupTrials, ...]]:
    """Returns the fractions kept that were tried, and each group's trials under the nearest of them.

    The group with the most trials names the fractions; narrow groups, whose widths are rounded, stand beside it.

    Examples:
        >>> wide = {"group": "a", "num_channels": 16, "kept": (4, 8), "losses": (0.5, 0.1)}
        >>> narrow = {"group": "b", "num_channels": 3, "kept": (2,), "losses": (0.2,)}
        >>> columns, groups = trial_columns({"rows": [wide, narrow]})
        >>> columns, [cell and cell.kept for cell in groups[1].cells]
        ((0.25, 0.5), [None, 2])
    """
    rows = sensitivity["rows"]
    if not rows:
        return (), ()
    most = max(rows, key=lambda row: (len(row["kept"]), row["num_channels"]))
    columns = tuple(kept / most["num_channels"] for kept in most["kept"])
    return columns, tuple(GroupTrials(row["group"], row["num_channels"], _cells(row, columns)) for row in rows)


def sensitivity_table(sensitivity: Record) -> Table:
    """Returns a row a group, a column a fraction of its channels kept.

    Args:
        sensitivity: The ``sensitivity`` of a record of ``sapwood prune`` or ``sapwood inspect``.
    """
    columns, groups = trial_columns(sensitivity)
    title = f"sensitivity: how much worse with one group pruned alone, by {sensitivity['figure']}"
    caption = f"{dense_text(sensitivity)}; 0 is no harm, below 0 it helped; in brackets the channels kept"
    table = Table(title=Text(title), caption=Text(caption), min_width=64)
    table.add_column("group", overflow="fold")
    table.add_column("channels", justify="right")
    for fraction in columns:
        table.add_column(f"{formats.percent(fraction)} kept", justify="right", no_wrap=True)
    for group in groups:
        texts = [trial_text(cell) for cell in group.cells]
        table.add_row(Text(group.name), str(group.num_channels), *map(Text, texts))
    return table


def dense_text(sensitivity: Record) -> str:
    """Says what the untouched model measures."""
    return f"the dense model measures {formats.loss(sensitivity['dense'])}"


def trial_text(cell: Trial | None) -> str:
    """Writes a trial: its loss, and in brackets the channels kept."""
    return formats.MISSING if cell is None else f"{formats.loss(cell.loss)} ({cell.kept})"


def _cells(row: Record, columns: Sequence[float]) -> tuple[Trial | None, ...]:
    """Each trial under the nearest fraction; of two under one, the narrower, which is the last word on harm."""
    found: dict[int, Trial] = {}
    for kept, loss in zip(row["kept"], row["losses"], strict=True):
        fraction = kept / row["num_channels"]
        nearest = min(range(len(columns)), key=lambda column: abs(columns[column] - fraction))
        found.setdefault(nearest, Trial(kept, loss))
    return tuple(found.get(column) for column in range(len(columns)))
