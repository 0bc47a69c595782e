"""The pages of timm and of torchvision: every block runs, from the first line to the file that is deployed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from tests.support.detectors import NAMES, write_coco

from sapwood.cli import main
from sapwood.models import load_model

DOCS = Path(__file__).resolve().parents[2] / "docs"

ALONE = "import sys; sys.modules['sapwood'] = None\n"
"""Before a block that is said to run where Sapwood is not installed."""

pytestmark = pytest.mark.filterwarnings("default")


def blocks(page: str, kind: str = "") -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)
    return [text for own, text in found if own == kind]


def run_commands(block: str, swapped: Mapping[str, str]) -> list[str]:
    """Runs each line, with some words changed for smaller ones; returns the verbs."""
    for before, after in swapped.items():
        assert before in block
        block = block.replace(before, after)
    lines = [shlex.split(line)[1:] for line in block.splitlines()]
    for line in lines:
        with pytest.raises(SystemExit) as ended:
            main(line)
        assert ended.value.code == 0, line
    return [line[0] for line in lines]


def run_alone(text: str, folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", ALONE + text], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def folders(folder: Path) -> Path:
    """Six pictures of three classes for training and for measuring."""
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for label, name in enumerate(NAMES):
            (folder / split / name).mkdir(parents=True)
            for index in range(2):
                picture = random.integers(0, 80 + 80 * label, (70, 90, 3), dtype=np.uint8)
                Image.fromarray(picture).save(folder / split / name / f"{index}.png")
    return folder


def test_the_page_of_timm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm", reason="needs pip install sapwood[zoo]")
    monkeypatch.chdir(tmp_path)
    folders(tmp_path / "pictures")
    torch.manual_seed(0)
    dense = timm.create_model("test_resnet", num_classes=3)
    safetensors.torch.save_file(dense.state_dict(), "model_best.safetensors")
    _, road, *rest = blocks("timm.md")
    assert not rest
    swapped = {
        "timm:resnet18": "timm:test_resnet",
        "--latency 0.5 --runtime onnxruntime --recover distill": "--sparsity 0.3 --recover distill --recover-steps 2",
        "--runtime onnxruntime": "--rounds 2",
    }
    assert run_commands(road, swapped) == ["eval", "prune", "eval", "bench", "export"]
    own, training = blocks("timm.md", "python")
    check = "import timm.models.resnet as home; assert type(model) is home.ResNet\n"
    count = sum(parameter.numel() for parameter in dense.parameters())
    run_alone(own + check + f"assert sum(one.numel() for one in model.parameters()) < 0.8 * {count}\n", tmp_path)
    run_alone(training, tmp_path)


@pytest.mark.slow
def test_the_page_of_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_coco(tmp_path / "coco")
    Path("own.names").write_text("\n".join(NAMES))
    dense = load_model("torchvision:ssdlite320_mobilenet_v3_large", names="own.names").model
    torch.save(dense.state_dict(), "ssdlite.pth")
    (road,) = blocks("torchvision.md")
    swapped = {
        # Random weights fade out over the layers of this network, so that there is nothing to descend on.
        "--latency 0.5 --recover distill": "--sparsity 0.3 --recover reconstruct",
        "--epochs 20": "--epochs 1 --batch-size 2",
    }
    assert run_commands(road, swapped) == ["eval", "prune", "train", "export"]
    own, training = blocks("torchvision.md", "python")
    check = "from torchvision.models.detection.ssd import SSD; assert type(model) is SSD\nassert found.shape[1] == 4\n"
    run_alone(own + check, tmp_path)
    run_alone(training, tmp_path)
