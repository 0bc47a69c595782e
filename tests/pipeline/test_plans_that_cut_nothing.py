"""Plans that cut nothing know for which sizes they were made, as those do that cut something."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import sapwood
from sapwood.errors import ShapeError
from sapwood.models import Plan, apply_plan
from sapwood.models.plan_json import plan_from_dict, plan_to_dict


def layers(width: int = 16) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 24), nn.ReLU(), nn.Linear(24, 4))


class Net(nn.Module):
    """A residual block between two layers."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem, self.block, self.head = nn.Linear(8, width), nn.Linear(width, width), nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(x + torch.relu(self.block(x)))  # type: ignore[no-any-return]


X = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))


def low_rank_alone() -> Plan:
    """Of a network in which one layer is of rank four: nothing but its rank goes."""
    model = layers()
    model[2].weight.data = torch.randn(24, 4) @ torch.randn(4, 16) / 8
    limits = {"bounds": dict.fromkeys(("0", "2"), (1.0, 1.0))}
    plan = sapwood.prune(model, X, target={"macs": 0.65}, low_rank=True, limits=limits).plan
    assert plan.factored
    return plan


@pytest.mark.parametrize(
    ("plan", "made", "message"),
    [
        (lambda: sapwood.prune(layers(), X, target={"macs": 1.0}).plan, layers, r"0.weight has shape \(20, 8\)"),
        (lambda: sapwood.compact(layers(), X).plan, layers, r"0.weight has shape \(20, 8\); expected \(16, 8\)"),
        (low_rank_alone, layers, r"0.weight has shape \(20, 8\); expected \(16, 8\)"),
        (lambda: sapwood.prune(Net(), X, depth=["block"]).plan, Net, r"stem.weight has shape \(20, 8\)"),
    ],
    ids=["prune", "compact", "low rank", "depth"],
)
def test_a_model_of_other_sizes_is_refused(plan, made, message: str) -> None:  # type: ignore[no-untyped-def]
    plan = plan()
    assert plan.cuts == ()
    assert plan_from_dict(plan_to_dict(plan)).shapes == plan.shapes
    apply_plan(made(), plan_from_dict(plan_to_dict(plan)))
    with pytest.raises(ShapeError, match=message):
        apply_plan(made(20), plan)


def test_a_plan_that_cuts_something_says_nothing_of_shapes() -> None:
    plan = sapwood.prune(layers(), X, target={"macs": 0.5}).plan
    assert plan.cuts
    assert "shapes" not in plan_to_dict(plan)


def test_a_network_that_nothing_was_taken_of_is_saved_and_loaded(tmp_path: Path) -> None:
    sapwood.save(sapwood.prune(layers(), X, target={"macs": 1.0}), tmp_path / "same", model=layers)
    assert torch.equal(sapwood.load(tmp_path / "same", model=layers)(X), layers()(X))
