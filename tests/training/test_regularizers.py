"""Sparse training: one step worked out by hand, zeros that stay, channels that can then go."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sapwood
from sapwood.errors import ConfigError, TrainingError
from sapwood.pipeline import regularizer


class Pair(nn.Module):
    """Two channels between two layers: each has a row of ``first``, a bias, a norm, and a column of ``second``."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 1, bias=False)
        with torch.no_grad():
            self.first.weight.copy_(torch.tensor([[3.0, 0.0], [0.0, 1.0]]))
            self.first.bias.copy_(torch.tensor([0.0, 0.5]))
            self.norm.weight.copy_(torch.tensor([1.0, -0.2]))
            self.norm.bias.copy_(torch.tensor([0.0, 0.1]))
            self.second.weight.copy_(torch.tensor([[2.0, -1.0]]))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.norm(self.first(x))))


INPUTS = torch.randn(4, 2)
SQUARES = (9.0 + 1.0 + 4.0, 1.0 + 0.25 + 0.04 + 0.01 + 1.0)  # of all slices of each channel
SIZE = 2 + 1 + 1 + 1 + 1


def channels(model: Pair) -> list[Tensor]:
    return [
        torch.cat([model.first.weight[c], model.first.bias[c : c + 1], model.norm.weight[c : c + 1],
                   model.norm.bias[c : c + 1], model.second.weight[:, c]])
        for c in range(2)
    ]  # fmt: skip


def pulled(name: str, lr: float = 0.1, **options: float) -> tuple[list[Tensor], list[Tensor], float]:
    model = Pair()
    before = [one.detach().clone() for one in channels(model)]
    penalty = regularizer(name, model, INPUTS, **options).step_(model, lr)
    return before, [one.detach() for one in channels(model)], penalty


def test_slimming_moves_scales_only() -> None:
    before, after, penalty = pulled("slimming", strength=0.5)
    assert penalty == pytest.approx(0.5 * 1.2)
    for one, other, scale in zip(before, after, (0.95, -0.15), strict=True):
        one[3] = scale
        torch.testing.assert_close(other, one)
    _, after, _ = pulled("slimming", strength=5.0)
    assert [float(one[3]) for one in after] == [0.5, 0.0]  # not beyond zero


def test_group_lasso_shrinks_a_channel_as_one() -> None:
    before, after, penalty = pulled("group_lasso", strength=0.5)
    norms = [math.sqrt(square) for square in SQUARES]
    assert penalty == pytest.approx(0.5 * math.sqrt(SIZE) * sum(norms))
    for one, other, norm in zip(before, after, norms, strict=True):
        torch.testing.assert_close(other, one * (1.0 - 0.1 * 0.5 * math.sqrt(SIZE) / norm))
    _, after, _ = pulled("group_lasso", strength=10.0)
    assert float(after[1].abs().max()) == 0.0 < float(after[0].abs().max())


def test_group_norm_pulls_the_weakest_most() -> None:
    before, after, penalty = pulled("group_norm", strength=0.05, alpha=3.0)
    assert penalty == pytest.approx(0.05 * 0.5 * (SQUARES[0] + 8.0 * SQUARES[1]))
    torch.testing.assert_close(after[0], before[0] * (1.0 - 0.1 * 0.05))
    torch.testing.assert_close(after[1], before[1] * (1.0 - 0.1 * 0.05 * 8.0))


def test_growing_pulls_those_it_chose_ever_stronger() -> None:
    model = Pair()
    pull = regularizer("growing", model, INPUTS, strength=0.5, every=2, ceiling=1.0, sparsity=0.5)
    factors = [0.0, 0.5, 0.5, 1.0, 1.0, 1.0]  # strength times the whole number of pairs of steps, at most the ceiling
    weak, expected = channels(model)[1].detach().clone(), 1.0
    strong = channels(model)[0].detach().clone()
    for number, factor in enumerate(factors):
        if number == 3:  # a run that goes on later
            again = regularizer("growing", model, INPUTS, strength=0.5, every=2, ceiling=1.0, sparsity=0.5)
            again.restore(pull.state())
            pull = again
        pull.step_(model, 0.1)
        expected *= 1.0 - 0.1 * factor
        torch.testing.assert_close(channels(model)[1].detach(), weak * expected)
    assert torch.equal(channels(model)[0].detach(), strong)


def test_what_became_zero_can_go() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3, padding=1), nn.ReLU(),
        nn.Conv2d(6, 2, 1),
    )  # fmt: skip
    inputs = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        model[0].weight[:4] *= 1e-2
        model[1].weight[:4] *= 1e-2
        model[3].weight[:, :4] *= 1e-2
    pull = regularizer("group_lasso", model, inputs, strength=0.005)
    for _ in range(20):
        pull.step_(model, 0.5)
    model.eval()
    compact = sapwood.compact(model, inputs)
    assert compact.model[0].weight.shape[0] == 4
    torch.testing.assert_close(compact.model(inputs), model(inputs))


@pytest.mark.parametrize(("name", "options", "message"), [
    ("lasso", {}, "unknown regularizer 'lasso'; expected one of: group_lasso, group_norm, growing, slimming"),
    ("slimming", {"strength": 0.0}, "strength: got 0.0; expected a number above 0"),
    ("group_lasso", {"strength": float("inf")}, "strength: got inf; expected a number above 0"),
    ("group_norm", {"alpha": -1.0}, "alpha: got -1.0; expected a number of at least 0"),
    ("growing", {"sparsity": 1.0}, r"sparsity: got 1.0; expected a number in \(0, 1\)"),
    ("growing", {"every": 0}, "every: got 0; expected at least 1"),
    ("growing", {"ceiling": 0.0}, "ceiling: got 0.0; expected a number above 0"),
    ("slimming", {"alpha": 2.0}, "regularizer 'slimming': .*unexpected keyword argument 'alpha'"),
])  # fmt: skip
def test_bad_options_are_named(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        regularizer(name, Pair(), INPUTS, **options)


def test_models_without_what_is_pulled_are_named() -> None:
    with pytest.raises(TrainingError, match="the model has no channels that can go"):
        regularizer("group_lasso", nn.Linear(2, 2), INPUTS)
    plain = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(TrainingError, match="no channel that can go has a BatchNorm; expected group_lasso"):
        regularizer("slimming", plain, INPUTS)
