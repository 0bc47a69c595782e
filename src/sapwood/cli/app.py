"""Puts the verbs together."""

from __future__ import annotations

from typing import Annotated

import typer

import sapwood
from sapwood.cli import (
    bench,
    compact,
    compare,
    compile,
    demo,
    detect,
    evaluate,
    export,
    inspect,
    mask,
    prune,
    report,
    run,
    train,
)

app = typer.Typer(
    name="sapwood",
    help="Prunes trained PyTorch networks so that they really get smaller and faster, and proves it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sapwood {sapwood.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command("demo")(demo.demo)
app.command("inspect")(inspect.inspect)
app.command("mask")(mask.mask)
app.command("compact")(compact.compact)
app.command("prune")(prune.prune)
app.command("train")(train.train)
app.command("eval")(evaluate.evaluate)
app.command("detect")(detect.detect)
app.command("compare")(compare.compare)
app.command("compile")(compile.compile)
app.command("export")(export.export)
app.command("bench")(bench.bench)
app.command("run")(run.run)
app.command("report")(report.report)
