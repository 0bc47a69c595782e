"""A detector and a classifier small enough to train within a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sapwood.config import AugmentConfig, TrainConfig
from sapwood.data import digits_dataset
from sapwood.models import load_model
from sapwood.types import (
    ClassificationDataset,
    ClassificationSample,
    DetectionDataset,
    ModelBundle,
    ModelSource,
    TaskSpec,
)
from support.cfgs import CHAIN


@pytest.fixture
def tiny_cfg(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.cfg"
    path.write_text(CHAIN)
    return path


@pytest.fixture
def detector(tiny_cfg: Path) -> ModelBundle:
    return load_model(str(tiny_cfg))


@pytest.fixture(scope="session")
def sober_cfg() -> str:
    """The same without dropout, which learns pictures by heart."""
    return CHAIN.replace("probability=.2", "probability=0")


@pytest.fixture
def sober_detector(tmp_path: Path, sober_cfg: str) -> ModelBundle:
    path = tmp_path / "sober.cfg"
    path.write_text(sober_cfg)
    return load_model(str(path))


@pytest.fixture(scope="session")
def digits() -> DetectionDataset:
    return digits_dataset("train", size=(64, 64), num_images=12)


@pytest.fixture
def short() -> TrainConfig:
    augment = AugmentConfig(horizontal_flip=0, mosaic=0.5, plain_epochs=1)
    return TrainConfig(epochs=4, batch_size=4, lr=0.01, eval_every=2, augment=augment)


@pytest.fixture
def classifier() -> ModelBundle:
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 2),
    ).eval()
    task = TaskSpec("classification", (16, 16), ("dark", "bright"), resize="center_crop")
    return ModelBundle(model, torch.zeros(1, 3, 16, 16), task, ModelSource("tests:tiny", "factory"))


@pytest.fixture(scope="session")
def shades() -> ClassificationDataset:
    """Dark and bright noise, sixteen pictures of each."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(90 * label, 90 * label + 130, (20, 24, 3)).astype(np.uint8) for label in (0, 1) * 16]
    samples = tuple(
        ClassificationSample(f"shade-{index}", index % 2, lambda picture=picture: picture)  # type: ignore[misc]
        for index, picture in enumerate(pictures)
    )
    return ClassificationDataset("shades", samples, ("dark", "bright"))
