"""Shared fixtures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[1]


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
