"""Transformers on the engine: tokens are the places of a map, features its channels, and nothing goes to PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapwood.errors import EngineError
from sapwood.runtime import compile as compile_model
from sapwood.runtime import load
from sapwood.runtime.engine.compiled import CompiledModel

pytestmark = pytest.mark.usefixtures("engine")

ISAS = ("avx512", "avx2", "scalar")
CLOSE = 1e-4


def compiled(model: nn.Module, *inputs: Tensor, threads: int = 1) -> CompiledModel:
    """Compiled, all of it by the engine, and right for the inputs and a batch of two."""
    model.eval()
    found = compile_model(model, inputs, threads=threads, tune=False)
    assert [str(call.op) for call in found.outside] == []
    assert sum(step.kind == "pack" for step in found.steps) == len(inputs)
    check(model, found, *inputs)
    check(model, found, *(torch.cat([one, one.flip(1)]) for one in inputs))
    return found


def check(model: nn.Module, found: CompiledModel, *inputs: Tensor) -> None:
    with torch.no_grad():
        ours, theirs = found(*inputs), model(*inputs)
    for one, other in zip(*([given] if isinstance(given, Tensor) else given for given in (ours, theirs)), strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, rtol=CLOSE, atol=CLOSE * float(other.abs().max()), equal_nan=True)


class Attention(nn.Module):
    """Self-attention of heads that stand side by side; ``form`` says how it is written."""

    def __init__(self, heads: int, depth: int, form: str = "sdpa", groups: int | None = None) -> None:
        super().__init__()
        self.heads, self.depth, self.form, self.groups = heads, depth, form, groups or heads
        width = heads * depth
        self.q, self.proj = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.k, self.v = (nn.Linear(width, self.groups * depth) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        q, k, v = (layer(x).view(batch, tokens, -1, self.depth).transpose(1, 2) for layer in (self.q, self.k, self.v))
        if self.groups != self.heads:
            repeats = self.heads // self.groups
            k, v = (
                one[:, :, None].expand(-1, -1, repeats, -1, -1).reshape(batch, self.heads, tokens, self.depth)
                for one in (k, v)
            )
        out = FORMS[self.form](q, k, v).transpose(1, 2).reshape(batch, tokens, -1)
        return self.proj(out)


def plain(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(-1) @ v


def hidden(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    later = torch.ones(q.shape[-2], k.shape[-2]).triu(1).bool()
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    return F.softmax(scores.masked_fill(later, float("-inf")), -1) @ v


def chosen(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    sooner = torch.ones(q.shape[-2], k.shape[-2]).tril().bool()
    return torch.where(sooner, q @ k.transpose(-2, -1), -1e9).softmax(-1) @ v


def far(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """ALiBi's: a number for each head and pair of places."""
    away = -(torch.arange(q.shape[-2])[:, None] - torch.arange(k.shape[-2])).abs().float()
    mask = away * torch.arange(1, q.shape[1] + 1).view(-1, 1, 1) / 8
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def sums(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.einsum("bhij,bhjd->bhid", torch.einsum("bhid,bhjd->bhij", q, k).softmax(-1), v)


FORMS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "sdpa": F.scaled_dot_product_attention,
    "causal": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
    "scaled": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=0.7),
    "plain": plain,
    "hidden": hidden,
    "chosen": chosen,
    "far": far,
    "sums": sums,
}


class Block(nn.Module):
    """Of a ViT: queries, keys and values from one layer, and a residual sum around each half."""

    def __init__(self, heads: int, depth: int, act: nn.Module) -> None:
        super().__init__()
        width = heads * depth
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width, eps=1e-3, elementwise_affine=False)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.gain = nn.Parameter(torch.rand(width))
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width + 1), act, nn.Linear(2 * width + 1, width))

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width)
        x = x + self.gain * self.proj(out)
        return x + self.mlp(self.norm2(x))


