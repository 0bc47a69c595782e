"""Parts of a map that stand at its beginning: they are in order like the whole, and are not the whole."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapwood.runtime import compile as compile_model

pytestmark = pytest.mark.usefixtures("engine")

Three = tuple[Tensor, Tensor, Tensor]


def heads_of(x: Tensor, heads: int) -> Tensor:
    return x.view(*x.shape[:2], heads, -1).transpose(1, 2)


def permuted(qkv: Tensor, heads: int) -> Three:
    query, key, value = qkv.view(*qkv.shape[:2], 3, heads, -1).permute(2, 0, 3, 1, 4)
    return query, key, value


def unbound(qkv: Tensor, heads: int) -> Three:
    query, key, value = qkv.view(*qkv.shape[:2], 3, heads, -1).transpose(1, 3).unbind(2)
    return query, key, value


def chunked(qkv: Tensor, heads: int) -> Three:
    query, key, value = (heads_of(one, heads) for one in qkv.chunk(3, -1))
    return query, key, value


def sliced(qkv: Tensor, heads: int) -> Three:
    width = qkv.shape[-1] // 3
    query, key, value = (heads_of(qkv[..., first : first + width], heads) for first in (0, width, 2 * width))
    return query, key, value


def together(qkv: Tensor, heads: int) -> Three:
    """A head's three stand side by side."""
    query, key, value = heads_of(qkv, heads).chunk(3, -1)
    return query, key, value


def shares(query: Tensor, key: Tensor) -> Tensor:
    return (query @ key.transpose(-1, -2)).softmax(-1)


WAYS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "attention": F.scaled_dot_product_attention,
    "written out": lambda query, key, value: shares(query, key) @ value,
    "by PyTorch": lambda query, key, value: shares(query.sin(), key.sin()) @ value.sin(),
    "products by PyTorch": lambda query, key, value: (query @ key.transpose(-1, -2)).cumsum(-1) @ value,
}


class Fused(nn.Module):
    """Attention whose queries, keys and values come from one layer, between layers that the engine has."""

    def __init__(self, form: Callable[[Tensor, int], Three], way: str, heads: int) -> None:
        super().__init__()
        self.form, self.way, self.heads = form, way, heads
        self.ahead, self.back = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        three = self.form(self.ahead(x), self.heads)
        return self.back(WAYS[self.way](*three).transpose(1, 2).reshape(x.shape)), *three


@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("heads", [1, 2, 8])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("form", [permuted, unbound, chunked, sliced, together])
def test_queries_keys_and_values_of_one_layer(
    form: Callable[[Tensor, int], Three], way: str, heads: int, length: int
) -> None:
    torch.manual_seed(length)
    model = Fused(form, way, heads).eval()
    ours = compile_model(model, torch.randn(1, length, 8), threads=1, tune=False)
    for batch in (1, 3):
        x = torch.randn(batch, length, 8)
        with torch.no_grad():
            wanted = model(x)
        for one, other in zip(ours(x), wanted, strict=True):
            assert one.shape == other.shape
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


PARTS: dict[str, Callable[[Tensor], Tensor]] = {
    "the first channels": lambda x: x[:, :2],
    "the first of several": lambda x: x.split([1, 3], 1)[0],
    "the first chunk": lambda x: x.chunk(2, 1)[0],
    "one channel": lambda x: x[:, 0],
    "one channel, kept": lambda x: x[:, :1],
    "one of two": lambda x: x.unflatten(1, (2, 2))[:, 0],
    "the first rows": lambda x: x[:, :, :2],
    "the first numbers of the first channel": lambda x: x[:, 0, 0],
    "all but the last channel": lambda x: x[:, :-1],
}


class Part(nn.Module):
    """A part of a map, returned, read by PyTorch and read by the engine."""

    def __init__(self, part: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.part = nn.Conv2d(2, 4, 1), part

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        part = self.part(self.conv(x))
        return part, part.sin(), part.relu(), part * 2.0, part.flatten(1).cumsum(1)


@pytest.mark.parametrize("part", PARTS.values(), ids=list(PARTS))
@pytest.mark.parametrize("size", [(1, 1), (1, 3), (3, 2)])
def test_parts_at_the_beginning(part: Callable[[Tensor], Tensor], size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = Part(part).eval()
    ours = compile_model(model, torch.randn(1, 2, *size), threads=1, tune=False)
    for batch in (1, 3):
        x = torch.randn(batch, 2, *size)
        with torch.no_grad():
            wanted = model(x)
        for one, other in zip(ours(x), wanted, strict=True):
            assert one.shape == other.shape
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
