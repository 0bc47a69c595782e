"""``sapwood report``: builds the HTML page of a finished run again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from sapwood.cli.common import JsonOption, print_json
from sapwood.cli.next_steps import browse, next_step
from sapwood.cli.record_files import check_page
from sapwood.errors import DataError
from sapwood.meant import meant_path

RunArgument = Annotated[
    Path,
    typer.Argument(
        metavar="RUN_DIR",
        help="A directory that `sapwood compare`, `prune`, `compact`, `mask`, `train`, `detect`, `compile` or `run` "
        "wrote.",
    ),
]


def report(
    run_dir: RunArgument,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", metavar="FILE.html", help="Where the page goes; report.html in the directory if not given."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """(Re)builds report.html from the JSON record in a run's directory.

    Example: `sapwood report runs/compare -o page.html`
    """
    from sapwood.files import write_text
    from sapwood.reading import naming, read_json, reading
    from sapwood.report.records import PageRecord

    renderers = _renderers(run_dir)
    name = next((name for name in renderers if os.path.isfile(run_dir / name)), None)
    if name is None:
        raise DataError(
            f"{run_dir}: {_found(run_dir, renderers)}; expected a directory that `sapwood compare`, `prune`, "
            f"`compact`, `mask`, `train`, `detect`, `compile` or `run` wrote{meant_path(run_dir)}"
        )
    source = run_dir / name
    target = run_dir / "report.html" if out is None else out
    check_page(target, "-o")
    record = read_json(source, "the record that Sapwood wrote", DataError)
    with naming(source), reading(source, "the record that Sapwood wrote", DataError):
        page = renderers[name](record)
    write_text(target, page)
    if as_json:
        print_json(PageRecord(report=str(target), record=str(source)).plain())
        return
    typer.echo(f"report: {target}")
    next_step(browse(target))


def _found(run_dir: Path, names: Iterable[str]) -> str:
    """What stands where a run's directory was expected."""
    if os.path.isdir(run_dir):
        return f"no {' or '.join(names)} there"
    return f"is a file of {run_dir.parent}" if os.path.exists(run_dir) else "no such directory"


def _renderers(run_dir: Path) -> dict[str, Callable[[Mapping[str, Any]], str]]:
    """What makes a page, by the name of the record that it is made of."""
    from sapwood.cli.detect import photos
    from sapwood.report import (
        read_detecting,
        render_compare,
        render_compile,
        render_detect,
        render_mask,
        render_prune,
        render_run,
        render_train,
    )

    def detected(record: Mapping[str, Any]) -> str:
        found = read_detecting(record)
        return render_detect(found, photos(run_dir, found))

    return {
        "compare.json": render_compare,
        "report.json": render_prune,
        "mask.json": render_mask,
        "train.json": render_train,
        "detections.json": detected,
        "compile.json": render_compile,
        "run.json": render_run,
    }
