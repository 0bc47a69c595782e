"""The reference is complete: verbs with their options, fields, entries of registries, public names."""

from __future__ import annotations

import doctest
import inspect
import re
import typing
from pathlib import Path
from typing import Any

import pytest
import reference_pages
import typer
from reference_pages import api, configuration, markdown, records, registries

import sapwood
from sapwood.cli.app import app
from sapwood.limits import LIMITS, variable
from sapwood.models.darknet.build import BUILDERS
from sapwood.ops import RULES
from sapwood.registry import Registry
from sapwood.types import RecoverMethod

PAGES = reference_pages.pages()
VERBS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
INSIDE = {
    "built-in data set",
    "objective",
    "lowering",
    "lowering of what was not computed yet",
    "kind of row",
    "framework",
}
"""Registries with tables elsewhere (rows are pydantic models), or that no user names anything of."""


def first_cells(text: str) -> list[str]:
    """The first cell of every row of every table."""
    return [line.split(" | ")[0].removeprefix("| ").strip() for line in text.splitlines() if line.startswith("| ")]


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_of_a_verb_is_on_its_page_with_what_the_help_says(verb: str) -> None:
    text = PAGES[f"commands/{verb}.md"]
    cells = first_cells(text)
    shown = [one for one in VERBS[verb].params if one.param_type_name == "option" and not one.hidden]
    names = {", ".join(f"`{name}`" for name in (*one.opts, *one.secondary_opts)) for one in shown}
    assert names <= set(cells)
    helps = [" ".join((one.help or "").split()).replace("|", "\\|") for one in shown]
    assert [one for one in helps if not one or one not in text] == []
    assert f"commands/{verb}\n" in PAGES["commands.md"]


def test_every_verb_has_a_page_and_no_page_is_left_over() -> None:
    assert {f"commands/{verb}.md" for verb in VERBS} == {name for name in PAGES if name.startswith("commands/")}


def test_an_option_with_choices_lists_them_and_a_default_is_shown() -> None:
    text = PAGES["commands/prune.md"]
    assert "| `--recover` | `none\\|batchnorm\\|reconstruct\\|distill` | `none` |" in text
    assert "| `--criterion-pictures` | `NUMBER` | `128` |" in text
    assert "| `--tolerance` | `FRACTION` | `0.05` |" in text
    assert "| `--at-most` |  |  |" in text


@pytest.mark.parametrize(
    "model", [model for listed in configuration.models().values() for model in listed], ids=lambda model: model.__name__
)
def test_every_field_of_a_file_stands_there_with_its_meaning(model: Any) -> None:
    section = PAGES["configuration.md"].split(f"### `{model.__name__}`\n")[1].split("\n#")[0]
    shown = {name for name, field in model.model_fields.items() if not field.exclude}
    assert {f"`{name}`" for name in shown} == set(first_cells(section)) - {"field"}
    meanings = markdown.documented_fields(model)
    assert {name for name in shown if not meanings.get(name)} == set()


RECORDS = {**{kind.__name__: kind for kind in records.verb_records().values()}, **records.all_parts()}


@pytest.mark.parametrize("name", RECORDS)
def test_every_field_of_the_json_stands_there_with_its_meaning(name: str) -> None:
    found = records.rows(RECORDS[name])
    assert [one.name for one in found if not one.meaning] == []
    text = PAGES["records.md"]
    assert [one.name for one in found if f"| `{one.name}` | " not in text] == []
    assert "ForwardRef" not in text


def test_every_verb_with_json_has_its_record_there() -> None:
    told = {verb for verb, command in VERBS.items() if any(one.name == "as_json" for one in command.params)}
    titles = re.findall(r"^## `([^`]+)`: ", PAGES["records.md"], re.MULTILINE)
    named = {verb.split(" ")[0] for title in titles for verb in title.split(", ")}
    assert told - {"demo"} == named  # the demo is a comparison


def test_every_record_of_a_verb_says_how_it_was_made() -> None:
    names = {schema: {row.name for row in records.rows(kind)} for schema, kind in records.verb_records().items()}
    silent = {schema for schema, found in names.items() if not found & {"made", "command"}}
    assert silent == {"sapwood.report/1"}  # a page that was built again is of a record that says so


