"""Layouts beside PyTorch's own views, of numbers that say where they stand."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from sapwood.runtime.engine import compile as compile_model
from sapwood.runtime.engine.layouts import TensorLayout


def elements(layout: TensorLayout) -> Tensor:
    """The value that each element is."""
    found = torch.full((1,) * len(layout.dims), layout.offset)
    for dim, factors in enumerate(layout.dims):
        places = torch.zeros(1, dtype=torch.int64)
        for size, stride in factors:
            places = (places[:, None] + stride * torch.arange(size)).reshape(-1)
        found = found + places.reshape([-1 if at == dim else 1 for at in range(len(layout.dims))])
    return found


def changed(draw: random.Random, tensor: Tensor, layout: TensorLayout) -> tuple[Tensor, TensorLayout | None]:
    """One more view of both; None where the layout does not say it."""
    dims = len(tensor.shape)
    dim = draw.randrange(dims)
    kind = draw.choice(["permute", "select", "narrow", "expand", "reshape", "split"])
    if kind == "permute":
        order = draw.sample(range(dims), dims)
        return tensor.permute(order), layout.permuted(order)
    if kind == "select" and dims > 1:
        index = draw.randrange(tensor.shape[dim])
        return tensor.select(dim, index), layout.selected(dim, index)
    if kind == "narrow":
        first = draw.randrange(tensor.shape[dim])
        step = draw.choice([1, 2])
        part = tensor[(slice(None),) * dim + (slice(first, None, step),)]
        return part, layout.narrowed(dim, first, part.shape[dim], step)
    if kind == "expand":
        shape = (2, *(3 if side == 1 else side for side in tensor.shape))
        return tensor.expand(shape), layout.expanded(shape)
    if kind == "reshape" and dims > 1:
        at = draw.randrange(dims - 1)
        shape = (*tensor.shape[:at], tensor.shape[at] * tensor.shape[at + 1], *tensor.shape[at + 2 :])
        return tensor.reshape(shape), layout.reshaped(shape)
    divisor = next((one for one in (2, 3) if tensor.shape[dim] % one == 0), 1)
    shape = (*tensor.shape[:dim], divisor, tensor.shape[dim] // divisor, *tensor.shape[dim + 1 :])
    return tensor.reshape(shape), layout.reshaped(shape)


@pytest.mark.parametrize("seed", range(40))
def test_every_view_is_pytorchs(seed: int) -> None:
    draw = random.Random(seed)
    shape = [draw.choice([1, 2, 3, 4, 6]) for _ in range(draw.randint(2, 4))]
    tensor, layout = torch.arange(math.prod(shape)).reshape(shape), TensorLayout.contiguous(shape)
    said = 0
    for _ in range(6):
        if tensor.numel() > 2000:
            break
        after, found = changed(draw, tensor, layout)
        if found is None:
            continue
        tensor, layout, said = after, found, said + 1
        assert layout.shape == tuple(tensor.shape)
        assert torch.equal(elements(layout), tensor)
        in_order = torch.equal(tensor.flatten(), torch.arange(tensor.numel()))
        assert layout.is_contiguous() == in_order
        assert layout.covers(math.prod(shape)) == (sorted(tensor.flatten().tolist()) == list(range(math.prod(shape))))
    assert said


def test_what_no_strides_say() -> None:
    turned = TensorLayout.contiguous((4, 6)).permuted((1, 0))
    assert turned.reshaped((4, 6)) is None
    assert turned.reshaped((24,)) is not None
    assert turned.reshaped((24,)).narrowed(0, 1, 5) is None  # type: ignore[union-attr]
    assert turned.reshaped((5, 5)) is None


FIRST: dict[str, Callable[[Tensor], Any]] = {
    "channels": lambda x: x[:, :2],
    "a channel, whole and in rows": lambda x: (x[:, :1], x[:, :1, :2]),
    "chunks": lambda x: x.chunk(3, 1),
    "a plane": lambda x: x.unbind(1)[0],
    "the last dimension": lambda x: x.permute(0, 2, 3, 1)[..., :2],
    "read by PyTorch": lambda x: torch.cumsum(x[:, :2], 1),
    "read by PyTorch and the engine": lambda x: (torch.cumsum(x[:, :2], 1), x[:, :2].relu(), x),
}


@pytest.mark.parametrize("take", FIRST.values(), ids=FIRST)
def test_the_first_values_of_a_map_are_not_all_of_it(take: Callable[[Tensor], Any], engine: None) -> None:
    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 6, 3)

        def forward(self, x: Tensor) -> Any:
            return take(self.conv(x))

    model, pictures = First().eval(), torch.randn(2, 3, 6, 7)
    compiled = compile_model(model, pictures[:1], threads=1, tune=False)
    with torch.no_grad():
        found, wanted = tree_leaves(compiled(pictures)), tree_leaves(model(pictures))
    assert [tuple(one.shape) for one in found] == [tuple(one.shape) for one in wanted]
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(found, wanted, strict=True))


class Turned(nn.Module):
    """A map in another order of its factors, read by a linear layer as rows of a width."""

    def __init__(self, factors: list[int], order: list[int], width: int, chosen: tuple[int, int] | None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, factors[0] * factors[1], 1)
        self.linear = nn.Linear(width, 5)
        self.factors, self.order, self.chosen = factors, order, chosen

    def forward(self, x: Tensor) -> Any:
        x = self.conv(x).reshape(1, *self.factors).permute(0, *(1 + one for one in self.order))
        x = x if self.chosen is None else x.select(*self.chosen)
        return self.linear(x.reshape(1, -1, self.linear.in_features))


def is_turned_right(model: Turned, size: tuple[int, int]) -> bool:
    """Whether the engine computes all of it, and as PyTorch does."""
    pictures = torch.randn(2, 3, *size)
    compiled = compile_model(model.eval(), pictures[:1], threads=1, tune=False)
    with torch.no_grad():
        found = torch.cat([compiled(picture[None]) for picture in pictures])
        wanted = torch.cat([model(picture[None]) for picture in pictures])
    return torch.allclose(found, wanted, atol=1e-5) and not compiled.outside


@pytest.mark.parametrize("seed", range(24))
def test_maps_in_any_order(seed: int, engine: None) -> None:
    draw = random.Random(seed)
    torch.manual_seed(seed)
    sides = [draw.choice([2, 4, 6]), draw.choice([4, 6, 8]), draw.choice([4, 6, 8])]
    divisors = [draw.choice([one for one in range(1, side + 1) if side % one == 0]) for side in sides]
    factors = [part for side, divisor in zip(sides, divisors, strict=True) for part in (divisor, side // divisor)]
    order = draw.sample(range(6), 6)
    sizes = [factors[one] for one in order]
    chosen = draw.choice([None, None, (dim := draw.randrange(6), draw.randrange(sizes[dim]))])
    if chosen is not None:
        sizes.pop(chosen[0])
        chosen = chosen[0] + 1, chosen[1]
    count = math.prod(sizes)
    width = draw.choice([one for one in range(1, count + 1) if count % one == 0])
    assert is_turned_right(Turned(factors, order, width, chosen), (sides[1], sides[2]))


def test_windows_of_a_map_as_tokens(engine: None) -> None:
    """MobileViT's order: four factors of places, of which one copy turns two at most."""
    assert is_turned_right(Turned([1, 6, 2, 2, 4, 2], [3, 5, 2, 4, 0, 1], 6, None), (4, 8))
