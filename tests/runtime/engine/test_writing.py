"""Models that write into a part of a tensor: who reads it before or after, by any name, reads what PyTorch does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves

from sapwood.errors import EngineError
from sapwood.runtime.engine import compile as compile_model
from sapwood.runtime.engine import load

pytestmark = pytest.mark.usefixtures("engine")


class Writing(nn.Module):
    """A convolution, what a function does to its result, and a convolution behind that."""

    def __init__(self, write: Any) -> None:
        super().__init__()
        self.before, self.behind, self.write = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 1), write

    def forward(self, x: Tensor) -> Any:
        found = self.write(self.before(x))
        return (self.behind(found[0]), *found)


def filled(y: Tensor) -> tuple[Tensor, ...]:
    """Into what does not depend on the input."""
    canvas = y.new_zeros(y.shape)
    canvas[:, 1:3] = y[:, :2]
    return canvas, y


def read_before(y: Tensor) -> tuple[Tensor, ...]:
    """The whole and parts of it, before and after."""
    half, double = y[:, :2], 2.0 * y
    other = half + 1.0
    half.mul_(3.0)
    return y, double, other, half + 1.0


def seen_twice(y: Tensor) -> tuple[Tensor, ...]:
    """Views that overlap, and were there before."""
    rows, columns = y[:, :, 2:5], y[:, :, :, 1:3]
    inner = rows[:, :, 1:]
    before = columns.sum(3)
    inner.add_(1.0)
    return y, rows, columns, before, inner


def within_others(y: Tensor) -> tuple[Tensor, ...]:
    """A row of some columns, in steps, in other orders of dimensions."""
    turned = y.permute(0, 2, 3, 1)
    turned[:, 1, ::2].relu_()
    flat = y.flatten(2)
    flat.transpose(1, 2)[:, 5:9].sub_(2.0)
    y.unsqueeze(1)[:, 0, 3].fill_(0.5)
    return y, turned, flat


def whole(y: Tensor) -> tuple[Tensor, ...]:
    """The whole, with a part of it read later."""
    part = y[:, 1:]
    y.relu_()
    part.diagonal(0, 2, 3).zero_()
    return y, part


def in_turns(y: Tensor) -> tuple[Tensor, ...]:
    """Each of several writes reads what the one before has written."""
    for row in range(1, 4):
        y[:, :, row] += y[:, :, row - 1]
    return (y,)


WRITES = [filled, read_before, seen_twice, within_others, whole, in_turns]


def check(model: nn.Module, picture: Tensor) -> Any:
    compiled = compile_model(model.eval(), picture.clone(), threads=1)
    with torch.no_grad():
        wanted = tree_leaves(model(picture.clone()))
        for one, other in zip(tree_leaves(compiled(picture.clone())), wanted, strict=True):
            assert one.shape == other.shape
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    return compiled


@pytest.mark.parametrize("write", WRITES)
def test_what_is_written_into_a_part(write: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, picture = Writing(write), torch.randn(1, 3, 6, 8)
    compiled = check(model, picture)
    again = load(compiled.save(tmp_path / "saved"), threads=1)
    for one, other in zip(compiled(picture), again(picture), strict=True):
        torch.testing.assert_close(one, other)
    pictures = torch.randn(3, 3, 6, 8)  # one after the other: nothing is left of the one before
    for one, other in zip(compiled(pictures), model(pictures), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kernel", [3, 5])
def test_circular_padding_runs_in_pytorch(kernel: int) -> None:
    circular = nn.Conv2d(4, 5, kernel, padding=kernel // 2, padding_mode="circular")
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), circular, nn.ReLU(), nn.Conv2d(5, 2, 1))
    compiled = check(model, torch.randn(1, 3, 9, 11))
    told = compiled.explain()
    assert re.search(r"in PyTorch: aten.copy_ in module '2'.*: there is no such operation in it", told)
    assert [step.label for step in compiled.steps if step.kind.startswith("convolution")] == ["0", "2", "4"]


def test_each_compiling_of_memory_as_it_was_found_is_the_same() -> None:
    model = Writing(lambda y: (F.pad(y, (1, 1, 1, 1), mode="circular"),)).eval()
    picture = torch.randn(1, 3, 6, 8)
    constants = [
        [one for node in compile_model(model, picture, threads=1).outside for one in node.args if torch.is_tensor(one)]
        for _ in range(2)
    ]
    assert constants[0]
    for one, other in zip(*constants, strict=True):
        assert torch.equal(one, other)


class Remembering(nn.Module):
    """Changes a part of its own buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("last", torch.zeros(1, 3, 6, 8))

    def forward(self, x: Tensor) -> Tensor:
        self.last[:, :2] = x[:, :2]
        return self.last + x


def halves(y: Tensor) -> tuple[Tensor, ...]:
    y.chunk(2, 1)[1].relu_()
    return (y,)


@pytest.mark.parametrize(("model", "why"), [
    (Remembering(), "which is the model's or waits"),
    (Writing(halves), "it is a part of it by aten.split"),
], ids=["a buffer", "halves"])  # fmt: skip
def test_what_cannot_be_put_back_is_named(model: nn.Module, why: str) -> None:
    with pytest.raises(EngineError, match=f"it changes a map in place that has another name, too.*{why}"):
        compile_model(model.eval(), torch.randn(1, 3, 6, 8), threads=1)
