"""Widths that code makes of each other lose the same share: attention that cuts its width by heads."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import sapwood
from sapwood import Limits, Target, prune
from sapwood.graph import without_values
from sapwood.pipeline import Pruned
from sapwood.removal.constraints import Constraints
from sapwood.removal.proportions import _of_peers
from sapwood.removal.widths_behind import Width
from support.probes import Net
from support.silencing import silenced

HEADS = 4
WIDTH = 32


def stem(**parts: nn.Module) -> dict[str, nn.Module]:
    return {"i": nn.Linear(6, WIDTH), "j": nn.Linear(6, WIDTH), "head": nn.Linear(WIDTH, 3), **parts}


def multihead(call: Callable[[Any, Tensor, Tensor], Tensor]) -> Callable[[], nn.Module]:
    """A network around one ``nn.MultiheadAttention``."""
    attention = lambda: nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)  # noqa: E731
    return lambda: Net(lambda m, x: m.head(call(m, m.i(x), m.j(x))), **stem(a=attention(), p=nn.Embedding(5, WIDTH)))


def own_attention() -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        x = m.i(x)
        b, n, c = x.shape
        q, k, v = m.qkv(x).reshape(b, n, 3, HEADS, c // HEADS).permute(2, 0, 3, 1, 4)
        y = (q * (c // HEADS) ** -0.5 @ k.mT).softmax(-1) @ v
        return m.head(x + m.out(y.transpose(1, 2).reshape(b, n, c)))

    return Net(
        run,
        i=nn.Linear(6, WIDTH),
        qkv=nn.Linear(WIDTH, 3 * WIDTH),
        out=nn.Linear(WIDTH, WIDTH),
        head=nn.Linear(WIDTH, 3),
    )


def positions(m: Any) -> Tensor:
    return m.p(torch.arange(5))


def decoder() -> nn.Module:
    layer = nn.TransformerDecoderLayer(WIDTH, HEADS, 48, batch_first=True)
    return Net(lambda m, x: m.head(m.a(m.i(x), m.j(x))), **stem(a=nn.TransformerDecoder(layer, 2)))


def transformer() -> nn.Module:
    whole = nn.Transformer(WIDTH, HEADS, 1, 1, 48, batch_first=True)
    return Net(lambda m, x: m.head(m.a(m.i(x), m.j(x))), **stem(a=whole))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "own": own_attention,
    "one tensor": multihead(lambda m, x, y: x + m.a(x, x, x)[0]),
    "query apart": multihead(lambda m, x, y: m.a(y, x, x)[0]),
    "detr": multihead(lambda m, x, y: y + m.a(y + positions(m), x + positions(m), x, need_weights=False)[0]),
    "decoder": decoder,
    "transformer": transformer,
}


def inputs() -> Tensor:
    return torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(1))


def num_params(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def pruned_by(name: str, target: Target, **options: Any) -> tuple[nn.Module, Pruned]:
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    return model, prune(model, inputs(), target=target, **options)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("target", [Target(sparsity=0.3), Target(macs=0.5)], ids=["sparsity", "macs"])
def test_every_target_prunes_them(name: str, target: Target) -> None:
    model, pruned = pruned_by(name, target)
    assert num_params(pruned.model) < 0.65 * num_params(model)
    assert not [entry for entry in pruned.unpruned if "no attribute explains" in entry.reason]
    small = copy.deepcopy(pruned.model).double()
    with torch.no_grad():  # the fused path of nn.MultiheadAttention, too
        result, quick = small.train(False)(inputs().double()), pruned.model(inputs())
    torch.testing.assert_close(quick, result.float(), atol=1e-4, rtol=1e-4)
    if not any(isinstance(module, nn.LayerNorm) for module in model.modules()):
        torch.testing.assert_close(result, silenced(model, pruned.plan)(inputs().double()), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("allocator", ["global", "knapsack", "uniform"])
def test_every_allocator_keeps_one_share(allocator: str) -> None:
    _, pruned = pruned_by("query apart", Target(params=0.5), allocator=allocator)
    rows, width = pruned.model.a.in_proj_weight.shape
    assert rows == 3 * width
    assert width % HEADS == 0
    assert width < WIDTH


def test_only_the_pieces_of_query_and_key_are_scaled() -> None:
    """They are rows of one parameter; together they undo what the narrower heads do to the temperature."""
    model, pruned = pruned_by("detr", Target(sparsity=0.5))
    factors = torch.ones(3 * WIDTH)
    for scale in pruned.plan.rescales:
        if scale.tensor == "a.in_proj_weight":
            factors[list(scale.rows)] *= scale.factor
    query, key, value = factors.chunk(3)
    assert torch.equal(value, torch.ones(WIDTH))
    torch.testing.assert_close(query * key, torch.full((WIDTH,), 0.5**0.5))
    kept = {(cut.tensor, cut.dim): list(cut.kept) for cut in pruned.plan.cuts}
    wanted = (model.a.in_proj_weight * factors[:, None])[kept["a.in_proj_weight", 0]][:, kept["a.in_proj_weight", 1]]
    torch.testing.assert_close(pruned.model.a.in_proj_weight, wanted)


def test_it_trains_a_step_and_comes_back_from_disk(tmp_path: Path) -> None:
    _, pruned = pruned_by("decoder", Target(macs=0.5))
    sapwood.save(pruned, tmp_path / "small")
    again = sapwood.load(tmp_path / "small", decoder())
    with torch.no_grad():
        assert torch.equal(again(inputs()), pruned.model(inputs()))
    pruned.model.train()(inputs()).square().mean().backward()
    assert all(parameter.grad is not None for parameter in pruned.model.parameters())


def test_modules_of_a_class_are_mended_in_one_round(monkeypatch: pytest.MonkeyPatch) -> None:
    met = []
    add = Constraints.add

    def counted(self: Constraints, graph: Any, obstacle: Any) -> bool:
        met.append(obstacle.reason)
        return add(self, graph, obstacle)

    monkeypatch.setattr(Constraints, "add", counted)
    pruned_by("decoder", Target(sparsity=0.3))
    assert len(met) <= 2, met


def cross_attention(make: Callable[[Tensor], Any]) -> nn.Module:
    """Attention whose three weights are pieces of one parameter."""

    def run(m: Any, x: Tensor) -> Tensor:
        y, x = m.j(x), m.i(x)
        b, n, _ = x.shape
        weights, biases = make(m.a.weight), make(m.a.bias)
        pieces = zip((y, x, x), weights, biases, strict=True)
        q, k, v = (F.linear(*own).view(b, n, HEADS, -1).transpose(1, 2) for own in pieces)
        a = (q @ k.mT / k.shape[-1] ** 0.5).softmax(-1) @ v
        return m.head(y + m.out(a.transpose(1, 2).reshape(b, n, -1)))

    return Net(run, **stem(a=nn.Linear(WIDTH, 3 * WIDTH), out=nn.Linear(WIDTH, WIDTH)))


def third(tensor: Tensor) -> int:
    return tensor.shape[0] // 3


PIECES: dict[str, Callable[[Tensor], Any]] = {
    "chunk": lambda t: t.chunk(3),
    "split": lambda t: t.split([third(t)] * 3),
    "slice": lambda t: [t[number * third(t) : (number + 1) * third(t)] for number in range(3)],
    "narrow": lambda t: [t.narrow(0, number * third(t), third(t)) for number in range(3)],
    "unbind": lambda t: t.unflatten(0, (3, -1)).unbind(0),
    "select": lambda t: [t.view(3, third(t), *t.shape[1:])[number] for number in range(3)],
}


@pytest.mark.parametrize("name", PIECES)
def test_a_scale_finds_the_rows_of_a_piece(name: str) -> None:
    torch.manual_seed(0)
    model = cross_attention(PIECES[name]).eval()
    pruned = prune(model, inputs(), target=Target(sparsity=0.5))
    assert not [entry for entry in pruned.unpruned if "its scale follows" in entry.reason]
    assert pruned.plan.rescales
    assert {row < WIDTH for scale in pruned.plan.rescales for row in scale.rows} == {True}
    result = copy.deepcopy(pruned.model).double()(inputs().double())
    torch.testing.assert_close(result, silenced(model, pruned.plan)(inputs().double()), atol=1e-6, rtol=1e-6)


def test_what_has_no_smaller_width_in_common_is_named() -> None:
    _, pruned = pruned_by("own", Target(sparsity=0.3), limits=Limits(round_to=8))
    reasons = {entry.tensor: entry.reason for entry in pruned.unpruned}
    assert "the same share of" in reasons["qkv.weight"]
    assert pruned.model.qkv.weight.shape == (3 * WIDTH, WIDTH)


@pytest.mark.parametrize("width", [24, 25, 32])
def test_a_width_that_is_written_down_is_still_held_alone(width: int) -> None:
    """Where the same share does not help, or would be all, nothing is tied for it."""

    def run(m: Any, x: Tensor) -> Tensor:
        return m.head(m.b(m.a(m.i(x)).view(-1, 5, width)).relu())

    torch.manual_seed(0)
    parts = {"a": nn.Linear(WIDTH, width), "b": nn.Linear(width, WIDTH)}
    model = Net(run, i=nn.Linear(6, WIDTH), head=nn.Linear(WIDTH, 3), **parts).eval()
    pruned = prune(model, inputs(), target=Target(macs=0.6))
    assert pruned.model.a.weight.shape[0] == width
    assert pruned.model.i.weight.shape[0] < WIDTH
    assert pruned.model.b.weight.shape[0] < WIDTH
    assert any("no attribute explains" in entry.reason for entry in pruned.unpruned)


class Rows(nn.Module):
    """Attention over the last dimension, its three products from one convolution, with a bias or without."""

    def __init__(self, *, bias: bool) -> None:
        super().__init__()
        self.qkv = nn.Conv1d(WIDTH, 3 * WIDTH, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        b, c, n = x.shape
        q, k, v = self.qkv(x).reshape(b, 3, HEADS, c // HEADS, n).unbind(1)
        return x + (v @ (q.mT @ k).softmax(-1)).reshape(b, c, n)


def test_layers_of_a_class_may_read_more_or_fewer_tensors() -> None:
    """What is learned at one is asked of the others where they have the same dimensions."""
    blocks = [Rows(bias=True), Rows(bias=False), Rows(bias=True)]
    structure = without_values(nn.Sequential(*blocks), torch.randn(2, WIDTH, 5, dtype=torch.float64))
    assert structure is not None
    first, _, third = (call for call in structure.graph.calls if call.facts.is_convolution)
    made = Width(first, len(first.tensor_inputs()), 1)
    assert list(_of_peers(structure, first, [made])) == [(Width(third, made.number, 1),)]
