"""Networks for masks, key points, boxes with an angle and classes: pruned, timed, distilled, given back, trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import sapwood
from sapwood.cli import main
from sapwood.models.ultralytics import keep_widths

ultralytics = pytest.importorskip("ultralytics", reason="needs pip install sapwood[ultralytics]")
tasks = pytest.importorskip("ultralytics.nn.tasks")

pytestmark = pytest.mark.filterwarnings("default")  # of packages that Ultralytics imports

SIZE = 64
NAMES = {0: "round", 1: "square"}
CORNERS = "0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75"
POINTS = " ".join("0.5 0.5 2" for _ in range(17))
KINDS = {
    "yolo11n-seg": ("SegmentationModel", "segment", f"0 {CORNERS}"),
    "yolo11n-pose": ("PoseModel", "pose", f"0 0.5 0.5 0.5 0.5 {POINTS}"),
    "yolo11n-obb": ("OBBModel", "obb", f"0 {CORNERS}"),
    "yolo11n-cls": ("ClassificationModel", "classify", ""),
}
"""Class, Ultralytics' name of the task, a line of labels."""


def checkpoint(folder: Path, name: str, data: dict[int, str]) -> Path:
    """A ``.pt`` as Ultralytics writes it, of a narrow network."""
    kind, task, _ = KINDS[name]
    content = tasks.yaml_model_load(f"{name}.yaml")
    content["scales"] = {content["scale"]: [0.33, 0.125, 256]}
    torch.manual_seed(0)
    network = getattr(tasks, kind)(content, nc=len(data), verbose=False)
    network.names = data
    torch.save({"model": network.half(), "train_args": {"imgsz": SIZE, "task": task}, "epoch": -1}, folder / "dense.pt")
    return folder / "dense.pt"


def pictures(folder: Path, name: str) -> Path:
    """Four pictures, with labels of the task."""
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for index in range(2):
            picture = Image.fromarray(random.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8))
            home = folder / split / NAMES[index] if name.endswith("-cls") else folder / "images" / split
            home.mkdir(parents=True, exist_ok=True)
            picture.save(home / f"{index}.png")
            if not name.endswith("-cls"):
                (folder / "labels" / split).mkdir(parents=True, exist_ok=True)
                (folder / "labels" / split / f"{index}.txt").write_text(f"{KINDS[name][2]}\n")
    if name.endswith("-cls"):
        return folder
    content = {"path": str(folder), "train": "images/train", "val": "images/val", "names": NAMES}
    content |= {"kpt_shape": [17, 3]} if name.endswith("-pose") else {}
    (folder / "data.yaml").write_text(yaml.safe_dump(content))
    return folder / "data.yaml"


def run(*arguments: str | Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert not ended.value.code


@pytest.mark.parametrize("name", KINDS)
def test_the_whole_road(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir()
    dense, data, small = checkpoint(tmp_path, name, NAMES), pictures(tmp_path / "data", name), tmp_path / "small"
    folder = data if data.is_dir() else data.parent / "images" / "train"
    distilled = ("--recover", "distill", "--recover-steps", "2", "--data", folder)
    run("prune", dense, "--sparsity", "0.4", "--round-to", "1", *distilled, "-o", small)
    run("bench", dense, small, "--runtime", "torch", "--rounds", "2")
    assert "ms" in capsys.readouterr().out
    run("export", small, "--format", "ultralytics", "-o", tmp_path / "small.pt")
    before = sapwood.load_model(str(tmp_path / "small.pt"))
    assert sapwood.count_params(before.model) < 0.7 * sapwood.count_params(sapwood.load_model(str(dense)).model)
    model: Any = ultralytics.YOLO(str(tmp_path / "small.pt"))
    model.train(
        data=str(data), epochs=1, imgsz=SIZE, batch=2, workers=0, project=str(tmp_path), name="run", plots=False,
        verbose=False, device="cpu", amp=False, trainer=keep_widths,
    )  # fmt: skip
    after = sapwood.load_model(str(tmp_path / "run" / "weights" / "last.pt"))
    shapes = [[tensor.shape for tensor in one.model.parameters()] for one in (before, after)]
    assert shapes[0] == shapes[1]
