"""How far a pruned model is from the untouched one is measured when somebody looks, and never of a changed one."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from sapwood import Target, prune
from sapwood.pipeline import Pruned

RUNS: list[int] = []


class Counted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.norm, self.b = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        RUNS.append(len(RUNS))
        return self.b(torch.relu(self.norm(self.a(x))))


def half(model: nn.Module) -> tuple[Pruned, Tensor]:
    torch.manual_seed(1)
    x = torch.randn(1, 3, 8, 8)
    return prune(model.eval(), x, target=Target(sparsity=0.5)), x


def distance(found: nn.Module, wanted: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        one, other = (model.double()(x.double()) for model in (found, wanted))
    return float((one - other).abs().max() / other.abs().max())


def test_it_takes_one_run_when_it_is_first_looked_at() -> None:
    pruned, x = half(model := Counted())
    before = len(RUNS)
    far = pruned.verification.distance_from_dense
    assert len(RUNS) == before + 1
    assert pruned.verification.distance_from_dense == far
    assert len(RUNS) == before + 1
    assert far == pytest.approx(distance(pruned.model, model, x), rel=1e-9)


def test_of_a_model_that_was_converted_since_it_is_the_same() -> None:
    (pruned, _), (other, _) = half(Counted()), half(model := Counted())
    model.half()
    assert other.verification.distance_from_dense == pytest.approx(pruned.verification.distance_from_dense, rel=1e-9)


@pytest.mark.parametrize("way", ["step", "data", "statistics"])
def test_of_a_model_that_was_trained_since_nothing_is_told(way: str) -> None:
    pruned, x = half(model := Counted())
    if way == "step":
        model(x).sum().backward()
        torch.optim.SGD(model.parameters(), lr=0.1).step()
    elif way == "data":
        model.a.weight.data.mul_(2.0)
    else:
        model.train()(x)
    assert pruned.verification.distance_from_dense is None


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_hold_the_figure(way) -> None:
    pruned, _ = half(Counted())
    twin = way(pruned.verification)
    assert twin == pruned.verification
    before = len(RUNS)
    assert twin.distance_from_dense == pruned.verification.distance_from_dense > 0.0
    assert len(RUNS) == before
