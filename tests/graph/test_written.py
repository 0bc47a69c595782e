"""Parameters that a run writes to are known by name, and hold afterwards what they held before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sapwood.graph import trace
from support.probes import Net


def with_other_data(weight: Tensor) -> None:
    weight.data = weight.data * 0.5


WAYS: dict[str, Callable[[Any], Any]] = {
    "in place": lambda weight: weight.mul_(0.5),
    "behind the back of autograd": lambda weight: weight.data.mul_(0.5),
    "through a view": lambda weight: weight.data[0].zero_(),
    "by a list": lambda weight: torch._foreach_mul_([weight], 0.5),
    "with other data": with_other_data,
}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_written_is_named_and_put_back(way: str) -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        with torch.no_grad():
            WAYS[way](m.a.weight)
        return m.b(m.a(x))  # type: ignore[no-any-return]

    model = Net(run, a=nn.Linear(3, 4), b=nn.Linear(4, 2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    memory = model.a.weight.data_ptr()
    with torch.no_grad():
        graph = trace(model, torch.randn(5, 3))
    assert graph.written == {"a.weight"}
    assert model.a.weight.data_ptr() == memory
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_run_that_only_reads_writes_nothing() -> None:
    with torch.no_grad():
        assert trace(nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True)), torch.randn(5, 3)).written == frozenset()
