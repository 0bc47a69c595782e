"""Weights that are computed from parameters by a norm: exact where a gain can make up for it, named where none can."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import sapwood
from sapwood.errors import ShapeError
from sapwood.models import Gain, Plan, apply_plan
from sapwood.pipeline import Target, prune
from support.probes import Net

EXACT = 1e-12
"""Relative, in float64: a handful of layers, summed in another order."""

HALF = Target(sparsity=0.5)


def old_weight_norm(layer: nn.Module, dim: int | None = 0) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return torch.nn.utils.weight_norm(layer, dim=dim)


NORMS = {"old": old_weight_norm, "new": parametrizations.weight_norm}


@torch.no_grad()
def silenced(make: Callable[..., nn.Module], model: nn.Module, plan: Plan) -> nn.Module:
    """Layers that hold the weights which the norms make, in float64, with all that goes at zero."""
    plain = make(lambda layer, **_: layer).double()
    for layer, normed in zip(plain, model, strict=True):
        if hasattr(layer, "weight"):
            layer.weight.copy_(weight_of(normed))
            layer.bias.copy_(normed.bias)
    for cut in plan.cuts:
        gone = torch.tensor([index for index in range(cut.width) if index not in cut.kept])
        name = cut.tensor.replace("weight_v", "weight").replace("parametrizations.weight.original1", "weight")
        if not name.endswith(("weight_g", "original0")):
            plain.get_parameter(name).index_fill_(cut.dim, gone, 0.0)
    return plain


def weight_of(layer: nn.Module) -> Tensor:
    """Gain times direction over norm, in float64; the gain's size says over what the norm is not taken."""
    old = hasattr(layer, "weight_g")
    made = [layer.weight_g, layer.weight_v] if old else layer.parametrizations.weight.parameters()
    gain, direction = (part.double() for part in made)
    others = [dim for dim in range(direction.dim()) if gain.shape[dim] == 1 and direction.shape[dim] > 1]
    return gain * direction / direction.square().sum(others, keepdim=True).sqrt()


@torch.no_grad()
def distance(found: nn.Module, wanted: nn.Module, x: Tensor) -> float:
    one, other = (model.double().eval()(x.double()) for model in (found, wanted))
    return float((one - other).abs().max() / other.abs().max())


def convolutions(norm: Callable[..., nn.Module]) -> nn.Module:
    up = norm(nn.ConvTranspose1d(8, 12, 4, 2))
    grouped = norm(nn.Conv1d(12, 12, 3, groups=3))
    layers = [norm(nn.Conv1d(4, 8, 3)), up, grouped, norm(nn.Conv1d(12, 8, 3), dim=2), norm(nn.Conv1d(8, 2, 1))]
    return nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))[:-1]


def features(norm: Callable[..., nn.Module]) -> nn.Module:
    return nn.Sequential(norm(nn.Linear(9, 16)), nn.ReLU(), norm(nn.Linear(16, 12)), nn.ReLU(), norm(nn.Linear(12, 3)))


@pytest.mark.parametrize("kind", sorted(NORMS))
@pytest.mark.parametrize("make", [convolutions, features])
def test_weight_normalised_layers_keep_their_weights(make: Any, kind: str) -> None:
    model, x = make(NORMS[kind]).eval(), torch.randn(2, 4, 9)
    pruned = prune(model, x, target=HALF)
    assert len(pruned.plan.gains) >= 2
    assert sum(p.numel() for p in pruned.model.parameters()) < 0.6 * sum(p.numel() for p in model.parameters())
    wanted = silenced(make, model, pruned.plan)
    assert distance(apply_plan(model.double(), pruned.plan), wanted, x) <= EXACT
    pruned.model.train()(x).square().mean().backward()
    assert all(parameter.grad is not None for parameter in pruned.model.parameters())


def test_a_saved_model_keeps_its_gains(tmp_path: Any) -> None:
    model, x = features(parametrizations.weight_norm).eval(), torch.randn(2, 9)
    pruned = prune(model, x, target=HALF)
    sapwood.save(pruned, tmp_path / "small")
    again = sapwood.load(tmp_path / "small", model=lambda: features(parametrizations.weight_norm))
    with torch.no_grad():
        assert torch.equal(again.eval()(x), pruned.model.eval()(x))


