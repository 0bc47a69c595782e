"""A small detector, pictures for it, a module of one's own, and the command itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sapwood.cli import main
from support.cfgs import plain_detector


@pytest.fixture
def cfg(tmp_path: Path) -> Path:
    path = tmp_path / "small.cfg"
    path.write_text(plain_detector(8, 8))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four pictures with a box each, as YOLO txt."""
    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        for number in range(4):
            picture = generator.integers(0, 255, (48, 64, 3), dtype=np.uint8)
            image = tmp_path / "data" / "images" / split / f"{number}.png"
            label = tmp_path / "data" / "labels" / split / f"{number}.txt"
            image.parent.mkdir(parents=True, exist_ok=True)
            label.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(image)
            label.write_text(f"{number % 2} 0.5 0.5 0.4 0.4\n")
    return tmp_path / "data"


FACTORY = """
import torch
from torch import nn
from sapwood.types import ModelBundle, ModelSource, TaskSpec

def factory():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3, stride=4), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    task = TaskSpec(kind="classification", input_size=(32, 32), class_names=("dark", "light"))
    model = nn.Sequential(*layers, nn.Linear(8, 2))
    return ModelBundle(model.eval(), torch.randn(1, 3, 32, 32), task, ModelSource("ownnet:factory", "factory"))

def bare():
    return nn.Linear(2, 2)
"""


@pytest.fixture
def own_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module with a factory in the working directory, and an image folder that its two classes tell apart."""
    (tmp_path / "ownnet.py").write_text(FACTORY)
    for split in ("train", "val"):
        for name, shade in (("dark", 20), ("light", 220)):
            folder = tmp_path / "shades" / split / name
            folder.mkdir(parents=True)
            for number in range(4):
                Image.new("RGB", (32, 32), (shade + number,) * 3).save(folder / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "ownnet", raising=False)
    return tmp_path


@pytest.fixture
def run() -> Callable[..., int]:
    """Runs the command and returns its exit code."""

    def run_command(*arguments: object) -> int:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        return int(stop.value.code or 0)

    return run_command
