"""A damaged checkpoint is a TrainingError that names the file, whatever is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor, nn

from sapwood.config import TrainConfig
from sapwood.errors import TrainingError
from sapwood.training.run import BEST, CHECKPOINT, TrainingRun, start_run

ODD = (None, True, -1, 10**400, 1e999, "x", "", [], [1], {}, {"x": [None]}, [[]] * 3)


def config(*, resume: bool = False) -> TrainConfig:
    return TrainConfig(epochs=3, batch_size=2, optimizer="sgd", momentum=0.9, lr=0.1, resume=resume)


def trained(directory: Path) -> TrainingRun:
    """A run of one epoch."""
    torch.manual_seed(0)
    run = start_run(nn.Linear(3, 2), config(), directory)
    run.model(torch.ones(2, 3)).sum().backward()
    run.optimizer.step()
    run.average.update(run.model)
    run.finish_epoch({"epoch": 1}, 0.5)
    run.settle()
    return run


def resumed(directory: Path) -> TrainingRun:
    return start_run(nn.Linear(3, 2), config(resume=True), directory)


@pytest.fixture
def run_directory(tmp_path: Path) -> Path:
    with torch.random.fork_rng():
        trained(tmp_path)
        yield tmp_path


def parts(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safe_open(str(path), framework="pt") as file:
        tensors = {name: value.clone() for name, value in safetensors.torch.load_file(path).items()}  # not its pages
        return tensors, json.loads(file.metadata()["sapwood_training"])


def rewrite(path: Path, tensors: dict[str, Tensor], record: Any) -> None:
    safetensors.torch.save_file(tensors, path, metadata={"sapwood_training": json.dumps(record)})


def test_a_run_goes_on(run_directory: Path) -> None:
    run = resumed(run_directory)
    assert (run.history, run.best, run.average.num_updates) == ([{"epoch": 1}], 0.5, 1)


@pytest.mark.parametrize("name", ["schema", "config", "history", "best", "num_updates"])
def test_every_field_of_the_record_is_checked(name: str, run_directory: Path) -> None:
    path = run_directory / CHECKPOINT
    tensors, record = parts(path)
    allowed = {"history": [[]], "best": [None, -1]}.get(name, [])
    for value in ODD:
        rewrite(path, tensors, {**record, name: value})
        if any(value is one or (value == one and type(value) is type(one)) for one in allowed):
            resumed(run_directory)
            continue
        with pytest.raises(TrainingError, match=r"checkpoint\.safetensors: "):
            resumed(run_directory)
    rewrite(path, tensors, {key: value for key, value in record.items() if key != name})
    if name != "best":
        with pytest.raises(TrainingError, match=r"checkpoint\.safetensors: "):
            resumed(run_directory)


CHANGES: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "no rng": lambda own: own.pop("rng"),
    "rng of another type": lambda own: own.update(rng=torch.zeros(3)),
    "a short rng": lambda own: own.update(rng=torch.zeros(3, dtype=torch.uint8)),
    "no weight": lambda own: own.pop("model/weight"),
    "another weight": lambda own: own.update({"model/weight": torch.zeros(3, 3)}),
    "no average": lambda own: own.pop("average/bias"),
    "an average that would be spread": lambda own: own.update({"average/bias": torch.zeros(1)}),
    "a state of no parameter": lambda own: own.update({"optimizer/7/momentum_buffer": torch.zeros(2)}),
    "a state without a number": lambda own: own.update({"optimizer/x/momentum_buffer": torch.zeros(2)}),
    "a state without a name": lambda own: own.update({"optimizer/0": torch.zeros(2)}),
    "a state of another shape": lambda own: own.update({"optimizer/0/momentum_buffer": torch.zeros(5)}),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_tensor_is_checked(change: Callable[[dict[str, Tensor]], Any], run_directory: Path) -> None:
    path = run_directory / CHECKPOINT
    tensors, record = parts(path)
    change(tensors)
    rewrite(path, tensors, record)
    with pytest.raises(TrainingError, match=r"checkpoint\.safetensors: "):
        resumed(run_directory)


@pytest.mark.parametrize("record", ODD, ids=range(len(ODD)))
def test_a_record_that_is_none_is_named(record: Any, run_directory: Path) -> None:
    path = run_directory / CHECKPOINT
    rewrite(path, parts(path)[0], record)
    with pytest.raises(
        TrainingError, match=r"checkpoint\.safetensors: its record has no schema; expected a checkpoint"
    ):
        resumed(run_directory)


def test_damaged_bytes_are_named(run_directory: Path) -> None:
    path = run_directory / CHECKPOINT
    whole = path.read_bytes()
    for length in (0, 7, 8, 60, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(TrainingError, match=r"checkpoint\.safetensors: .*expected a checkpoint of `sapwood train`"):
            resumed(run_directory)
    safetensors.torch.save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(TrainingError, match=r"a safetensors file, but not a checkpoint"):
        resumed(run_directory)


def test_the_best_weights_are_checked(run_directory: Path) -> None:
    run = resumed(run_directory)
    tensors, record = parts(run_directory / BEST)
    rewrite(run_directory / BEST, {"average/weight": tensors["average/weight"]}, record)
    with pytest.raises(TrainingError, match=r"best\.safetensors: a checkpoint of another model: bias is missing there"):
        run.best_state()