class Patches(nn.Module):
    """A small ViT: patches, a class token, places, blocks, and a head over the class token and the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 15, 4, stride=4)
        self.token, self.places = nn.Parameter(torch.randn(1, 1, 15)), nn.Parameter(torch.randn(1, 13, 15))
        self.blocks = nn.Sequential(Block(3, 5, nn.GELU()), Block(3, 5, nn.GELU(approximate="tanh")))
        self.norm, self.head = nn.LayerNorm(15), nn.Linear(15, 7)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.places
        x = self.norm(self.blocks(x))
        return self.head(x[:, 0]), self.head(x.mean(1)), x


@pytest.mark.parametrize("isa", ISAS, indirect=True)
@pytest.mark.parametrize(("tokens", "heads", "depth"), [(1, 2, 5), (3, 3, 4), (197, 2, 7), (33, 1, 16), (80, 5, 3)])
def test_a_block(isa: str, tokens: int, heads: int, depth: int) -> None:
    torch.manual_seed(tokens)
    compiled(Block(heads, depth, nn.GELU()), torch.randn(1, tokens, heads * depth), threads=1 + tokens % 2)


@pytest.mark.parametrize("isa", ISAS, indirect=True)
def test_a_vision_transformer(isa: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = Patches(), torch.randn(1, 3, 12, 16)
    found = compiled(model, x, threads=2)
    check(model, load(found.save(tmp_path / "net"), threads=1, tune=False), x)


@pytest.mark.parametrize("isa", ISAS, indirect=True)
@pytest.mark.parametrize("form", FORMS)
def test_ways_to_write_attention(isa: str, form: str) -> None:
    torch.manual_seed(1)
    found = compiled(Attention(3, 6, form), torch.randn(1, 37, 18))
    assert [step.kind for step in found.steps].count("attention") == 1


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("form", ["sdpa", "plain", "far"])
def test_heads_that_share_keys(groups: int, form: str) -> None:
    found = compiled(Attention(4, 3, form, groups), torch.randn(1, 9, 12))
    kinds = [step.kind for step in found.steps]
    assert kinds.count("attention") == 1
    assert kinds.count("other order") == 2  # of the input and of the output


class Interleaved(nn.Module):
    """A head's queries, keys and values stand together."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(12, 36)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        q, k, v = self.qkv(x).view(batch, tokens, 3, 12).transpose(1, 2).chunk(3, -1)
        return F.scaled_dot_product_attention(q, k, 2.5 * v).transpose(1, 2).reshape(batch, tokens, 12)


def test_heads_of_queries_keys_and_values_together() -> None:
    found = compiled(Interleaved(), torch.randn(1, 21, 12))
    assert [step.kind for step in found.steps].count("other order") == 2  # of the input and of the output


class Crossed(nn.Module):
    """Tokens that look at others, of which a mask of the caller's hides some."""

    def forward(self, x: Tensor, other: Tensor, mask: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, other[..., :4], other[..., 4:], attn_mask=mask)


