"""The recipes of the project are recipes: every step is a command that the command line takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from sapwood.cli.app import app
from sapwood.cli.steps import commands
from sapwood.config import TrainConfig, read_config
from sapwood.errors import ConfigError
from sapwood.recipe import Recipe, read_recipe

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))
GROUP: Any = typer.main.get_group(app)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_recipe(path: Path, tmp_path: Path) -> None:
    if path.name.endswith(".train.yaml"):
        assert read_config(TrainConfig, path).epochs > 0
        return
    recipe = read_recipe(path)
    made = commands(recipe, tmp_path / "out", GROUP)
    assert len(made) == len(recipe.steps)
    for command in made:
        if command.step.verb == "train":
            for file, text in command.files.items():
                file.parent.mkdir(exist_ok=True)
                file.write_text(text)
                assert read_config(TrainConfig, file).epochs > 0


def test_there_are_some() -> None:
    assert RECIPES
    assert any(isinstance(read_recipe(path), Recipe) for path in RECIPES if not path.name.endswith(".train.yaml"))


def made_of(tmp_path: Path, text: str) -> list[Any]:
    (tmp_path / "recipe.yaml").write_text(text)
    return commands(read_recipe(tmp_path / "recipe.yaml"), tmp_path / "out", GROUP)


def seen(command: Any) -> dict[str, Any]:
    """What the command line makes of a step's arguments."""
    verb = GROUP.commands[command.step.verb]
    return dict(verb.make_context(command.step.verb, list(command.arguments[1:])).params)


@pytest.mark.parametrize("value", ["-o", "--json", "--data=elsewhere", "--", "-", "--on-bad", "-h"])
def test_a_value_never_becomes_another_option(tmp_path: Path, value: str) -> None:
    recipe = f"model: net.cfg\ndata: '{value}'\nsteps: [eval: {{split: '{value}', weights: ['{value}']}}]\n"
    (command,) = made_of(tmp_path, recipe)
    params = seen(command)
    assert (params["data"], params["split"], str(params["weights"])) == (value, value, value)
    assert params["on_bad"].value == "error"
    assert params["model"] == "net.cfg"


def test_numbers_below_zero_and_plain_values(tmp_path: Path) -> None:
    (command,) = made_of(tmp_path, "model: net.cfg\nsteps: [prune: {seed: -1, latency: 0.5}]\n")
    assert "--seed=-1" in command.arguments
    assert command.arguments[2:6] == ("--seed=-1", "--latency", "0.5", "-o")
    assert seen(command)["latency"] == "0.5"


def test_rows_of_cases_may_stand_in_the_recipe(tmp_path: Path) -> None:
    text = (
        "model: net.cfg\nsteps: [compare: {data: d, cases: [{kind: mask, sparsity: 0.5}, {kind: prune, macs: 0.5}]}]\n"
    )
    (command,) = made_of(tmp_path, text)
    ((path, written),) = command.files.items()
    assert str(path) in command.arguments
    assert yaml.safe_load(written) == [{"kind": "mask", "sparsity": 0.5}, {"kind": "prune", "macs": 0.5}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: -o\nsteps: [inspect: {}]", r"step 1 \(inspect\): the network '-o'; expected a name that does not"),
        ("model: --weights=x\nsteps: [inspect: {}]", r"the network '--weights=x'; expected a name"),
        ("model: net.cfg\nsteps: [{inspect: {}, model: -h}]", r"the network '-h'; expected a name"),
        ("model: net.cfg\nsteps: [{bench: {}, model: [net.cfg, '--json']}]", r"the network '--json'; expected a name"),
        ("model: ''\nsteps: [inspect: {}]", r"the network ''; expected a name"),
        ("model: net.cfg\nsteps: [eval: {data: null}]", r"data: None; expected text or a number"),
        ("model: net.cfg\nsteps: [eval: {data: yes}]", r"data: True; expected text or a number; what YAML reads as"),
        ("model: net.cfg\nsteps: [eval: {data: 2024-01-01}]", r"data: datetime.date.*; expected text or a number"),
        ("model: net.cfg\nsteps: [eval: {data: [a, b]}]", r"eval\): data takes one value; got 2: \['a', 'b'\]"),
        ("model: net.cfg\nsteps: [eval: {data: [[a]]}]", r"data: \['a'\]; expected text or a number"),
        ('model: net.cfg\nsteps: [eval: {data: "a\\0b"}]', r"data: 'a\\x00b'; expected text without NUL"),
        ("model: net.cfg\nsteps: [eval: {'data=x --on-bad': skip}]", r"eval has no option 'data=x --on-bad'"),
        ("model: net.cfg\nsteps: [train: {'/ config': {lr: 1}}]", r"train has no option '/ config' in a recipe"),
        ("model: net.cfg\nsteps: [train: {'../x': {lr: 1}}]", r"train has no option '\.\./x' in a recipe"),
        ("model: net.cfg\nsteps: [{eval: {}, name: ../out}]", r"name: String should match pattern"),
        ("model: net.cfg\nsteps: &a [*a]", r"recipe\.yaml:2: holds itself through an alias; expected a recipe in YAML"),
        (f"model: net.cfg\nsteps: [{{? 0x{'f' * 9000} : 1, b: 2}}]", r"recipe\.yaml: "),
    ],
)
def test_recipes_that_ask_for_something_else(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        made_of(tmp_path, text)
    assert len(str(caught.value)) < 1000


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    for name in ("none.yaml", "n" * 300, "a\0"):
        with pytest.raises(ConfigError, match="expected a recipe in YAML"):
            read_recipe(tmp_path / name)
