"""A network of Ultralytics that was pruned as it is, ``YOLO(...).model``, and saved by its owner."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import sapwood
from sapwood.models.plan_json import plan_from_dict

ultralytics = pytest.importorskip("ultralytics", reason="needs pip install sapwood[ultralytics]")
tasks = pytest.importorskip("ultralytics.nn.tasks")

pytestmark = pytest.mark.filterwarnings("default")  # of packages that Ultralytics imports

SIZE = 64


def network() -> Any:
    content = tasks.yaml_model_load("yolo11n.yaml")
    content["scales"] = {content["scale"]: [0.33, 0.125, 256]}
    torch.manual_seed(0)
    made = tasks.DetectionModel(content, nc=2, verbose=False)
    made.names = {0: "round", 1: "square"}
    return made.eval()


@pytest.fixture(scope="module")
def pruned() -> Any:
    dense = network()
    made = sapwood.prune(dense, torch.rand(1, 3, SIZE, SIZE), target=sapwood.Target(sparsity=0.5))
    assert dense.yaml["backbone"][0][2] == "Conv", "the network given is as it was"
    return made.model


@pytest.fixture(scope="module")
def file(pruned: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "small.pt"
    torch.save({"model": pruned, "train_args": {"task": "detect", "imgsz": SIZE}}, path)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("squares")
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for index in range(2):
            Image.fromarray(np.full((SIZE, SIZE, 3), 90, np.uint8)).save(folder / "images" / split / f"{index}.png")
            (folder / "labels" / split / f"{index}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    names = {0: "round", 1: "square"}
    text = yaml.safe_dump({"path": str(folder), "train": "images/train", "val": "images/val", "names": names})
    (folder / "data.yaml").write_text(text)
    return folder / "data.yaml"


def train(file: Path, data: Path, folder: Path, **more: Any) -> Any:
    options = {"epochs": 1, "imgsz": SIZE, "batch": 2, "workers": 0, "plots": False, "val": False, "verbose": False}
    whole = ultralytics.YOLO(file)
    whole.train(data=data, project=str(folder), name="run", device="cpu", amp=False, **options, **more)
    return whole.trainer.model


def test_training_stops_and_says_what_to_do(file: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="keep_widths"):
        train(file, data, tmp_path)


def test_it_is_trained_at_its_widths(file: Path, data: Path, pruned: Any, tmp_path: Path) -> None:
    from sapwood.models.ultralytics import keep_widths

    trained = train(file, data, tmp_path, trainer=keep_widths)
    assert [weight.shape for weight in trained.parameters()] == [weight.shape for weight in pruned.parameters()]


def test_sapwood_reads_the_file_and_prunes_it_again(file: Path, pruned: Any) -> None:
    bundle = sapwood.load_model(str(file))
    assert [weight.shape for weight in bundle.model.parameters()] == [weight.shape for weight in pruned.parameters()]
    again = sapwood.prune(bundle.model, bundle.example_inputs, target=sapwood.Target(sparsity=0.25))
    assert sapwood.count_params(again.model) < sapwood.count_params(bundle.model)
    assert len(again.model.plans) == 2


def test_a_plan_that_cuts_nothing_has_its_shapes_by_the_names_of_whoever_reads_the_file(tmp_path: Path) -> None:
    """Applied to a network of Ultralytics it is noted there, and once more where the file is read."""
    plan = sapwood.prune(network(), torch.rand(1, 3, SIZE, SIZE), target=sapwood.Target(macs=1.0)).plan
    assert plan.shapes
    torch.save({"model": sapwood.apply_plan(network(), plan), "train_args": {"task": "detect"}}, tmp_path / "same.pt")
    bundle = sapwood.load_model(str(tmp_path / "same.pt"))
    (noted,) = bundle.model.plans
    assert plan_from_dict(json.loads(noted)).shapes == {f"network.{name}": own for name, own in plan.shapes.items()}
    assert {name for name, _ in bundle.model.named_parameters()} >= {f"network.{name}" for name in plan.shapes}
