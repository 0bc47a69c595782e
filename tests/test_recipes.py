"""The recipes of the project are recipes: every step is a command that the command line takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from sapwood.cli.app import app
from sapwood.cli.steps import commands
from sapwood.config import TrainConfig, read_config
from sapwood.recipe import Recipe, read_recipe

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_recipe(path: Path, tmp_path: Path) -> None:
    if path.name.endswith(".train.yaml"):
        assert read_config(TrainConfig, path).epochs > 0
        return
    recipe = read_recipe(path)
    made = commands(recipe, tmp_path / "out", typer.main.get_group(app))
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
