"""A factory comes from whoever starts a command, never from the files that it reads."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from sapwood.cli.app import app
from sapwood.models import factory_loader

Run = Callable[..., int]
Capture = pytest.CaptureFixture[str]

OPTION = ("--model-factory", "ownnet:factory")


@pytest.fixture(autouse=True)
def another_process(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Forgets what was typed so far, as a new process would."""

    def forget() -> None:
        monkeypatch.setattr(factory_loader, "_typed", set())
        monkeypatch.delitem(sys.modules, "ownnet", raising=False)

    forget()
    return forget


@pytest.fixture
def small(run: Run, own_model: Path, another_process: Callable[[], None], capsys: Capture) -> Path:
    """What another process pruned and saved."""
    assert run("prune", "ownnet:factory", "--sparsity", "0.5", "-o", own_model / "small") == 0
    assert run("inspect", own_model / "small") == 0  # typed in this process
    another_process()
    capsys.readouterr()
    return own_model / "small"


def test_every_verb_that_takes_a_model_takes_its_factory() -> None:
    commands: dict[str, Any] = typer.main.get_group(app).commands  # type: ignore[attr-defined]
    taking = {name for name, verb in commands.items() if {"model", "models"} & {one.name for one in verb.params}}
    with_option = {name for name, verb in commands.items() if any("--model-factory" in one.opts for one in verb.params)}
    assert taking | {"run"} == with_option  # a recipe names models, too
    assert {"prune", "bench", "train", "eval"} <= taking


@pytest.mark.parametrize(
    "command",
    [
        ("inspect", "small"),
        ("eval", "small", "--data", "shades"),
        ("mask", "small", "--method", "l1_unstructured", "--sparsity", "0.5", "--layers", "conv", "-o", "masked"),
        ("compact", "small", "-o", "compact"),
        ("prune", "small", "--sparsity", "0.5", "-o", "smaller"),
        ("bench", "small", "--rounds", "1"),
        ("export", "small", "--format", "torch-export", "-o", "small.pt2"),
    ],
    ids=lambda command: command[0],
)
def test_a_saved_model_of_a_factory_needs_it_again(
    command: tuple[str, ...], run: Run, small: Path, capsys: Capture
) -> None:
    assert run(*command) == 2
    assert "expected the factory from you: --model-factory ownnet:factory" in capsys.readouterr().err
    assert "ownnet" not in sys.modules
    assert run(*command, *OPTION) == 0
    capsys.readouterr()
    if (small.parent / command[-1] / "plan.json").exists():
        source = json.loads((small.parent / command[-1] / "plan.json").read_text())["source"]
        assert source["spec"] == "ownnet:factory"


def test_a_file_is_run_only_if_it_is_named_on_the_command_line(run: Run, small: Path, capsys: Capture) -> None:
    plan = small / "plan.json"
    plan.write_text(plan.read_text().replace('"ownnet:factory"', '"ownnet.py:factory"'))
    assert run("inspect", small) == 2
    assert "expected the factory from you: --model-factory ownnet.py:factory" in capsys.readouterr().err
    assert run("inspect", small, "--model-factory", small.parent / "ownnet.py:factory") == 0
    assert run("inspect", small.parent / "ownnet.py:factory") == 0


def test_a_factory_that_nothing_needs_is_refused(run: Run, small: Path, capsys: Capture) -> None:
    assert run("inspect", "builtin:digits", *OPTION) == 2
    assert "builtin:digits needs no factory; expected a saved directory" in capsys.readouterr().err
    assert run("bench", "builtin:digits", *OPTION) == 2
    assert "--model-factory ownnet:factory: no model needs it" in capsys.readouterr().err
    assert run("inspect", small, "--model-factory", "small") == 2
    assert "'small' names no factory; expected package.module:factory" in capsys.readouterr().err
    assert run("inspect", small, "--model-factory", "ownnet:bare") == 2
    assert "does not fit what ownnet:factory builds" in capsys.readouterr().err


def test_the_factory_of_one_of_several_models(run: Run, small: Path, capsys: Capture) -> None:
    assert run("bench", "builtin:digits", small, "--rounds", "1", "--json", *OPTION) == 0
    assert [row["model"] for row in json.loads(capsys.readouterr().out)["rows"]] == ["builtin:digits", str(small)]


def write_recipe(path: Path, **content: Any) -> Path:
    path.write_text(yaml.safe_dump({"data": "shades", **content}, sort_keys=False))
    return path


def test_a_recipe_names_the_factory_of_what_its_steps_write(
    run: Run, own_model: Path, another_process: Callable[[], None], capsys: Capture
) -> None:
    steps: list[dict[str, Any]] = [{"prune": {"sparsity": 0.5}}, {"eval": {}}]
    recipe = write_recipe(own_model / "recipe.yaml", model="ownnet:factory", steps=steps)
    assert run("run", recipe, "-o", "out") == 2
    assert (
        f"{recipe}: names code to run; expected it from you as well: sapwood run ... --model-factory ownnet:factory"
    ) in capsys.readouterr().err
    assert "ownnet" not in sys.modules
    assert not (own_model / "out").exists()
    assert run("run", recipe, "-o", "out", *OPTION) == 0
    another_process()
    write_recipe(recipe, model="ownnet:factory", steps=[*steps, {"name": "again", "prune": {"sparsity": 0.25}}])
    assert run("run", recipe, "-o", "out", *OPTION) == 0
    assert capsys.readouterr().out.count("done before") == 2
    another_process()
    assert run("inspect", "out/03-again") == 2


@pytest.mark.parametrize("in_step", [False, True])
def test_a_recipe_that_starts_from_a_saved_model(
    in_step: bool, run: Run, small: Path, another_process: Callable[[], None], capsys: Capture
) -> None:
    steps: list[dict[str, Any]] = [{"prune": {"sparsity": 0.5}}, {"eval": {}}]
    recipe = small.parent / "recipe.yaml"
    write_recipe(recipe, model="small", steps=steps)
    assert run("run", recipe, "-o", "out", *OPTION) == 2
    assert "step 1 (prune): " in (err := capsys.readouterr().err)
    assert "--model-factory ownnet:factory" in err
    if in_step:
        steps[0]["prune"]["model_factory"] = "ownnet:factory"
        write_recipe(recipe, model="small", steps=steps)
    else:
        write_recipe(recipe, model="small", model_factory="ownnet:factory", steps=steps)
    another_process()
    assert run("run", recipe, "-o", "out", *OPTION) == 0
    another_process()
    assert run("run", recipe, "-o", "out", *OPTION) == 0


def test_a_teacher_has_a_factory_of_its_own(run: Run, small: Path, capsys: Capture) -> None:
    command = ("train", "builtin:digits", "--data", "digits", "--teacher", small, "--epochs", "1", "-o", "run")
    assert run(*command) == 2
    assert "--model-factory ownnet:factory" in capsys.readouterr().err
    assert run(*command, "--teacher-factory", "ownnet:factory") == 2
    assert "names no factory" not in (err := capsys.readouterr().err)
    assert "cannot be built" not in err
