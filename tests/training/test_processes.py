"""Two processes that train one network: the same as one, whatever is shared out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from sapwood.config import TrainConfig
from sapwood.errors import TrainingError
from sapwood.training import train
from sapwood.training.processes import Alone, check_batch, find_processes, share_of
from sapwood.types import ClassificationDataset, ModelBundle

pytest.importorskip("accelerate", reason="accelerate is not installed (the distributed extra)")

HELPER = Path(__file__).with_name("in_two_processes.py")


def launched(*arguments: str, count: int = 2, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a module or file in so many processes on this machine, without a GPU."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}", *arguments]
    own = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=240, env=own, check=False)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, sober_cfg: str) -> dict[str, Any]:
    """What the helper measured in two processes."""
    folder = tmp_path_factory.mktemp("two")
    place, cfg = folder / "found.json", folder / "net.cfg"
    cfg.write_text(sober_cfg)
    done = launched(str(HELPER), str(place), str(cfg))
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(place.read_text())
    return result


def test_batchnorms_see_the_whole_batch(found: dict[str, Any]) -> None:
    norm = found["batchnorm"]
    assert norm["processes"] == 2
    assert norm["outputs"] < 1e-12
    assert norm["gradients"] < 1e-12
    assert norm["running"] < 1e-12


def test_a_detector_ends_where_one_process_ends(found: dict[str, Any]) -> None:
    assert found["detector"]["steps"] == 6
    assert found["detector"]["apart"] < 1e-9
    assert found["detector"]["losses_apart"] < 2e-6
    assert found["detector"]["alone_moved"] > 1e-3
    assert found["detector"]["mAP_apart"] < 1e-9


def test_it_resumes_to_the_same_numbers(found: dict[str, Any]) -> None:
    assert found["resumed"]["apart"] == 0.0


def test_an_error_in_the_first_is_raised_in_all(found: dict[str, Any]) -> None:
    assert found["errors"] == ["TrainingError: the first says no"] * 2


def test_shares_are_the_batch() -> None:
    class Second(Alone):
        count, index = 2, 1  # type: ignore[assignment]

    assert share_of([5, 6, 7, 8], Alone()) == [5, 6, 7, 8]
    assert share_of([5, 6, 7, 8], Second()) == [7, 8]
    check_batch(4, Second())
    with pytest.raises(TrainingError, match=r"5 pictures for 2 processes; expected a multiple"):
        check_batch(5, Second())


def test_one_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    processes = find_processes()
    assert isinstance(processes, Alone)
    assert processes.from_first(lambda: 3) == 3
    assert processes.gathered("a") == ["a"]
    model = nn.Linear(1, 1)
    assert processes.joined(processes.placed(model)) is model


def test_a_precision_that_training_has_not_is_refused(
    monkeypatch: pytest.MonkeyPatch, classifier: ModelBundle, shades: ClassificationDataset, tmp_path: Path
) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    with pytest.raises(TrainingError, match="--mixed_precision fp16: expected no or bf16"):
        train(classifier, shades, config=TrainConfig(epochs=1), run_dir=tmp_path)
    assert torch.is_grad_enabled()


@pytest.mark.slow
def test_the_command_in_two_processes(sober_cfg: str, tmp_path: Path) -> None:
    """A recipe and a training, as a user types them: both train, the first does the rest."""
    (tmp_path / "net.cfg").write_text(sober_cfg)
    recipe = {
        "model": str(tmp_path / "net.cfg"),
        "data": "digits",
        "steps": [
            {"name": "dense", "train": {"epochs": 1, "batch_size": 50, "val_split": "none"}},
            {"prune": {"sparsity": 0.5}},
            {"name": "tuned", "train": {"epochs": 1, "batch_size": 50, "val_split": "none", "teacher": "dense"}},
        ],
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    done = launched("-m", "sapwood", "run", str(tmp_path / "recipe.yaml"), "-o", str(tmp_path / "out"), "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert [step["state"] for step in record["steps"]] == ["done"] * 3
    assert record["steps"][2]["size"]["macs"] < record["steps"][0]["size"]["macs"]
    assert (tmp_path / "out" / "03-tuned" / "model" / "model.safetensors").is_file()
    arguments = ["--data", "digits", "--epochs", "1", "--batch-size", "50", "--val-split", "none"]
    done = launched("-m", "sapwood", "train", str(tmp_path / "net.cfg"), *arguments, "-o", str(tmp_path / "one"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("model: ") == 1


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_is_bad_input(sober_cfg: str, tmp_path: Path) -> None:
    (tmp_path / "net.cfg").write_text(sober_cfg)
    arguments = ["--data", "digits", "--batch-size", "5", "-o", str(tmp_path / "one")]
    done = launched("-m", "sapwood", "train", str(tmp_path / "net.cfg"), *arguments)
    assert done.returncode != 0
    assert "5 pictures for 2 processes; expected a multiple of their number" in done.stderr
