"""Mixed precision: what runs in bfloat16, what comes out, and that a network learns in it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from sapwood.config import AugmentConfig, TrainConfig
from sapwood.errors import TrainingError
from sapwood.training import precision, train
from sapwood.training.precision import as_float32, mixed
from sapwood.types import ClassificationDataset, ModelBundle


@pytest.mark.parametrize(
    ("wanted", "native", "expected"),
    [
        ("float32", True, torch.float32),
        ("bfloat16", False, torch.bfloat16),
        ("auto", True, torch.bfloat16),
        ("auto", False, torch.float32),
    ],
)
def test_products_run_in_the_precision_that_is_wanted(
    monkeypatch: pytest.MonkeyPatch, wanted: precision.Precision, native: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: native)
    layer = nn.Linear(4, 4)
    with mixed(wanted):
        assert layer(torch.ones(1, 4)).dtype == expected
    assert layer.weight.dtype == torch.float32
    assert layer(torch.ones(1, 4)).dtype == torch.float32


def test_outputs_become_float32_and_nothing_else_changes() -> None:
    half, double, whole = torch.ones(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.float64), torch.ones(2).long()
    found = as_float32({"a": [half, double], "b": (whole, "name")})
    assert [one.dtype for one in found["a"]] == [torch.float32, torch.float64]
    assert found["b"][0] is whole
    assert found["b"][1] == "name"


def test_a_classifier_learns_in_bfloat16(
    classifier: ModelBundle, shades: ClassificationDataset, tmp_path: Path
) -> None:
    still = AugmentConfig(scale=0, aspect=0, translate=0, hue=0, saturation=0, brightness=0)
    config = TrainConfig(epochs=15, batch_size=8, lr=0.05, precision="bfloat16", augment=still)
    result = train(classifier, shades, config=config, run_dir=tmp_path / "run", val_dataset=shades)
    assert result.evaluation is not None
    assert result.evaluation.value > 0.9
    assert {value.dtype for value in result.bundle.model.state_dict().values()} <= {torch.float32, torch.int64}


def test_a_run_is_not_resumed_in_another_precision(
    classifier: ModelBundle, shades: ClassificationDataset, tmp_path: Path
) -> None:
    train(classifier, shades, config=TrainConfig(epochs=1, precision="float32"), run_dir=tmp_path)
    with pytest.raises(TrainingError, match="precision 'float32' there and 'bfloat16' here"):
        train(classifier, shades, config=TrainConfig(epochs=1, precision="bfloat16", resume=True), run_dir=tmp_path)
