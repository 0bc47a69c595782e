"""Runs that are compared call by call may differ in how their tensors lie in memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sapwood.graph import Replay, plain_kernels, trace
from sapwood.ops import Call, restrides

PICTURE = torch.rand(1, 3, 4, 4)
PLAIN, SIDE_BY_SIDE = PICTURE.contiguous(), PICTURE.to(memory_format=torch.channels_last)


class _Names(Replay):
    """Writes down what is called as it was recorded."""

    def __init__(self, calls: Any) -> None:
        super().__init__(calls)
        self.names: list[str] = []

    def make(self, call: Call, func: Any, args: Any, kwargs: Any) -> Any:
        self.names.append(call.name)
        return super().make(call, func, args, kwargs)


def pooled() -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.ReLU())


@pytest.mark.parametrize(("recorded", "run"), [(PLAIN, SIDE_BY_SIDE), (SIDE_BY_SIDE, PLAIN)])
def test_strides_of_single_positions_are_no_calls_that_count(recorded: Tensor, run: Tensor) -> None:
    model = pooled()
    graph = trace(model, recorded)
    restrided = [call for call in graph.calls if call.name == "aten.as_strided_"]
    assert bool(restrided) is (recorded is SIDE_BY_SIDE), "PyTorch tells the map's memory format this way"
    names = _Names(graph.calls)
    with plain_kernels(model), names:
        model(run)
    assert [name for name in names.names if name != "aten.as_strided_"] == ["aten.mean", "aten.relu"]


def test_another_look_at_memory_is_another_call() -> None:
    op, x = torch.ops.aten.as_strided_.default, torch.zeros(2, 3, 1)
    assert restrides(op, (x, (2, 3, 1), (3, 1, 7)))
    assert not restrides(op, (x, (2, 3, 1), (1, 2, 1)))
    assert not restrides(op, (x, (3, 2, 1), (2, 1, 1)))
    assert not restrides(torch.ops.aten.as_strided.default, (x, (2, 3, 1), (3, 1, 7)))
