"""Operators that PyTorch keeps whole for its compiler: pruned as the calls that they are made of."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sapwood
from sapwood.errors import ConfigError
from sapwood.models import apply_plan
from sapwood.pipeline import Target, prune
from support.probes import Net
from support.silencing import silenced

pytestmark = [
    pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the compiler, when it is loaded
]

EXACT = 1e-12
"""Relative, in float64: a handful of layers, summed in another order."""


@torch.no_grad()
def difference(model: nn.Module, pruned: Any, x: Tensor) -> float:
    """How far what is pruned is from the dense model with the plan's cuts at zero, in float64."""
    small = apply_plan(copy.deepcopy(model).double(), pruned.plan)
    found, wanted = small(x.double()), silenced(model, pruned.plan)(x.double())
    return float((found - wanted).abs().max() / wanted.abs().max())


def attention(groups: int = 1) -> tuple[nn.Module, Tensor]:
    """Flexible attention with scores that fall with the distance, and a key for several queries."""
    flex = pytest.importorskip("torch.nn.attention.flex_attention").flex_attention

    def run(m: Any, x: Tensor) -> Any:
        x = m.i(x)
        b, t, c = x.shape
        q = m.q(x).view(b, t, m.heads, -1).transpose(1, 2)
        k, v = (layer(x).view(b, t, m.heads // m.groups, -1).transpose(1, 2) for layer in (m.k, m.v))
        y = flex(q, k, v, score_mod=lambda s, b, h, i, j: s - 0.1 * (i - j).abs(), scale=0.3, enable_gqa=m.groups > 1)
        return m.head(x + m.out(y.transpose(1, 2).reshape(b, t, c)))

    torch.manual_seed(0)
    keys = {name: nn.Linear(32, 32 // groups) for name in "kv"}
    parts = {"i": nn.Linear(6, 32), "q": nn.Linear(32, 32), **keys, "out": nn.Linear(32, 32), "head": nn.Linear(32, 3)}
    return Net(run, **parts, heads=2, groups=groups).eval(), torch.randn(2, 8, 6)


@torch.no_grad()
def test_flexible_attention_loses_half_of_every_head(tmp_path: Any) -> None:
    model, x = attention()
    pruned = prune(model, x, target=Target(sparsity=0.5))
    small: Any = pruned.model
    assert [small.get_submodule(name).weight.shape for name in ("i", "q", "k", "v", "out", "head")] == [
        (16, 6), (16, 16), (16, 16), (16, 16), (16, 16), (3, 16),
    ]  # fmt: skip
    assert difference(model, pruned, x) <= EXACT
    sapwood.save(pruned, tmp_path / "small")
    assert torch.equal(sapwood.load(tmp_path / "small", model=lambda: attention()[0])(x), small(x))


def test_flexible_attention_whose_keys_serve_several_queries_is_right() -> None:
    model, x = attention(groups=2)
    pruned = prune(model, x, target=Target(sparsity=0.5))
    assert pruned.model.i.weight.shape == (16, 6)
    assert difference(model, pruned, x) <= EXACT


def branches() -> tuple[nn.Module, Tensor]:
    """One of two layers, by a sum that only the run knows."""

    def run(m: Any, x: Tensor) -> Any:
        y = m.a(x).relu()
        return m.head(torch.cond(y.sum() > 0, lambda z: m.b(z).relu(), lambda z: m.c(z).tanh(), (y,)))

    torch.manual_seed(0)
    parts = {"a": nn.Linear(6, 32), "b": nn.Linear(32, 24), "c": nn.Linear(32, 24), "head": nn.Linear(24, 3)}
    return Net(run, **parts).eval(), torch.randn(4, 6)


@torch.no_grad()
def test_both_branches_lose_the_same() -> None:
    """The compiler looks at both, whichever is taken: what it is given has to fit both."""
    model, x = branches()
    pruned = prune(model, x, target=Target(sparsity=0.5))
    small: Any = pruned.model
    assert [small.get_submodule(name).weight.shape for name in ("a", "b", "c", "head")] == [
        (16, 6), (12, 16), (12, 16), (3, 12),
    ]  # fmt: skip
    assert difference(model, pruned, x) <= EXACT
    other = copy.deepcopy(small)
    other.a.bias.data.fill_(-10.0)  # the sum is zero, and the other branch is taken
    assert torch.allclose(other(x), other.head(torch.tanh(other.c(torch.zeros(4, 16)))))


def test_what_runs_only_whole_is_refused_by_name() -> None:
    scan = pytest.importorskip("torch._higher_order_ops.scan").scan

    def step(before: Tensor, now: Tensor) -> tuple[Tensor, Tensor]:
        after = torch.tanh(before + now)
        return after, after.clone()

    model = Net(
        lambda m, x: m.head(scan(step, torch.zeros_like(m.a(x)[0]), m.a(x))[1]), a=nn.Linear(6, 8), head=nn.Linear(8, 3)
    )
    with pytest.raises(ConfigError, match=r"^scan is an operator of PyTorch's compiler .* expected the same as a loop"):
        prune(model.eval(), torch.randn(5, 6), target=Target(sparsity=0.5))
