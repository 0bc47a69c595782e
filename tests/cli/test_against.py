"""``sapwood eval --against``: agreement with a dense network, from pictures that nobody labelled."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., int]


@pytest.fixture
def pruned(own_model: Path, run: Run) -> Path:
    assert run("prune", "ownnet:factory", "--sparsity", "0.5", "-o", "small", "--json") == 0
    return own_model / "small"


def test_a_figure_with_its_interval_and_the_difference(
    pruned: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree("shades/val", "pictures")
    del pruned
    capsys.readouterr()
    factory = ("--model-factory", "ownnet:factory")
    arguments = ("eval", "small", *factory, "--against", "ownnet:factory", "--data", "pictures")
    assert run(*arguments, "--beside", "ownnet:factory", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["against"], told["figure"], told["num_images"], told["num_found"]) == ("ownnet:factory", "top-1", 8, 8)
    assert told["networks"]["ownnet:factory"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    (difference,) = told["differences"]
    assert (difference["network"], difference["other"]) == ("ownnet:factory", "small")
    assert difference["estimate"]["value"] == 1.0 - told["networks"]["small"]["value"]
    assert run(*arguments) == 0
    printed = capsys.readouterr().out
    assert "agreement with ownnet:factory" in printed
    assert "labels are 8 findings of ownnet:factory" in " ".join(printed.split())
    beside = "sapwood bench ownnet:factory small --model-factory ownnet:factory --runtime torch,onnxruntime"
    assert f"next: {beside}\n" in printed


def test_a_detector_needs_no_labels(cfg: Path, data: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(data / "labels")
    saved = cfg.parent / "saved"
    assert run("mask", cfg, "--sparsity", "0.0", "-o", saved) == 0
    capsys.readouterr()
    assert run("eval", saved, "--against", saved, "--data", data / "images" / "val", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["figure"], told["num_images"], told["networks"][str(saved)]["value"]) == ("mAP@0.5", 4, 1.0)
    assert told["num_found"] > 0


WRONG = [
    (("--beside", "CFG"), "--beside is of --against; expected --against DENSE"),
    (("--against-weights", "w.weights"), "--against-weights is of --against; expected --against DENSE"),
    (("--against", "CFG", "--beside", "CFG"), "is there twice; expected networks that differ"),
    (("--against", "nowhere.cfg"), "nowhere.cfg"),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_what_does_not_go_together_is_said(
    number: int, cfg: Path, data: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, message = WRONG[number]
    assert run("eval", cfg, "--data", data, *(cfg if one == "CFG" else one for one in arguments)) == 2
    assert message in " ".join(capsys.readouterr().err.split())
