"""What a reader finds in a page or in a table of the console."""

from __future__ import annotations

import io
from html.parser import HTMLParser

from rich.console import Console
from rich.table import Table

VOID = {"meta", "br", "link", "img", "hr", "input"}


class Outline(HTMLParser):
    """Collects tags and text, and refuses tags that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"href", "src", "xlink:href", "srcset", "data"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in {"style", "script"}:
            self.text.append(data)


def outline(page: str) -> Outline:
    """The tags, links and texts of a page."""
    parser = Outline()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


def words(page: str) -> str:
    """A page's text as one line."""
    return " ".join(" ".join(outline(page).text).split())


def lines(table: Table) -> list[str]:
    """The table's lines as a wide terminal without colours shows them, without borders."""
    file = io.StringIO()
    Console(file=file, width=200, color_system=None).print(table)
    return [" ".join(line.replace("│", " ").replace("┃", " ").split()) for line in file.getvalue().splitlines()]
