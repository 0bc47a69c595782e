"""``sapwood report``: builds the HTML page of a finished comparison again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from sapwood.errors import DataError


def report(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="A directory that `sapwood compare` wrote.")],
) -> None:
    """(Re)builds report.html from the JSON record in a run's directory.

    Example: `sapwood report runs/compare`
    """
    from sapwood.files import write_text
    from sapwood.report import render_compare

    source = run_dir / "compare.json"
    if not source.is_file():
        raise DataError(f"{run_dir}: no compare.json there; expected a directory that `sapwood compare` wrote")
    try:
        record = json.loads(source.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{source}: not JSON ({error}); expected the record that `sapwood compare` wrote") from error
    target = run_dir / "report.html"
    write_text(target, render_compare(record))
    typer.echo(f"report: {target}")