def test_a_name_means_one_thing_in_all_records_but_those_that_the_page_names() -> None:
    """Rows of one list may be of several kinds, and so may parts: a layer's time is no layer's width."""
    part = re.compile(r"list of .*|\[.*")
    found: dict[str, set[str]] = {}
    for record in RECORDS.values():
        for row in records.rows(record):
            kind = configuration.kinds(row.annotation)
            kind = "text" if kind.startswith("`") and "true" not in kind else kind
            listed = "list" if kind.startswith("list") else "part"
            found.setdefault(row.name, set()).add(listed if part.fullmatch(kind) else kind)
    assert {name for name, kinds in found.items() if len(kinds) > 1} == set(records.EXCEPTIONS)


def test_every_limit_stands_there() -> None:
    rows = [f"| `{variable(name)}` | {one.default:,} | {one.meaning} |" for name, one in LIMITS.items()]
    assert [row for row in rows if row not in PAGES["configuration.md"]] == []


def test_every_variable_that_the_sources_read_stands_there() -> None:
    package = Path(sapwood.__file__).parent
    read = {
        name
        for path in (*package.rglob("*.py"), package.parents[1] / "setup.py")
        for name in re.findall(r"environ(?:\.get\(|\[)\"(SAPWOOD_[A-Z]+)\"", path.read_text(encoding="utf-8"))
    }
    assert read <= set(configuration.VARIABLES)


@pytest.mark.parametrize("listing", registries.LISTINGS, ids=lambda one: one.title)
def test_every_entry_of_a_registry_stands_there(listing: registries.Listing) -> None:
    section = PAGES["registries.md"].split(f"## {listing.title}\n")[1].split("\n## ")[0]
    cells = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    assert [row[0].removeprefix("| ") for row in cells] == [f"`{name}`" for name in listing.registry]
    assert all(len(cell.strip(" |")) > 1 for row in cells for cell in row)


def test_every_registry_of_the_program_has_a_table() -> None:
    there = {id(one.registry) for one in registries.LISTINGS} | {id(RULES), id(BUILDERS)}
    missing = {
        value.kind
        for part in (*sapwood.PARTS, "ops")
        for value in vars(__import__(f"sapwood.{part}", fromlist=["_"])).values()
        if isinstance(value, Registry) and id(value) not in there
    }
    assert missing <= INSIDE


def test_operators_sections_and_recoveries_stand_there() -> None:
    text = PAGES["registries.md"]
    assert [name for name in RULES if f"`{name}`" not in text] == []
    assert [name for name in BUILDERS if f"`[{name}]`" not in text] == []
    assert set(registries.RECOVERIES) == set(typing.get_args(RecoverMethod))


def test_every_name_at_the_top_is_described() -> None:
    described = set(re.findall(r"auto\w+:: sapwood\.(\w+)$", PAGES["api.md"], re.MULTILINE))
    assert described == set(sapwood.__all__)


@pytest.mark.parametrize("part", sapwood.PARTS)
def test_every_name_of_a_part_is_described_once(part: str) -> None:
    module = getattr(sapwood, part)
    text = PAGES[f"api/{part}.md"]
    described = re.findall(rf"auto\w+:: sapwood\.{part}\.(\w+)$", text, re.MULTILINE)
    assert len(described) == len(set(described))
    named = {name for name in getattr(module, "__all__", described) if is_described(getattr(module, name))}
    linked = {name for name in named if f"[`{name}`](" in text}
    assert set(described) | linked == named
    assert set(described) & linked == set()


def is_described(value: Any) -> bool:
    return bool(inspect.isclass(value) or inspect.isroutine(value)) and bool(inspect.getdoc(value))


def test_a_name_is_described_where_it_is_from() -> None:
    assert api.page_of("prune", sapwood.prune) == ""
    assert api.page_of("Candidate", sapwood.comparing.Candidate) == "cases"
    assert "../api/cases.md" in PAGES["api/comparing.md"]


def test_pages_that_did_not_change_keep_their_date_and_old_ones_go(tmp_path: Path) -> None:
    reference_pages.write(tmp_path)
    first = tmp_path / "reference" / "commands.md"
    old = tmp_path / "reference" / "commands" / "gone.md"
    old.write_text("of before")
    before = first.stat().st_mtime_ns
    reference_pages.write(tmp_path)
    assert first.stat().st_mtime_ns == before
    assert not old.exists()
    assert {str(path.relative_to(tmp_path / "reference")) for path in tmp_path.rglob("*.md")} == set(PAGES)


def test_the_examples_of_what_makes_the_pages_run() -> None:
    found = doctest.testmod(markdown)
    assert (found.failed, found.attempted) == (0, 2)


def test_a_row_of_a_table_keeps_its_bars_and_its_lines() -> None:
    assert markdown.table(["a"], [["x|y\nz"], ["p\\|q"]]) == "| a |\n|---|\n| x\\|y z |\n| p\\|q |\n"
