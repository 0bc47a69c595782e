"""The reference pages of the documentation, made of the code: nothing of them is kept, so nothing of them grows old."""

from __future__ import annotations

from pathlib import Path

from reference_pages.api import api_pages
from reference_pages.commands import command_pages
from reference_pages.configuration import configuration_page
from reference_pages.records import records_page
from reference_pages.registries import registries_page

FOLDER = "reference"
"""Where the pages stand, below the sources of the documentation."""


def pages() -> dict[str, str]:
    """Returns the text of every page, in MyST's Markdown, by its path below :data:`FOLDER`."""
    return {
        **command_pages(),
        **api_pages(),
        "configuration.md": configuration_page(),
        "records.md": records_page(),
        "registries.md": registries_page(),
    }


def write(sources: Path) -> None:
    """Writes the pages below ``sources``; those that did not change keep their date, those of before go."""
    wanted = {sources / FOLDER / name: text for name, text in pages().items()}
    for path in (sources / FOLDER).rglob("*.md"):
        if path not in wanted:
            path.unlink()
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
