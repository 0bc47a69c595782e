"""A folder of pictures that nobody labelled, for a classifier: what goes on with it, and what says that it cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Run = Callable[..., int]

MODEL = "torchvision:shufflenet_v2_x0_5"


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    generator = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for number in range(4):
        picture = generator.integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / "pictures" / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    return "pictures"


def test_recovery_takes_it_as_it_is(run: Run, pictures: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("prune", MODEL, "--macs", "0.7", "--data", pictures, "--recover", "batchnorm", "-o", "small") == 0
    assert "--labels" not in capsys.readouterr().err
    assert run("eval", "small", "--data", pictures, "--against", MODEL) == 0


def test_a_criterion_that_needs_labels_says_what_to_do(
    run: Run, pictures: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("prune", MODEL, "--macs", "0.7", "--data", pictures, "--criterion", "taylor", "-o", "small") == 2
    assert "Its pictures are enough where labels are the model's own: --labels own" in capsys.readouterr().err
    assert not Path("small").exists()


def test_accuracy_cannot_be_measured(run: Run, pictures: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("eval", MODEL, "--data", pictures) == 2
    assert "; without labels --against DENSE measures how far networks agree" in capsys.readouterr().err
