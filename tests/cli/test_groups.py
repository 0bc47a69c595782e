"""Options in groups, and what the command's files may not do."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer

from sapwood.cli.app import app
from sapwood.cli.groups import as_options, grouped

CLI = Path(__file__).resolve().parents[2] / "src" / "sapwood" / "cli"
FILES = sorted(CLI.glob("*.py"))
MOST_PARAMETERS = 17  # `prune` before groups: 31


class Shade(str, Enum):
    """A choice."""

    light = "light"
    dark = "dark"


@dataclass(frozen=True)
class Paint:
    """A group."""

    shade: Annotated[Shade, typer.Option("--shade", help="How dark.")] = Shade.light
    coats: Annotated[int, typer.Option("--coats", min=1)] = 2
    lid: Annotated[Path | None, typer.Option("--lid")] = None


@dataclass(frozen=True)
class DarkPaint(Paint):
    """A group with another default."""

    shade: Annotated[Shade, typer.Option("--shade", help="How dark.")] = Shade.dark


def called(*arguments: str) -> dict[str, Any]:
    """What a verb with a group gets from a command line."""
    got: dict[str, Any] = {}
    command = typer.Typer()

    @command.command()
    @grouped
    def paint(
        *,
        wall: Annotated[str, typer.Argument()],
        how: Paint,
        twice: Annotated[bool, typer.Option("--twice")] = False,
    ) -> None:
        """Paints a wall."""
        got.update(wall=wall, how=how, twice=twice)

    command(list(arguments), standalone_mode=False)
    return got


def test_a_group_is_options_on_the_command_line() -> None:
    assert called("north") == {"wall": "north", "how": Paint(), "twice": False}
    given = called("north", "--shade", "dark", "--lid", "a/b", "--twice")
    assert given == {"wall": "north", "how": Paint(Shade.dark, 2, Path("a/b")), "twice": True}


def test_options_of_a_group_are_checked_as_others_are() -> None:
    with pytest.raises(Exception, match=r"greater than or equal to 1|0 is not in the range"):
        called("north", "--coats", "0")


def test_a_group_may_change_a_default_of_another() -> None:
    got = []

    @grouped
    def paint(*, how: DarkPaint) -> None:
        got.append(how.shade)

    paint()
    assert got == [Shade.dark]


def test_two_groups_with_one_option_are_a_mistake_in_the_program() -> None:
    def paint(*, first: Paint, second: DarkPaint) -> None:
        """Two colours."""

    with pytest.raises(ValueError, match="duplicate parameter name: 'shade'"):
        grouped(paint)


def test_a_record_has_options_as_plain_values_in_order() -> None:
    asked = as_options({"wall": "north"}, Paint(Shade.dark, lid=Path("x")), {"twice": None}, seed=0)
    assert list(asked.items()) == [("wall", "north"), ("shade", "dark"), ("coats", 2), ("lid", "x"), ("seed", 0)]


def imports(path: Path) -> set[str]:
    """The files of the command that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("sapwood.cli."):
            found.add(node.module.removeprefix("sapwood.cli."))
        elif isinstance(node, ast.ImportFrom) and node.module == "sapwood.cli":
            found |= {alias.name for alias in node.names}
    return found


def test_no_two_files_of_the_command_import_each_other() -> None:
    graph = {path.stem: imports(path) for path in FILES if path.stem != "__init__"}
    assert "run" in graph["app"]
    TopologicalSorter(graph).prepare()


def test_the_check_sees_a_circle() -> None:
    with pytest.raises(CycleError):
        TopologicalSorter({"app": {"run"}, "run": {"app"}}).prepare()


def verbs() -> Iterator[tuple[str, ast.FunctionDef]]:
    """The functions that the command calls, by file."""
    names = {command.callback.__name__ for command in app.registered_commands if command.callback is not None}
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name in names and node.name == path.stem:
                yield path.stem, node


@pytest.mark.parametrize(("name", "verb"), [one for one in verbs() if one[0] != "train"])
def test_a_verb_takes_its_options_in_groups(name: str, verb: ast.FunctionDef) -> None:
    parameters = len(verb.args.args) + len(verb.args.kwonlyargs)
    assert 0 < parameters <= MOST_PARAMETERS, name
