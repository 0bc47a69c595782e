"""Attributes are tried until a model's shapes follow: only so many in vain, and first what helped once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sapwood
from sapwood import Target
from sapwood.models.places import AttributePlace
from sapwood.removal import repair
from sapwood.removal.repair import MAX_IN_VAIN, Tries

WIDTH = 16


class _Stubborn(nn.Module):
    """Its shape is written in its code, and it has more attributes of that number than are tried."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, WIDTH), nn.Linear(WIDTH, 4)
        self.free = nn.Sequential(nn.Linear(8, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 4))
        for number in range(2 * MAX_IN_VAIN):
            setattr(self, f"number{number}", WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).view(-1, 16)) + self.free(x)  # type: ignore[no-any-return]


def test_only_so_many_attributes_are_tried_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[None] = []
    right = repair.follow

    def counted(*given: Any) -> Any:
        runs.append(None)
        return right(*given)

    monkeypatch.setattr(repair, "follow", counted)
    pruned = sapwood.prune(_Stubborn(), torch.randn(2, 8), target=Target(sparsity=0.5))
    assert MAX_IN_VAIN < len(runs) < MAX_IN_VAIN + 10
    assert pruned.verification.passed
    assert pruned.model.a.out_features == WIDTH, "its shape does not follow"
    assert pruned.model.free[0].out_features == WIDTH // 2
    (reason,) = {one.reason for one in pruned.unpruned if (one.tensor, one.dim) == ("a.weight", 0)}
    assert reason.endswith(f"({MAX_IN_VAIN} attributes were tried in vain for this model, more are not)")


def _change(name: str) -> dict[AttributePlace, int]:
    return {AttributePlace("body", name): 8}


def test_what_helped_once_in_a_line_is_tried_first_and_costs_nothing() -> None:
    call: Any = SimpleNamespace(location="net.py:7")
    tries = Tries(left=3)
    changes = [_change("first"), _change("first"), _change("second"), _change("third")]
    asked = []
    for change in tries.ordered(call, changes):
        asked.append(change)
        if change == changes[2]:
            tries.keep(call, change)
            break
    assert asked == [changes[0], changes[2]], "each once"
    assert tries.left == 2, "one was in vain"
    assert list(tries.ordered(call, changes)) == [changes[2], changes[0], changes[3]]
    assert tries.left == 0
    assert list(tries.ordered(call, changes)) == [changes[2]]
