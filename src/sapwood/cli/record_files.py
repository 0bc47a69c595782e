"""``-o`` of verbs whose result is figures: what ``--json`` prints, as a file, or a page of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from sapwood.errors import ConfigError

SIGN = b"<span>Sapwood</span>"
"""In the head of every page."""
MOST_READ = 200_000

RecordOption = Annotated[
    Path | None,
    typer.Option(
        "-o", "--out", metavar="FILE", help="Also write what --json prints (FILE.json), or a page (FILE.html)."
    ),
]


def check_record(out: Path | None) -> None:
    """Checks, before the work, that a result can be written where it should go.

    Raises:
        ConfigError: If the name ends neither in ``.json`` nor in ``.html``.
        WriteError: If it cannot be written.
    """
    from sapwood.files import check_file

    if out is None:
        return
    if out.suffix not in {".json", ".html"}:
        raise ConfigError(
            f"-o {out}: the result is a record (.json) or a page (.html); expected a name that ends in one of these"
        )
    check_file(out)


def check_page(out: Path | None, option: str) -> None:
    """Checks, before the work, that a page can be written where it should go.

    Raises:
        ConfigError: If the name does not end in ``.html``.
        WriteError: If it cannot be written.
    """
    from sapwood.files import check_file

    if out is None:
        return
    if out.suffix != ".html":
        raise ConfigError(f"{option} {out}: a report is a page; expected a name that ends in .html")
    check_file(out)


def check_own_page(page: Path) -> None:
    """Checks, before the work, that the page that goes into a folder replaces nothing but an earlier one.

    Raises:
        ConfigError: If a file of that name stands there that Sapwood did not write.
        WriteError: If it cannot be written.
    """
    from sapwood.files import check_file

    check_file(page)
    if page.is_file() and SIGN not in page.read_bytes()[:MOST_READ]:
        raise ConfigError(
            f"{page}: it would be replaced, and Sapwood did not write it; expected another folder for -o, or no such "
            "file in it"
        )


def write_record(out: Path | None, record: Any, page: Callable[[], str]) -> None:
    """Writes the record, or the page, where that was asked for."""
    from sapwood.files import write_json, write_text

    if out is None:
        return
    if out.suffix == ".html":
        write_text(out, page())
    else:
        write_json(out, record)
