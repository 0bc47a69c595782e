"""``sapwood report``: builds the HTML page of a finished run again."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from sapwood.errors import DataError

RunArgument = Annotated[
    Path,
    typer.Argument(metavar="RUN_DIR", help="A directory that `sapwood compare`, `prune`, `compact` or `run` wrote."),
]


def report(run_dir: RunArgument) -> None:
    """(Re)builds report.html from the JSON record in a run's directory.

    Example: `sapwood report runs/compare`
    """
    from sapwood.files import check_file, write_text
    from sapwood.reading import naming, read_json, reading
    from sapwood.report import render_compare, render_prune, render_run

    renderers: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "compare.json": render_compare,
        "report.json": render_prune,
        "run.json": render_run,
    }
    name = next((name for name in renderers if os.path.isfile(run_dir / name)), None)
    if name is None:
        raise DataError(
            f"{run_dir}: no {' or '.join(renderers)} there; expected a directory that `sapwood compare`, `prune`, "
            "`compact` or `run` wrote"
        )
    source = run_dir / name
    check_file(run_dir / "report.html")
    record = read_json(source, "the record that Sapwood wrote", DataError)
    target = run_dir / "report.html"
    with naming(source), reading(source, "the record that Sapwood wrote", DataError):
        page = renderers[name](record)
    write_text(target, page)
    typer.echo(f"report: {target}")
