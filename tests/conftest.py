"""Shared fixtures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from support.cfgs import BRANCHED, CLASSIFIER

REPOSITORY = Path(__file__).resolve().parents[1]

settings.register_profile("default", derandomize=True, deadline=None)
settings.register_profile("nightly", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


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
    """The same random numbers in every test; ``torch.manual_seed`` reads the stack for devices that are not there."""
    torch.default_generator.manual_seed(0)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(0)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """PyTorch's threads of a test are not those of the next: with others, sums differ in the last bit."""
    before = torch.get_num_threads()
    yield
    if torch.get_num_threads() != before:
        torch.set_num_threads(before)


@pytest.fixture
def detector_text() -> str:
    """A detector of one head, 2 classes, 32 x 32 pixels."""
    return BRANCHED


@pytest.fixture
def classifier_text() -> str:
    """A classifier of 5 classes, 8 x 8 pixels, with ``[connected]`` layers."""
    return CLASSIFIER
