"""Networks in which signals fade out: the proof says no more than it found, so it gives them other values as well."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import sapwood
from sapwood.errors import CheckFailedError
from sapwood.graph import trace
from sapwood.models import Plan, apply_plan
from sapwood.removal import dense as removal_dense
from sapwood.removal import proof
from sapwood.removal.fading import DEEP, is_deep
from sapwood.removal.segments import segments_of

HALF = sapwood.Target(sparsity=0.5)


def chain(layers: int) -> nn.Sequential:
    torch.manual_seed(0)
    body = [layer for _ in range(layers) for layer in (nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())]
    return nn.Sequential(nn.Conv2d(3, 8, 3), *body, nn.Conv2d(8, 4, 1)).eval()


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = chain(2 * DEEP)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, *body = self.layers
        y = first(x)
        for layer in body[:-1]:
            y = y + layer(y)
        return body[-1](y)


def test_the_shortest_way_counts() -> None:
    picture = torch.randn(1, 3, 8, 8)
    assert is_deep(trace(chain(DEEP - 2), picture))
    assert not is_deep(trace(chain(DEEP - 3), picture))
    assert not is_deep(trace(Residual(), picture))


def planted(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Makes every compact model wrong in one layer: what it reads is in another order."""

    def wrong(model: nn.Module, plan: Plan) -> nn.Module:
        compact = apply_plan(model, plan)
        with torch.no_grad():
            weight = compact.get_parameter(name)
            weight.copy_(weight.flip(1))
        return compact

    for place in (proof, removal_dense):
        monkeypatch.setattr(place, "apply_plan", wrong)


@pytest.mark.parametrize("layers", [6, 40, 110])
def test_what_is_wrong_in_an_early_layer_is_found(layers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the first weights of PyTorch, an early layer is behind 40 others of no consequence that float64 shows, and
    with whatever weights behind 110."""
    picture = torch.randn(1, 3, 8, 8)
    assert sapwood.prune(chain(layers), picture, target=HALF).verification.passed
    planted(monkeypatch, "1.weight")
    with pytest.raises(CheckFailedError):
        sapwood.prune(chain(layers), picture, target=HALF)


@pytest.mark.parametrize("layer", [1, 50, 89])
def test_what_is_wrong_anywhere_in_a_chain_of_tokens_is_found(layer: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linear layers and norms, each four wide when half has gone; the proof tells by how much it differs."""
    torch.manual_seed(0)
    layers = [
        part for _ in range(30) for part in (nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    ]
    linear = [number for number, part in enumerate(layers) if isinstance(part, nn.Linear)]
    model = nn.Sequential(*layers, nn.Linear(8, 3)).eval()
    rows = torch.randn(2, 8)
    assert sapwood.prune(model, rows, target=HALF, ignore=["0"]).verification.max_abs_error <= 1e-13
    planted(monkeypatch, f"{linear[layer]}.weight")
    with pytest.raises(CheckFailedError, match="differs from the masked one by"):
        sapwood.prune(model, rows, target=HALF)


def test_segments_end_where_nothing_is_scaled_on_purpose() -> None:
    """Every fourth layer ends one, but for those whose results the plan scales."""
    graph = trace(chain(40), torch.randn(1, 3, 8, 8))
    ends = sorted(segments_of(graph, frozenset()).ends)
    sums = [call.index for call in graph.calls if call.facts.sum is not None]
    assert ends == sums[3::4]
    assert sorted(segments_of(graph, frozenset(ends[:2])).ends) == ends[2:]


def test_a_model_is_the_same_after_a_proof_in_segments() -> None:
    model, picture = chain(40), torch.randn(1, 3, 8, 8)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    sapwood.prune(model, picture, target=HALF)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def normed(layers: int) -> nn.Sequential:
    """A chain whose norms keep signals as large as they were, for a few layers at least."""
    torch.manual_seed(0)
    body: list[nn.Module] = []
    for _ in range(layers):
        norm = nn.BatchNorm2d(8)
        norm.running_mean.uniform_(-0.2, 0.2)  # type: ignore[union-attr]
        norm.running_var.fill_(0.1)  # type: ignore[union-attr]
        body += [nn.Conv2d(8, 8, 3, padding=1), norm, nn.ReLU()]
    return nn.Sequential(nn.Conv2d(3, 8, 3), *body, nn.Conv2d(8, 4, 1)).eval()


@pytest.mark.parametrize("layer", [1, 25, 58])
def test_a_chain_whose_segments_show_all_is_proven_once(layer: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its own weights and no others; a mistake anywhere is found. What is measured is what the model returns."""

    def no_other(model: nn.Module) -> nn.Module:
        raise AssertionError("made another model")

    picture = torch.randn(1, 3, 16, 16)
    with monkeypatch.context() as patch:
        patch.setattr(proof, "lively_copy", no_other)
        found = sapwood.prune(normed(2 * DEEP), picture, target=HALF)
    dense, small = normed(2 * DEEP).double(), found.model.double()
    with torch.no_grad():
        far = (dense(picture.double()) - small(picture.double())).abs().max() / dense(picture.double()).abs().max()
    assert found.verification.distance_from_dense == pytest.approx(float(far), rel=1e-6)
    planted(monkeypatch, f"{layer}.weight")
    with pytest.raises(CheckFailedError, match="differs from the masked one by"):
        sapwood.prune(normed(2 * DEEP), picture, target=HALF)
