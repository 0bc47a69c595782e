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
from sapwood.removal.nearby import own_changes
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


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One entry a run beside the recorded one."""
    runs: list[None] = []
    right = repair.follow

    def counted(*given: Any) -> Any:
        runs.append(None)
        return right(*given)

    monkeypatch.setattr(repair, "follow", counted)
    return runs


def test_only_so_many_attributes_are_tried_in_vain(runs: list[None]) -> None:
    pruned = sapwood.prune(_Stubborn(), torch.randn(2, 8), target=Target(sparsity=0.5))
    assert MAX_IN_VAIN < len(runs) < MAX_IN_VAIN + 10
    assert pruned.verification.passed
    assert pruned.model.a.out_features == WIDTH, "its shape does not follow"
    assert pruned.model.free[0].out_features == WIDTH // 2
    (reason,) = {one.reason for one in pruned.unpruned if (one.tensor, one.dim) == ("a.weight", 0)}
    assert reason.endswith(f"({MAX_IN_VAIN} attributes were tried in vain for this model, more are not)")


def _change(name: str) -> dict[AttributePlace, int]:
    return {AttributePlace("body", name): 8}


class _Alike(nn.Module):
    """One of several layers with a shape in its code that none of its attributes explains."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, WIDTH), nn.Linear(WIDTH, 8)
        for number in range(TRIED):
            setattr(self, f"number{number}", WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.b(self.a(x).view(-1, 16))  # type: ignore[no-any-return]


TRIED = 6


def test_what_had_no_effect_in_a_layer_is_not_tried_in_others_like_it(runs: list[None]) -> None:
    layers = nn.Sequential(*(_Alike() for _ in range(4)))
    pruned = sapwood.prune(layers, torch.randn(2, 8), target=Target(sparsity=0.5))
    assert pruned.verification.passed
    assert [layer.a.out_features for layer in pruned.model] == [WIDTH] * 4, "their shapes do not follow"
    assert 4 * TRIED < len(runs) < 4 * TRIED + 20, "the first layer asks itself and those beside it"
    assert not any("in vain" in one.reason for one in pruned.unpruned)


def test_widths_that_were_read_off_tensors_are_right() -> None:
    layer = _Alike()
    found = [next(iter(change)).text for change in own_changes(layer, ("", "a", "b"), {WIDTH: 8}) if len(change) == 1]
    assert found == [f"number{number}" for number in range(TRIED)]
    layer.a.out_features = 2 * WIDTH
    changes = list(own_changes(layer, ("a",), {2 * WIDTH: WIDTH}))
    assert [next(iter(change)).text for change in changes] == ["out_features"], "it is not what the weight says"


def test_what_helped_once_in_a_line_is_tried_first_and_costs_nothing() -> None:
    call: Any = SimpleNamespace(location="net.py:7", name="aten.view", module="body")
    divergence: Any = SimpleNamespace(call=call, wanted=[], found="another")
    tries = Tries(left=3)
    changes = [_change("first"), _change("first"), _change("second"), _change("third")]
    asked = []
    for change in tries.ordered(divergence, changes):
        asked.append(change)
        if change == changes[2]:
            tries.keep(call, change)
            break
    assert asked == [changes[0], changes[2]], "each once"
    assert tries.left == 2, "one was in vain"
    assert list(tries.ordered(divergence, changes)) == [changes[2], changes[0], changes[3]]
    assert tries.left == 0
    assert list(tries.ordered(divergence, changes)) == [changes[2]]
