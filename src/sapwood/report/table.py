"""A table, declared once: the console draws it with rich, a page as HTML."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.table import Table

Cells = tuple[str, ...]
Look = Literal["", "bold", "bold red", "dim", "green", "italic", "red", "yellow"]

MIN_WIDTH = 64
"""Columns of a small table of the console, so that its notes stand on a line or two."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: What stands above it.
        figures: Whether it holds figures, which stand on the right.
        page_only: Whether only a page has room for it.
    """

    title: str
    figures: bool = False
    page_only: bool = False


@dataclass(frozen=True)
class TextTable:
    """A table of text, the same on a page and on the console.

    Attributes:
        label: What it is about.
        columns: From left to right.
        rows: From top to bottom; one that is short ends early.
        heading: A sentence above it on the console; the page has sections.
        notes: What stands below it on the console.
        heading_look: How the heading looks.
        notes_look: How the notes look.
        looks: How a row looks on the console, or one cell by row and column.
        rules: Numbers of rows that a line parts from those above.
        min_width: Columns of the console that notes have at least.
    """

    label: str
    columns: tuple[Column, ...]
    rows: tuple[Cells, ...]
    heading: str = ""
    notes: tuple[str, ...] = ()
    heading_look: Look = "italic"
    notes_look: Look = ""
    looks: Mapping[int | tuple[int, int], Look] = field(default_factory=dict)
    rules: Collection[int] = ()
    min_width: int = MIN_WIDTH

    @property
    def titles(self) -> Cells:
        """What stands above each column."""
        return tuple(column.title for column in self.columns)

    @property
    def figures(self) -> tuple[bool, ...]:
        """Whether each column holds figures."""
        return tuple(column.figures for column in self.columns)

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        return len(self.rows)

    def __rich__(self) -> Table:
        """Draws the table on a console; nothing in a text is taken for markup."""
        from rich.table import Table
        from rich.text import Text

        heading = Text(self.heading, self.heading_look) if self.heading else None
        notes = Text("\n".join(self.notes), self.notes_look) if self.notes else None
        table = Table(title=heading, caption=notes, min_width=self.min_width if notes else None)
        shown = [place for place, column in enumerate(self.columns) if not column.page_only]
        for column in (self.columns[place] for place in shown):
            table.add_column(Text(column.title), justify="right" if column.figures else "left", overflow="fold")
        for number, row in enumerate(self.rows):
            if number in self.rules:
                table.add_section()
            table.add_row(*(Text(row[place], self._look(number, place)) for place in shown if place < len(row)))
        return table

    def _look(self, row: int, column: int) -> Look:
        return self.looks.get((row, column), self.looks.get(row, ""))


def columns(*titles: str, words: Collection[str] = (), page_only: Collection[str] = ()) -> tuple[Column, ...]:
    """Makes the columns of a table: the first, and those called words, hold words, the others figures.

    Examples:
        >>> [column.figures for column in columns("layer", "kind", "MACs", words=["kind"])]
        [False, False, True]
    """
    return tuple(
        Column(title, figures=place > 0 and title not in words, page_only=title in page_only)
        for place, title in enumerate(titles)
    )
