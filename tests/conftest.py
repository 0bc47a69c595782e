"""Shared fixtures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parents[1]

settings.register_profile("default", derandomize=True, deadline=None)
settings.register_profile("nightly", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

TINY_DETECTOR = """\
[net]
# a comment
width=32
height=32
channels=3

[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky

[route]
layers=-1
groups=2
group_id=1

[convolutional]
batch_normalize=1
filters=4
size=3
stride=1
pad=1
activation=mish

[route]
layers=-1,-2

[convolutional]
filters=14
size=1
stride=1
pad=1
activation=linear

[yolo]
mask=1,2
anchors=1,2,  3,4,  5,6
classes=2
num=3
scale_x_y=1.05
"""

TINY_CLASSIFIER = """\
[net]
width=8
height=8
channels=3

[convolutional]
batch_normalize=1
filters=4
size=3
stride=1
pad=1
activation=relu

[maxpool]
size=2
stride=2

[connected]
batch_normalize=1
output=6
activation=leaky

[connected]
output=5
activation=linear

[softmax]
groups=1
"""


def _data_dir() -> Path:
    return Path(os.environ.get("SAPWOOD_DATA", REPOSITORY.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real models and pictures; tests that need it skip where it is absent."""
    path = _data_dir()
    if not path.is_dir():
        pytest.skip(f"no real data: {path} does not exist (set SAPWOOD_DATA)")
    return path


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def detector_text() -> str:
    """A detector of one head, 2 classes, 32 x 32 pixels."""
    return TINY_DETECTOR


@pytest.fixture
def classifier_text() -> str:
    """A classifier of 5 classes, 8 x 8 pixels, with ``[connected]`` layers."""
    return TINY_CLASSIFIER
