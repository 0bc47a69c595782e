"""Training of anything: examples of any kind, the user's own loss and measure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sapwood.config import GradualConfig, TrainConfig
from sapwood.errors import TrainingError
from sapwood.pipeline import training_plugins
from sapwood.training import train
from sapwood.types import Evaluation, ModelBundle, ModelSource, TaskSpec

CONFIG = TrainConfig(epochs=40, batch_size=8, lr=0.05, eval_every=20, precision="float32")


class Line:
    """Points of y = 2 x - 1."""

    def __len__(self) -> int:
        return 32

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        x = torch.tensor([index / 16 - 1.0])
        return {"x": x, "y": 2 * x - 1}


def squares(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    return (model(batch["x"]) - batch["y"]).square().mean()


def closeness(bundle: ModelBundle) -> Evaluation:
    with torch.no_grad():
        value = 1.0 - abs(float(bundle.model(torch.tensor([[0.5]])).squeeze()) - 0.0)
    return Evaluation("closeness", {"closeness": value}, {}, 1, {})


@pytest.fixture
def regression() -> ModelBundle:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 16), nn.ReLU(), nn.Linear(16, 1))
    return ModelBundle(model, torch.zeros(1, 1), TaskSpec("none"), ModelSource("tests:line", "factory"))


def test_a_regression_learns_and_is_measured_its_own_way(regression: ModelBundle, tmp_path: Path) -> None:
    result = train(regression, Line(), config=CONFIG, run_dir=tmp_path, loss=squares, measure=closeness)
    assert result.history[-1]["total"] < 0.05 * result.history[0]["total"]
    assert result.evaluation is not None
    assert result.evaluation.value > 0.9
    assert [record["epoch"] for record in result.history if "closeness" in record] == [20, 40]


def test_plugins_join_in(regression: ModelBundle, tmp_path: Path) -> None:
    gradual = GradualConfig(sparsity=0.5, layers=("linear",), every=1)
    config = CONFIG.model_copy(update={"gradual": gradual})
    result = train(regression, Line(), config=config, run_dir=tmp_path, loss=squares, plugins=training_plugins(config))
    weights = [module.weight for module in result.bundle.model.modules() if isinstance(module, nn.Linear)]
    assert [int((weight == 0).sum()) for weight in weights] == [8, 8]


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda model, batch: 1.0, "gave 1.0; expected a scalar tensor"),
        (lambda model, batch: (model(batch["x"]) - batch["y"]).square(), r"gave a tensor of shape \(8, 1\)"),
        (lambda model, batch: {"mse": squares(model, batch)}, 'gave None; .*with one as "total"'),
        (lambda model, batch: torch.zeros(()), r"gave a tensor of shape \(\)"),
    ],
)
def test_a_loss_that_is_none_is_named(regression: ModelBundle, tmp_path: Path, loss: Any, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        train(regression, Line(), config=CONFIG, run_dir=tmp_path, loss=loss)


def test_no_examples(regression: ModelBundle, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the data set is empty"):
        train(regression, [], config=CONFIG, run_dir=tmp_path, loss=squares)


def test_a_loss_with_parts_is_logged(regression: ModelBundle, tmp_path: Path) -> None:
    def parts(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        total = squares(model, batch)
        return {"total": total, "half": total / 2}

    history = train(
        regression, Line(), config=TrainConfig(epochs=1, precision="float32"), run_dir=tmp_path, loss=parts
    ).history
    assert history[0]["half"] == pytest.approx(history[0]["total"] / 2, abs=1e-6)