@pytest.mark.parametrize("shape", [(1, 1, 1, 6), (1, 1, 11, 6), (1, 3, 11, 6)])
@pytest.mark.parametrize("isa", ISAS, indirect=True)
def test_masks_that_are_computed(isa: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(2)
    mask = torch.randn(shape).masked_fill(torch.rand(shape) < 0.5, float("-inf"))
    mask[..., -1, :] = float("-inf")  # sees nothing
    compiled(Crossed(), torch.randn(1, 3, 11, 4), torch.randn(1, 3, 6, 7), mask)


class Words(nn.Module):
    """An encoder's beginning: rows of three tables, and the first token's at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.kinds, self.places = nn.Embedding(50, 12), nn.Embedding(2, 12), nn.Embedding(9, 12)
        self.norm, self.attention, self.pool = nn.LayerNorm(12), Attention(2, 6), nn.Linear(12, 5)

    def forward(self, words: Tensor, kinds: Tensor) -> tuple[Tensor, Tensor]:
        x = self.words(words) + self.kinds(kinds) + self.places(torch.arange(words.shape[1])[None])
        x = self.norm(self.attention(self.norm(x)) + x)
        return x, self.pool(x[:, 0]).tanh()


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_an_encoder_of_words(dtype: torch.dtype, tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = Words()
    given = torch.randint(0, 50, (1, 9), dtype=dtype), torch.randint(0, 2, (1, 9), dtype=dtype)
    found = compiled(model, *given)
    loaded = load(found.save(tmp_path / "net"), threads=1, tune=False)
    check(model, loaded, *given)
    assert any("embedding" in line for line in found.explain().splitlines())
    assert any("embedding" in line for line in loaded.explain(*given).splitlines())
    for wrong in (50, -1):
        given[0][0, 4] = wrong
        with pytest.raises(EngineError, match=r"^index out of range: an embedding was asked for a row"):
            found(*given)
    given[0][0, 4] = 49
    check(model, found, *given)


class Applied(nn.Module):
    """A function of tokens, between layers that keep them in the engine."""

    def __init__(self, function: Callable[[Tensor], Tensor], width: int = 8) -> None:
        super().__init__()
        self.first, self.function, self.last = nn.Linear(6, 8), function, nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(self.first(x)))


KNOWN = torch.linspace(-2.0, 2.0, 40).view(1, 5, 8)
FUNCTIONS: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "a gate": (lambda x: F.silu(x[..., :4]) * x[..., 4:], 4),
    "halves": (lambda x: torch.cat(x.chunk(2, -1)[::-1], -1), 8),
    "known numbers": (lambda x: x * KNOWN + KNOWN[:, :1] - KNOWN / 3.0, 8),
    "numbers": (lambda x: -(x * 3.0 - 1.0) / 4.0, 8),
    "as a map": (lambda x: x.transpose(1, 2).reshape(len(x), 8, 5, 1).relu().flatten(2).transpose(1, 2), 8),
    "tokens among themselves": (lambda x: F.linear(x.transpose(1, 2), KNOWN[0, :, :5]).transpose(1, 2), 8),
    "later tokens first": (lambda x: torch.cat([x[:, 3:], x[:, :3]], 1), 8),
    "a sum of both orders": (lambda x: x + x.reshape(len(x), 8, 5).transpose(1, 2), 8),
    "of one token": (lambda x: x * x[:, 1:2], 8),
    "flat": (lambda x: x.reshape(-1, 8).tanh().view(len(x), 5, 8), 8),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_done_to_tokens(name: str) -> None:
    torch.manual_seed(4)
    model = Applied(*FUNCTIONS[name]).eval()
    x = torch.randn(1, 5, 6)
    found = compile_model(model, x, threads=1, tune=False)
    assert [str(call.op) for call in found.outside] == []
    check(model, found, x)


class Encoded(nn.Module):
    """PyTorch's own layer of a transformer, on patches."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, activation="gelu")
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


@pytest.mark.parametrize("first", [False, True])
def test_pytorchs_own_layer(first: bool) -> None:
    torch.manual_seed(7)
    model = Encoded()
    model.layer.norm_first = first
    compiled(model, torch.randn(1, 3, 8, 12))


class Rms(nn.Module):
    """As Llama's code has it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(8))

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-4)).to(x.dtype)


@pytest.mark.parametrize("norm", [nn.RMSNorm(8), nn.RMSNorm(8, elementwise_affine=False), Rms()])
def test_norms_that_are_not_centred(norm: nn.Module) -> None:
    torch.manual_seed(6)
    found = compiled(Applied(norm), torch.randn(1, 5, 6))
    assert [step.kind for step in found.steps] == [
        "pack", "other order", "convolution", "norm", "convolution", "other order", "unpack"
    ]  # fmt: skip


def test_squares_of_which_no_norm_is_made() -> None:
    model, x = Applied(lambda x: x.pow(2) * x.pow(2).mean(-1, keepdim=True)).eval(), torch.randn(1, 5, 6)
    found = compile_model(model, x, threads=1, tune=False)
    assert "aten.pow.Tensor_Scalar" in {str(call.op) for call in found.outside}
    check(model, found, x)


class Loose(nn.Module):
    """Products that no softmax follows, and one whose shares are returned."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.layer, self.kind = nn.Linear(6, 6), kind

    def forward(self, x: Tensor) -> Any:
        x = self.layer(x)
        scores = 0.5 * (x @ x.transpose(1, 2))
        if self.kind == "linear":
            return self.layer(scores @ x)
        shares = scores.softmax(-1)
        return self.layer(shares @ x), shares


@pytest.mark.parametrize("kind", ["linear", "returned"])
def test_products_that_are_not_attentions(kind: str) -> None:
    """PyTorch computes them, from what the engine has made."""
    torch.manual_seed(5)
    model, x = Loose(kind).eval(), torch.randn(1, 5, 6)
    found = compile_model(model, x, threads=1, tune=False)
    assert "aten.bmm.default" in {str(call.op) for call in found.outside}
    check(model, found, x)
