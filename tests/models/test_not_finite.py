"""Values that are not finite: infinities that a model means come back, NaN is said while the model is still there."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import sapwood
from sapwood.errors import SavedModelError, WeightsError
from sapwood.models.state_dict import load_state_


class Causal(nn.Module):
    """Attention with the mask that handwritten transformers keep, and a clamp whose bounds are infinite."""

    def __init__(self, *, bounds: float = float("inf")) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(8, 8) for _ in range(4))
        self.up, self.down = nn.Linear(8, 24), nn.Linear(24, 8)
        self.register_buffer("mask", torch.full((6, 6), float("-inf")).triu(1))
        self.register_buffer("highest", torch.tensor(bounds))

    def forward(self, x: Tensor) -> Tensor:
        scores = self.q(x) @ self.k(x).transpose(1, 2) + self.mask
        x = x + self.out(scores.softmax(-1) @ self.v(x))
        return x + self.down(torch.relu(self.up(x)).clamp(max=self.highest))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = Causal().eval()
    pruned = sapwood.prune(model, torch.randn(2, 6, 8), target=sapwood.Target(sparsity=0.5))
    assert pruned.model.up.out_features == 12
    sapwood.save(pruned, tmp_path / "small")
    return tmp_path / "small"


@pytest.mark.parametrize("bounds", [float("inf"), 3.0])
def test_infinities_come_back(saved: Path, bounds: float) -> None:
    loaded = sapwood.load(saved, model=lambda: Causal(bounds=bounds))
    assert int(loaded.mask.isinf().sum()) == 15
    assert loaded.highest == float("inf")
    assert bool(loaded(torch.randn(2, 6, 8)).isfinite().all())


@pytest.mark.parametrize(
    ("name", "value", "count"), [("mask", float("nan"), 1), ("mask", float("inf"), 16), ("up.weight", float("inf"), 1)]
)
def test_what_was_finite_when_it_was_saved_has_to_be(saved: Path, name: str, value: float, count: int) -> None:
    path = saved / "model.safetensors"
    with safetensors.safe_open(str(path), framework="pt") as file:
        kept = file.metadata()
    tensors = safetensors.torch.load_file(path)
    tensors[name][0, 0] = value
    safetensors.torch.save_file(tensors, path, metadata=kept)
    with pytest.raises(SavedModelError, match=rf"{name}: {count} of \d+ values are NaN or infinite"):
        sapwood.load(saved, model=Causal)


def test_counts_of_infinities_that_are_none_are_damage(saved: Path) -> None:
    path = saved / "model.safetensors"
    safetensors.torch.save_file(safetensors.torch.load_file(path), path, metadata={"infinities": '{"mask": "x"}'})
    with pytest.raises(SavedModelError, match="its counts of infinities are"):
        sapwood.load(saved, model=Causal)


def test_a_file_without_counts_may_hold_the_infinities_that_the_model_is_made_with(saved: Path) -> None:
    path = saved / "model.safetensors"
    safetensors.torch.save_file(safetensors.torch.load_file(path), path)
    assert int(sapwood.load(saved, model=Causal).mask.isinf().sum()) == 15
    with pytest.raises(SavedModelError, match="highest: 1 of 1 values"):
        sapwood.load(saved, model=lambda: Causal(bounds=1.0))


@pytest.mark.parametrize("name", ["up.weight", "mask"])
def test_nan_is_said_when_it_is_saved(tmp_path: Path, name: str) -> None:
    model = Causal().eval()
    pruned = sapwood.prune(model, torch.randn(2, 6, 8), target=sapwood.Target(sparsity=0.5))
    pruned.model.state_dict()[name][1, 0] = float("nan")
    with pytest.raises(SavedModelError, match=rf"{name}: 1 of \d+ values are NaN; expected a model that computes"):
        sapwood.save(pruned, tmp_path / "small")
    assert not (tmp_path / "small").exists()


def test_weights_from_elsewhere_may_hold_the_infinities_of_the_model() -> None:
    state = Causal().state_dict()
    load_state_(Causal(), state, "x")
    state["mask"] = state["mask"].flip(0)
    with pytest.raises(WeightsError, match="x: mask: 9 of 36 values are NaN or infinite"):
        load_state_(Causal(), state, "x")
