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
from sapwood.cli.flags import Verb, Verbs
from sapwood.cli.starting import begun
from sapwood.cli.volume import with_volume

app = typer.Typer(
    name="sapwood",
    cls=Verbs,
    help="Prunes trained PyTorch networks so that they really get smaller and faster, and proves it.\n\n"
    "Begin with `sapwood demo`, or with your own network: `sapwood inspect net.cfg`, "
    "`sapwood prune net.cfg --macs 0.5 -o small`, `sapwood eval small --data DIR`.",
    epilog="Exit codes: 0 done, 1 a target or a check was not met, 2 bad input, 130 interrupted. "
    "Documentation: the folder docs of the sources.",
    no_args_is_help=True,
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


app.command("demo", cls=Verb)(with_volume(begun(demo.demo)))
app.command("inspect", cls=Verb)(with_volume(begun(inspect.inspect)))
app.command("mask", cls=Verb)(with_volume(begun(mask.mask)))
app.command("compact", cls=Verb)(with_volume(begun(compact.compact)))
app.command("prune", cls=Verb)(with_volume(begun(prune.prune)))
app.command("train", cls=Verb)(with_volume(begun(train.train)))
app.command("eval", cls=Verb)(with_volume(begun(evaluate.evaluate)))
app.command("detect", cls=Verb)(with_volume(begun(detect.detect)))
app.command("compare", cls=Verb)(with_volume(begun(compare.compare)))
app.command("compile", cls=Verb)(with_volume(begun(compile.compile)))
app.command("export", cls=Verb)(with_volume(begun(export.export)))
app.command("bench", cls=Verb)(with_volume(begun(bench.bench)))
app.command("run", cls=Verb)(with_volume(begun(run.run)))
app.command("report", cls=Verb)(with_volume(begun(report.report)))
