"""A folder of pictures that nobody labelled, for a classifier: what goes on with it, and what says that it cannot."""

from __future__ import annotations

import html
import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sapwood.models import load_model
from sapwood.tasks import can_measure

Run = Callable[..., int]

MODEL = "torchvision:shufflenet_v2_x0_5"


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    generator = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for number in range(4):
        picture = generator.integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / "pictures" / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    return "pictures"


def test_recovery_takes_it_as_it_is(run: Run, pictures: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("prune", MODEL, "--macs", "0.7", "--data", pictures, "--recover", "batchnorm", "-o", "small") == 0
    assert "--labels" not in capsys.readouterr().err
    assert run("eval", "small", "--data", pictures, "--against", MODEL) == 0


def test_a_criterion_that_needs_labels_says_what_to_do(
    run: Run, pictures: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("prune", MODEL, "--macs", "0.7", "--data", pictures, "--criterion", "taylor", "-o", "small") == 2
    assert "Its pictures are enough where labels are the model's own: --labels own" in capsys.readouterr().err
    assert not Path("small").exists()


def test_accuracy_cannot_be_measured(run: Run, pictures: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("eval", MODEL, "--data", pictures) == 2
    assert "; without labels --against DENSE measures how far networks agree" in capsys.readouterr().err


@pytest.mark.parametrize(
    "verb",
    [
        ("prune", "--macs", "0.7", "--recover", "batchnorm", "-o", "my small"),
        ("prune", "--macs", "0.7", "--criterion", "taylor", "--labels", "own", "-o", "my small"),
        (
            "mask",
            "--method",
            "scored",
            "--sparsity",
            "0.5",
            "--criterion",
            "wanda",
            "--labels",
            "own",
            "-o",
            "my small",
        ),
    ],
)
def test_what_is_proposed_needs_no_labels(
    verb: tuple[str, ...], run: Run, pictures: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A classifier with random weights: they are the same in the next command."""
    name, *options = verb
    assert run(name, MODEL, "--data", pictures, *options) == 0
    told = capsys.readouterr().out
    (command,) = re.findall(r"^next: sapwood (eval .*)$", told, re.MULTILINE)
    assert shlex.split(command)[-2:] == ["--against", MODEL]
    page = html.unescape((Path("my small") / "report.html").read_text())
    assert re.sub(r"<[^>]+>", "", page).count(f"sapwood {command}") == 1
    assert run(*shlex.split(command)) == 0


@pytest.mark.parametrize("parts", [("train", "val"), ("",)])
def test_labels_of_other_classes_are_not_proposed(
    run: Run, pictures: str, capsys: pytest.CaptureFixture[str], parts: tuple[str, ...]
) -> None:
    """One's own folders, and a network of ImageNet's classes: what is kept of that one can be measured."""
    for part in parts:
        for name in ("screws", "nails"):
            shutil.copytree(pictures, Path("own") / part / name)
    assert run("prune", MODEL, "--macs", "0.7", "--data", "own", "--recover", "batchnorm", "-o", "small") == 0
    (command,) = re.findall(r"^next: sapwood (eval .*)$", capsys.readouterr().out, re.MULTILINE)
    assert command == f"eval small --data own --against {MODEL}"
    assert run(*shlex.split(command)) == 0


def test_random_weights_are_the_same_in_every_command(run: Run, pictures: str) -> None:
    torch.manual_seed(5)
    assert run("prune", MODEL, "--sparsity", "0", "-o", "same") == 0
    torch.manual_seed(6)
    assert run("eval", "same", "--data", pictures, "--against", MODEL, "-o", "found.json") == 0
    (found,) = json.loads(Path("found.json").read_text())["networks"].values()
    assert found["value"] == 1.0


def test_whether_accuracy_can_be_measured(data: Path, tmp_path: Path) -> None:
    bundle = load_model("builtin:digits-half")
    assert can_measure(bundle, "digits")
    assert can_measure(bundle, data), "a data set of as many classes"
    assert not can_measure(bundle, data / "images" / "val")
    (tmp_path / "empty").mkdir()
    assert can_measure(bundle, tmp_path / "empty"), "no pictures: the error of a data set is the one to see"


def test_which_class_is_which_is_told_where_only_an_order_says_so(
    run: Run, own_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = (own_model / "ownnet.py").read_text().replace('("dark", "light")', '("class0", "class1")')
    (own_model / "ownnet.py").write_text(code)
    assert run("eval", "ownnet.py:factory", "--data", "shades") == 0
    told = capsys.readouterr().err
    assert "note: shades val: dark, light are taken for the model's class0, class1, in the order of" in told
    (own_model / "names.txt").write_text("light\ndark\n")
    assert run("eval", "ownnet.py:factory", "--data", "shades", "--names", "names.txt") == 0
    assert "taken for" not in capsys.readouterr().err
