"""Compiling reads a model's weights where they are, and what it makes keeps none of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from sapwood.errors import EngineError
from sapwood.export import plain_copy
from sapwood.runtime import compile as compile_model
from sapwood.runtime import load
from sapwood.runtime.engine.assembly import Sides
from sapwood.runtime.engine.choice import SidesChoice, movable
from sapwood.runtime.engine.packing import finite

pytestmark = pytest.mark.usefixtures("engine")


def test_layers_are_shared_and_nothing_else() -> None:
    masked, parametrized = (
        prune.l1_unstructured(nn.Linear(3, 3), "weight", 2),
        parametrizations.weight_norm(nn.Linear(3, 3)),
    )
    model = nn.Sequential(
        nn.Conv2d(1, 2, 1),
        nn.Linear(2, 3),
        nn.BatchNorm1d(3),
        masked,
        parametrized,
        nn.Embedding(2, 3),
        nn.Embedding(2, 3, max_norm=1.0),
    )
    twin, copy = plain_copy(model, sharing=True), plain_copy(model)
    same = [name for name, one in twin.named_parameters() if one is dict(model.named_parameters()).get(name)]
    assert same == ["0.weight", "1.weight", "5.weight"]
    assert not {id(one) for one in copy.parameters()} & {id(one) for one in model.parameters()}
    assert torch.equal(twin[3].weight, masked.weight)
    assert isinstance(masked.weight_mask, Tensor)
    assert model.training
    assert not twin.training


class Mixed(nn.Module):
    """Sparse and dense layers of the engine, and calls of PyTorch that read weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.dense, self.layer = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Linear(4, 5)
        with torch.no_grad():
            self.conv.weight[1:] = 0.0

    def forward(self, x: Tensor) -> Tensor:
        x = self.dense(self.conv(x).relu())
        x = nn.functional.softplus(nn.functional.conv_transpose2d(x, self.dense.weight))
        return self.layer(x.mean((2, 3)))


def everything_moves(network: object, _: object) -> SidesChoice:
    return SidesChoice(Sides(frozenset(movable(network))))  # type: ignore[arg-type]


@pytest.mark.parametrize("moved", [False, True])
def test_a_model_that_goes_on_changing_changes_nothing(
    moved: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAPWOOD_CACHE", str(tmp_path))
    if moved:
        monkeypatch.setattr("sapwood.runtime.engine.deciding.choose", everything_moves)
    torch.manual_seed(0)
    model, picture = Mixed().eval(), torch.randn(1, 3, 6, 6)
    wanted = model(picture)
    compiled = compile_model(model, picture, threads=1, tune=moved)
    assert bool(compiled.choice.sides.moved) == moved
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert not torch.allclose(model(picture), wanted, atol=1e-2)
    assert torch.allclose(compiled(picture), wanted, atol=1e-5)
    assert torch.allclose(load(compiled.save(tmp_path / "saved"), threads=1)(picture), wanted, atol=1e-5)


@pytest.mark.parametrize("make", [np.asarray, np.asfortranarray, lambda array: array[::2]])
def test_numbers_that_are_finite(make: Callable[[np.ndarray], np.ndarray]) -> None:
    array = make(np.full((4, 3), 3e38, np.float32))  # whose squares are not
    assert finite(array) is array
    for wrong in (np.nan, np.inf, -np.inf):
        array[0, 1] = wrong
        with pytest.raises(EngineError, match="weights are NaN or infinite; expected finite numbers"):
            finite(array)
