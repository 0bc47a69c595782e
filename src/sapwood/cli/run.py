"""``sapwood run``: everything that a recipe says, step by step; what is done already is not done again."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from sapwood.cli.common import JsonOption, make_console, print_json
from sapwood.cli.next_steps import browse, next_step
from sapwood.cli.record_files import check_run
from sapwood.cli.runner import MISSED, RECORD, Runner, allow_factories
from sapwood.cli.steps import commands
from sapwood.cli.stopping import same_command, saying
from sapwood.errors import CheckFailedError

if TYPE_CHECKING:
    from typer.core import TyperGroup


def run(
    context: typer.Context,
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE", help="A YAML file (docs/recipes.md).", show_default=False)
    ],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Where everything goes; runs/NAME of the recipe if not given.")
    ] = None,
    model_factory: Annotated[
        list[str] | None,
        typer.Option(
            help="A function of yours that the recipe names, package.module:factory; it is called only if you name it "
            "here, too. Can be given several times."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Does what a recipe says: train, prune, recover, measure, export; one step after the other.

    Every step is a command of its own; its options are those of the command line. What a step made goes to a numbered
    directory, with the command that made it in run.json. A run that was stopped goes on where it was when started
    again; steps that changed, and all that depend on them, are done anew, and what they had made is kept beside.

    Example: `sapwood run recipes/yolov4-tiny-bccd.yaml`
    """
    from sapwood.files import alone_in, write_text
    from sapwood.reading import naming
    from sapwood.recipe import read_recipe
    from sapwood.report import render_run, run_tables
    from sapwood.training import find_processes

    asked = read_recipe(recipe)
    place = out or Path("runs") / recipe.stem
    check_run(place, RECORD)
    group = cast("TyperGroup", context.find_root().command)
    processes = find_processes()
    with naming(recipe):
        steps = commands(asked, place, group)
        allow_factories(asked, steps, model_factory or ())
    runner = Runner(asked, place, steps, group, processes, quiet=as_json or processes.index > 0)
    with alone_in(place) if processes.index == 0 else nullcontext():
        try:
            with saying(lambda: f"{runner.where()}; the same command goes on there: {same_command()}"):
                runner.run_all()
        finally:
            if processes.index == 0 and runner.entries:
                write_text(place / "report.html", render_run(runner.record()))
    if processes.index == 0:
        if as_json:
            print_json(runner.record().plain())
        else:
            make_console().print(*run_tables(runner.record()))
            make_console().print(f"report: {place / 'report.html'}   record: {place / RECORD}", highlight=False)
            next_step(browse(place / "report.html"))
    if any(entry.state == MISSED for entry in runner.entries):
        raise CheckFailedError("a step missed its target; see above")
