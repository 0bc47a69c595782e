"""Whether what a model's code reads by values could be other values once channels are gone."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn

import sapwood
from sapwood import Target
from sapwood.removal import planner


class _Asks(nn.Module):
    """Goes on as what ``asked`` makes of its input and of a hidden layer says."""

    def __init__(self, asked: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(4, 16), nn.Linear(16, 3)
        self.asked = asked

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.up(x)
        return self.down(hidden.relu() if bool(self.asked(x, hidden)) else hidden.sigmoid())


def _copied(x: Tensor, hidden: Tensor) -> Tensor:
    del hidden
    return x.clone().mul_(2.0).sum() > 0


def _converted(x: Tensor, hidden: Tensor) -> Tensor:
    return (x > 0).any() & (hidden.to(torch.float64).sum().detach() == hidden.sum()).logical_or(torch.tensor(True))


def _into_a_view(x: Tensor, hidden: Tensor) -> Tensor:
    table = torch.zeros(2, 16)
    table[0].copy_(hidden[0])
    return table.sum() > 0 if len(x) else table.any()


CASES: list[tuple[Callable[[Tensor, Tensor], Tensor], bool]] = [
    (lambda x, hidden: x.sum() > 0, True),
    (_copied, True),
    (lambda x, hidden: torch.arange(3).sum() > 2, True),
    (lambda x, hidden: hidden.sum() > 0, False),
    (lambda x, hidden: x.sum() > hidden.sum(), False),
    (_converted, False),
    (_into_a_view, False),
    (lambda x, hidden: torch.rand(1) > 0.5, False),
]


@pytest.mark.parametrize(("asked", "settled"), CASES)
def test_what_follows_from_inputs_and_numbers_alone_follows_from_no_channel(
    asked: Callable[[Tensor, Tensor], Tensor], settled: bool
) -> None:
    graph = sapwood.trace(_Asks(asked), torch.ones(2, 4))
    assert (graph.reads_values, graph.is_settled) == (True, settled)


def test_a_conversion_to_a_floating_type_chooses_nothing() -> None:
    class Converted(_Asks):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).to(torch.float64)

    assert sapwood.trace(Converted(lambda x, hidden: x.sum() > 0), torch.ones(2, 4)).is_settled


@pytest.mark.parametrize(("asked", "again"), [(CASES[0][0], 0), (CASES[3][0], 1)])
def test_only_what_follows_from_channels_is_recorded_again(
    asked: Callable[[Tensor, Tensor], Tensor], again: int
) -> None:
    with patch.object(planner, "_as_if_removed", wraps=planner._as_if_removed) as recorded:
        pruned = sapwood.prune(_Asks(asked).eval(), torch.ones(2, 4), target=Target(sparsity=0.5))
    assert (pruned.model.up.out_features, recorded.call_count) == (8, again)
