"""``-o`` of verbs whose result is figures: what ``--json`` prints, as a file, or a page of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from sapwood.errors import ConfigError

PAGE = "report.html"
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


def check_run(out: Path, *names: str) -> None:
    """Checks, before the work, a folder that files go into one by one: each can be written, and the page is Sapwood's.

    Args:
        out: The folder, which may not exist yet.
        names: What is written into it beside the page.

    Raises:
        ConfigError: If it is a file, something else than a file stands in the place of one, or there is a saved model
            or a page that Sapwood did not write.
        WriteError: If nothing can be written there.
    """
    from sapwood.files import check_file, check_folder
    from sapwood.models import check_no_model

    check_folder(out)
    check_no_model(out)
    page = out / PAGE
    for name in (*names, PAGE):
        check_file(out / name)
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
