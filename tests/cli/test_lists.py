"""What the command lists is what the registries hold: help texts, choices, and the endings of exported files."""

from __future__ import annotations

import re
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from sapwood.allocation import ALLOCATORS
from sapwood.cli import budget, common, mask
from sapwood.cli.app import app
from sapwood.config import GradualConfig, SparseConfig, TrainConfig
from sapwood.criteria import CRITERIA
from sapwood.errors import MeasureError
from sapwood.export import EXPORTERS
from sapwood.goals import Deployment
from sapwood.masks import BUDGETS, METHODS, parse_pattern
from sapwood.masks.case import LAYER_KINDS, Scope
from sapwood.models import LOADERS, load_model
from sapwood.pipeline import inspect_model
from sapwood.pipeline.masking import BY_USES
from sapwood.runtime import RUNTIMES
from sapwood.tasks.objective import Labels
from sapwood.training.regularizers import REGULARIZERS
from sapwood.types import RecoverMethod

COMMANDS: Any = typer.main.get_command(app)

AGREEING = [
    ("prune", "criterion", set(CRITERIA)),
    ("inspect", "criterion", set(CRITERIA)),
    ("mask", "criterion", {"magnitude", *(name for name in CRITERIA if CRITERIA[name].scores_weights)}),
    ("prune", "allocator", set(ALLOCATORS)),
    ("prune", "runtime", set(RUNTIMES)),
    ("inspect", "runtime", set(RUNTIMES)),
    ("bench", "runtime", set(RUNTIMES)),
    ("mask", "method", set(METHODS)),
    ("mask", "budget", set(BUDGETS)),
    ("mask", "layers", set(LAYER_KINDS)),
    ("train", "sparse", set(REGULARIZERS)),
    ("export", "file_format", set(EXPORTERS)),
    ("export", "out", {".bin", *(EXPORTERS[name].suffix for name in EXPORTERS if EXPORTERS[name].suffix)}),
]
VERBS_ABOUT_A_MODEL = [
    verb for verb, command in COMMANDS.commands.items() if any(one.name == "model" for one in command.params)
]


def help_of(verb: str, option: str) -> str:
    found: str = next(one.help for one in COMMANDS.commands[verb].params if one.name == option)
    return found


def listed(verb: str, option: str) -> set[str]:
    """The names in backticks of an option's help, those that stand for other options left out."""
    return {name for name in re.findall(r"`([^`]+)`", help_of(verb, option)) if not name.startswith("sapwood ")}


@pytest.mark.parametrize(
    ("verb", "option", "expected"), AGREEING, ids=lambda value: value if type(value) is str else ""
)
def test_a_help_text_lists_what_the_registry_holds(verb: str, option: str, expected: set[str]) -> None:
    assert listed(verb, option) == expected


@pytest.mark.parametrize("verb", ["prune", "inspect", "mask"])
def test_criteria_are_listed_by_whether_they_need_data(verb: str) -> None:
    without, _, with_data = help_of(verb, "criterion").partition("with --data also")
    assert with_data
    assert {name for name in re.findall(r"`(\w+)`", without) if name != "magnitude" and CRITERIA[name].needs} == set()
    assert {name for name in re.findall(r"`(\w+)`", with_data) if not CRITERIA[name].needs} == set()


@pytest.mark.parametrize("verb", VERBS_ABOUT_A_MODEL)
def test_a_model_is_described_by_the_forms_of_the_loaders(verb: str) -> None:
    written = help_of(verb, "model").replace("`", "").rstrip(".").replace("or a directory", "a directory")
    elsewhere = written.startswith("see ") or "see sapwood eval" in written
    assert elsewhere or sorted(written.split(", ")) == sorted(
        ", ".join(LOADERS[kind].form for kind in LOADERS).split(", ")
    )


def test_some_verb_describes_models() -> None:
    assert {"prune", "mask", "eval", "detect", "compact", "inspect"} <= set(VERBS_ABOUT_A_MODEL)


def test_patterns_that_are_examples_are_patterns() -> None:
    names = sorted(listed("mask", "blocks"))
    assert "unstructured" in names
    assert all(parse_pattern(name).sparsity != 0.0 for name in names)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (budget.Recover, typing.get_args(RecoverMethod)),
        (budget.Labels, typing.get_args(Labels)),
        (mask.Scope, typing.get_args(Scope)),
        (common.OnBad, typing.get_args(TrainConfig.model_fields["on_bad"].annotation)),
    ],
)
def test_choices_are_those_of_the_library(choice: Any, expected: tuple[str, ...]) -> None:
    assert {one.value for one in choice} == set(expected)


@pytest.mark.parametrize(
    ("model", "field", "expected"),
    [(SparseConfig, "method", set(REGULARIZERS)), (GradualConfig, "budget", set(BUDGETS) - {BY_USES})],
)
def test_settings_name_what_the_registry_holds(model: Any, field: str, expected: set[str]) -> None:
    """How often weights are used is not looked at while a network is trained."""
    assert set(typing.get_args(model.model_fields[field].annotation)) == expected


def test_runtimes_that_tell_layers_are_asked_for_by_what_they_say() -> None:
    able = [name for name in RUNTIMES if RUNTIMES[name].tells_layers]
    assert "sapwood" in able
    with pytest.raises(
        MeasureError, match=f"^torch-compile cannot tell layers apart; expected one of {', '.join(able)}$"
    ):
        inspect_model(load_model("builtin:digits"), Deployment("torch-compile", 1))


@pytest.mark.parametrize("name", list(EXPORTERS))
def test_a_recipe_ends_files_as_their_format_does(name: str, tmp_path: Path) -> None:
    from sapwood.cli.steps import commands
    from sapwood.recipe import Recipe

    recipe = Recipe.model_validate({"model": "builtin:digits", "steps": [{"export": {"format": name}}]})
    (made,) = commands(recipe, tmp_path, COMMANDS)
    assert made.arguments[made.arguments.index("-o") + 1] == str(
        tmp_path / "01-export" / f"network{EXPORTERS[name].suffix}"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "caffe"}, "step 1 (export): unknown format 'caffe'; expected one of darknet, onnx, openvino, "),
        ({"format": 3}, "step 1 (export): unknown format 3; expected one of darknet, onnx, openvino, python, "),
        ({}, "step 1 (export): no format; expected one of darknet, onnx, openvino, "),
    ],
)
def test_a_recipe_with_no_such_format_stops_before_any_step(
    options: dict[str, Any], message: str, tmp_path: Path, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"model": "builtin:digits", "steps": [{"export": options}]}))
    assert run("run", path, "-o", tmp_path / "out") == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("budget", [*CRITERIA, *ALLOCATORS]),
        ("masking", [*METHODS, *BUDGETS]),
        ("runtimes", [*RUNTIMES, *EXPORTERS]),
        ("training", list(REGULARIZERS)),
    ],
)
def test_the_page_about_a_registry_names_every_entry(page: str, names: list[str]) -> None:
    text = (Path(__file__).parents[2] / "docs" / f"{page}.md").read_text()
    assert [name for name in names if not re.search(rf"`(--[a-z]+ )?{re.escape(name)}`", text)] == []