@pytest.mark.parametrize("kind", sorted(NORMS))
def test_a_norm_over_the_whole_weight_is_named(kind: str) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), NORMS[kind](nn.Linear(8, 2), dim=None)).eval()
    pruned = prune(model, torch.randn(2, 4), target=HALF)
    assert pruned.model[0].out_features == 4
    assert pruned.verification.pooled_norms


def test_a_gain_that_is_computed_keeps_its_layer_whole() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        weight = torch._weight_norm(m.v, m.g.exp(), 0)
        return m.c(m.b(x) @ weight.t())

    parts = {"v": nn.Parameter(torch.randn(8, 12)), "g": nn.Parameter(torch.randn(8, 1))}
    model = Net(run, b=nn.Linear(5, 12), c=nn.Linear(8, 3), **parts)
    pruned = prune(model, torch.randn(2, 5), target=HALF)
    assert pruned.model.b.out_features == 12
    reasons = {entry.reason for entry in pruned.unpruned if (entry.tensor, entry.dim) == ("v", 1)}
    assert any(
        reason.startswith("its norm is taken over a width that is pruned, in aten._weight") for reason in reasons
    )


@pytest.mark.parametrize("norm", [torch.nn.utils.spectral_norm, parametrizations.spectral_norm])
def test_spectral_norms_are_taken_over_what_is_kept_and_named(norm: Any) -> None:
    model = nn.Sequential(
        norm(nn.Conv2d(3, 16, 3)), nn.ReLU(), norm(nn.Conv2d(16, 12, 3)), nn.ReLU(), nn.Conv2d(12, 2, 1)
    ).eval()
    x = torch.randn(1, 3, 8, 8)
    pruned = prune(model, x, target=HALF)
    assert [pruned.model[place].bias.numel() for place in (0, 2)] == [8, 6]
    assert pruned.verification.pooled_norms == ("0", "2")
    pruned.model.train()(x).square().mean().backward()


def test_a_product_of_weights_that_divides_nothing_is_no_norm() -> None:
    parts = {"a": nn.Parameter(torch.randn(5, 8)), "b": nn.Parameter(torch.randn(8, 3))}
    pruned = prune(Net(lambda m, x: x @ (m.a @ m.b), **parts), torch.randn(2, 5), target=HALF)
    assert pruned.model.a.shape == (5, 4)
    assert pruned.verification.pooled_norms == ()


def test_a_gain_of_another_model_is_an_error() -> None:
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 3)))
    names = ("0.bias", "0.parametrizations.weight.original1")
    with pytest.raises(ShapeError, match=r"expected shape \(3, 1\), came \(3,\)"):
        apply_plan(model, Plan(gains=(Gain(*names, 0),)))
    with pytest.raises(ShapeError, match="the model has no such norm"):
        apply_plan(model, Plan(gains=(Gain(*names, 2),)))


@pytest.mark.parametrize("op", [nn.Softmax(1), nn.LogSoftmax(1)])
def test_a_softmax_over_channels_is_named(op: nn.Module) -> None:
    model = nn.Sequential(nn.Conv2d(3, 16, 3), op, nn.Conv2d(16, 4, 1))
    pruned = prune(model, torch.randn(1, 3, 8, 8), target=HALF)
    assert pruned.model[0].out_channels == 8
    assert pruned.verification.pooled_norms == ("1",)


@pytest.mark.parametrize("read", [lambda x: x.logsumexp(1, True), lambda x: x.norm(dim=1, keepdim=True)])
def test_what_is_pooled_by_hand_over_channels_is_named(read: Any) -> None:
    model = Net(lambda m, x: m.b(m.a(x) * read(m.a(x))), a=nn.Conv2d(3, 16, 3), b=nn.Conv2d(16, 4, 1))
    assert prune(model, torch.randn(1, 3, 8, 8), target=HALF).verification.pooled_norms == ("",)


def test_a_softmax_over_positions_is_not_named() -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    pruned = prune(nn.Sequential(layer, nn.Linear(16, 3)), torch.randn(2, 5, 16), target=HALF)
    assert pruned.plan.cuts
    assert pruned.verification.pooled_norms == ()
