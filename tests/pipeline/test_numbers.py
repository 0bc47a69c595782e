"""Numbers in a model's own code that follow widths, are drawn at random, or have a type of their own."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

import sapwood
from sapwood.models import apply_plan
from support.probes import Net
from support.silencing import silenced

HALF = sapwood.Target(sparsity=0.5)

EXACT = 1e-12
"""Relative, in float64: a handful of layers, summed in another order."""


@contextmanager
def double() -> Iterator[None]:
    """Within it, code that makes tensors without a type makes float64, as the proof does."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@torch.no_grad()
def distance(model: nn.Module, plan: Any, x: Tensor) -> float:
    """How far the compact model is from the silenced dense one, both run without Sapwood."""
    with double():
        wanted = silenced(model, plan).eval()(x.double())
        found = apply_plan(copy.deepcopy(model).to(torch.float64), plan).eval()(x.double())
    return float((found - wanted).abs().max() / wanted.abs().max())


def share(model: nn.Module, pruned: Any) -> float:
    """Parameters that are left."""
    before, after = (sum(one.numel() for one in net.parameters()) for net in (model, pruned.model))
    return after / before


def trains(model: nn.Module, x: Tensor) -> bool:
    model.train()(x).square().mean().backward()
    return any(parameter.grad is not None and bool(parameter.grad.any()) for parameter in model.parameters())


def projections(heads: int = 2, **more: Any) -> dict[str, Any]:
    layers = {name: nn.Linear(16, 16) for name in "qkv"}
    return {"i": nn.Linear(8, 16), "o": nn.Linear(16, 4), "h": heads, **layers, **more}


def split(m: Any, x: Tensor) -> list[Tensor]:
    x = m.i(x)
    return [layer(x).view(*x.shape[:2], m.h, -1) for layer in (m.q, m.k, m.v)]


def weighted(m: Any, scores: Tensor, v: Tensor) -> Tensor:
    made = torch.softmax(scores, -1) @ v.transpose(1, 2)
    return m.o(made.transpose(1, 2).reshape(len(v), v.shape[1], -1))


def attention_of(scores: Callable[[Any, Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    def run(m: Any, x: Tensor) -> Tensor:
        q, k, v = split(m, x)
        return weighted(m, scores(m, q, k), v)

    return run


def by_tensor(m: Any, q: Tensor, k: Tensor) -> Tensor:
    return q.transpose(1, 2) @ k.permute(0, 2, 3, 1) / torch.sqrt(torch.tensor(k.size(-1)))


def by_full(m: Any, q: Tensor, k: Tensor) -> Tensor:
    return torch.full((1,), k.shape[-1] ** -0.5) * (q.transpose(1, 2) @ k.permute(0, 2, 3, 1))


def by_integer(m: Any, q: Tensor, k: Tensor) -> Tensor:
    return q.transpose(1, 2) @ k.permute(0, 2, 3, 1) / k.shape[-1]


def with_a_bias_a_head(m: Any, q: Tensor, k: Tensor) -> Tensor:
    return (q + m.u).transpose(1, 2) @ k.permute(0, 2, 3, 1) / math.sqrt(k.shape[-1])


def with_two_products(m: Any, q: Tensor, k: Tensor) -> Tensor:
    k = k.permute(0, 2, 3, 1)
    one, other = (q + m.u).transpose(1, 2) @ k, (q + m.w).transpose(1, 2) @ k
    return (one + torch.cat([other[..., 1:], other.new_zeros(*other.shape[:3], 1)], -1)) / math.sqrt(k.shape[-2])


def rotated(m: Any, q: Tensor, k: Tensor) -> Tensor:
    q, k = (z * m.cos + torch.cat([-z.chunk(2, -1)[1], z.chunk(2, -1)[0]], -1) * m.sin for z in (q, k))
    return q.transpose(1, 2) @ k.permute(0, 2, 3, 1) / math.sqrt(k.shape[-1])


def added_and_scaled(m: Any, q: Tensor, k: Tensor) -> Tensor:
    rows = [z.transpose(1, 2).flatten(0, 1) for z in (q, k)]
    alpha = 1 / math.sqrt(q.shape[-1])
    made = torch.baddbmm(torch.zeros(1, 1, 1), rows[0], rows[1].transpose(1, 2), beta=0, alpha=alpha)
    return made.view(len(q), m.h, q.shape[1], -1)


def biases() -> dict[str, Any]:
    return {name: nn.Parameter(torch.randn(2, 8)) for name in "uw"}


SCALES: dict[str, tuple[Callable[[Any, Tensor, Tensor], Tensor], dict[str, Any]]] = {
    "a tensor of the width": (by_tensor, {}),
    "a full tensor": (by_full, {}),
    "the width itself": (by_integer, {}),
    "a bias a head": (with_a_bias_a_head, biases()),
    "the sum of two products": (with_two_products, biases()),
    "rotary": (rotated, {"cos": torch.randn(5, 1, 8), "sin": torch.randn(5, 1, 8)}),
    "baddbmm": (added_and_scaled, {}),
}


@pytest.mark.parametrize("kind", SCALES)
def test_a_scale_that_follows_the_width_is_undone(kind: str) -> None:
    torch.manual_seed(0)
    scores, parts = SCALES[kind]
    model, x = Net(attention_of(scores), **projections(**copy.deepcopy(parts))), torch.randn(2, 5, 8)
    pruned = sapwood.prune(model, x, target=HALF)
    assert share(model, pruned) < 0.4
    assert pruned.plan.rescales
    if kind != "rotary":  # its buffers are cut, too
        assert distance(model, pruned.plan, x) <= EXACT
    assert trains(pruned.model, x)


def test_a_product_with_itself_is_scaled_by_the_root() -> None:
    def run(m, x):
        x = m.a(x)
        return m.o(x @ x.transpose(1, 2) / torch.sqrt(torch.tensor(x.shape[-1])))

    torch.manual_seed(0)
    model, x = Net(run, a=nn.Linear(8, 16), o=nn.Linear(5, 4)), torch.randn(2, 5, 8)
    pruned = sapwood.prune(model, x, target=HALF)
    assert pruned.model.a.out_features == 8
    assert [rescale.factor for rescale in pruned.plan.rescales] == pytest.approx([0.5**0.25] * 2)
    assert distance(model, pruned.plan, x) <= EXACT


def test_a_layer_that_runs_twice_is_scaled_once() -> None:
    attend = attention_of(by_tensor)
    torch.manual_seed(0)
    parts = projections() | {"o": nn.Linear(16, 8)}
    model, x = Net(lambda m, x: attend(m, attend(m, x)), **parts), torch.randn(2, 5, 8)
    pruned = sapwood.prune(model, x, target=HALF)
    assert len(pruned.plan.rescales) == 2, "weight and bias of the query"
    assert distance(model, pruned.plan, x) <= EXACT


KEEPERS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "clamp": (lambda x: x.clamp(max=1 / x.shape[-1]), "a number follows a width that is pruned, in aten.clamp"),
    "power": (lambda x: x.abs() ** (1 + 2 / x.shape[-1]), "a number follows a width that is pruned, in aten.pow"),
    "added": (lambda x: x + 1 / x.shape[-1], "a number follows a width that is pruned, in aten.add"),
    "arange": (lambda x: x + torch.arange(x.shape[-1]), "meets values that count positions, in aten.arange"),
    "steps": (lambda x: x * torch.arange(0, 1, 1 / x.shape[-1]), "meets values that count positions, in aten.arange"),
    "linspace": (lambda x: x * torch.linspace(0, 1, x.shape[-1]), "meets values that count positions, in aten.lin"),
    "scaled, then added": (lambda x: x + x.sin() / torch.tensor(x.shape[-1]), "its scale follows a width"),
    "scaled beside": (lambda x: torch.sigmoid(x / x.shape[-1]) + x, "its scale follows a width"),
}  # fmt: skip


@pytest.mark.parametrize("kind", KEEPERS)
def test_a_number_that_cannot_be_undone_keeps_its_width_alone(kind: str) -> None:
    change, reason = KEEPERS[kind]
    torch.manual_seed(0)
    parts = {
        name: nn.Linear(*sizes) for name, sizes in {"a": (8, 16), "b": (16, 24), "c": (24, 20), "o": (20, 4)}.items()
    }
    model = Net(lambda m, x: m.o(F.relu(m.c(F.relu(m.b(change(m.a(x))))))), **parts)
    x = torch.randn(3, 8)
    pruned = sapwood.prune(model, x, target=HALF)
    assert (pruned.model.a.out_features, pruned.model.b.out_features, pruned.model.c.out_features) == (16, 12, 10)
    (said,) = [entry.reason for entry in pruned.unpruned if (entry.tensor, entry.dim) == ("a.weight", 0)]
    assert said.startswith(reason)
    assert "test_numbers.py:" in said
    assert distance(model, pruned.plan, x) <= EXACT
    assert trains(pruned.model, x)


def test_a_time_embedding_keeps_its_positions() -> None:
    def run(m, t):
        half = m.dim // 2
        angles = t[:, None] * torch.exp(-math.log(1e4) * torch.arange(half) / half)
        return m.o(F.relu(m.a(torch.cat([angles.sin(), angles.cos()], -1))))

    model, t = Net(run, dim=32, a=nn.Linear(32, 48), o=nn.Linear(48, 3)), torch.rand(4)
    pruned = sapwood.prune(model, t, target=HALF)
    assert pruned.model.a.weight.shape == (24, 32)
    assert distance(model, pruned.plan, t) <= EXACT


def layer_norm(x: Tensor) -> Tensor:
    x = x - x.sum(-1, keepdim=True) / x.shape[-1]
    return x / ((x * x).sum(-1, keepdim=True) / x.size(-1) + 1e-5).sqrt()


def unbiased(x: Tensor) -> Tensor:
    x = x - x.mean(-1, keepdim=True)
    return x / ((x * x).sum(-1, keepdim=True) / (x.size(-1) - 1) + 1e-5).sqrt()


def by_tensors(x: Tensor) -> Tensor:
    return x - x.sum(-1, keepdim=True) / torch.tensor(x.shape[-1])


def by_factor(x: Tensor) -> Tensor:
    return x - x.sum(-1, keepdim=True) * (1 / x.shape[-1])


@pytest.mark.parametrize("norm", [layer_norm, unbiased, by_tensors, by_factor])
def test_a_norm_by_hand_is_taken_over_what_is_kept_and_named(norm: Callable[[Tensor], Tensor]) -> None:
    class Normed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return norm(x)

    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(8, 16), Normed(), nn.Linear(16, 4)), torch.randn(3, 8)
    pruned = sapwood.prune(model, x, target=HALF)
    assert pruned.model[0].out_features == 8
    assert pruned.verification.pooled_norms == ("1",)
    kept = torch.tensor(next(cut.kept for cut in pruned.plan.cuts if cut.tensor == "0.weight"))
    with torch.no_grad():
        wanted = F.linear(norm(model[0](x)[:, kept]), model[2].weight[:, kept], model[2].bias)
        torch.testing.assert_close(pruned.model(x), wanted)


DRAWS: dict[str, Callable[[Tensor], Tensor]] = {
    "one number a pixel": lambda x: x + torch.randn(x.shape[0], 1, *x.shape[2:], dtype=x.dtype),
    "randn_like": lambda x: x + 0.1 * torch.randn_like(x),
    "randn of a width": lambda x: x * torch.randn(1, x.shape[1], 1, 1),
    "dropout": lambda x: F.dropout(x, 0.2, training=True),
    "dropout of channels": lambda x: F.dropout2d(x, 0.5, training=True),
    "permutation": lambda x: x[torch.randperm(x.shape[0])],
    "in place": lambda x: x + torch.empty_like(x).uniform_(),
    "compared": lambda x: torch.where(torch.rand_like(x) < 0.5, x, -x),
    "whole numbers": lambda x: x * torch.randint(1, 5, (x.shape[0], 1, 1, 1)),
    "a normal distribution": lambda x: torch.distributions.Normal(x, x.square() + 0.1).rsample(),
    "torch.normal": lambda x: torch.normal(x, torch.ones_like(x)),
    "gumbel softmax": lambda x: F.gumbel_softmax(x, dim=2),
    "positions": lambda x: x * torch.multinomial(torch.ones(8), 6)[None, None, None, :],
    "a way through the code": lambda x: x if bool(torch.rand(()) < 0.5) else x * 2.0,
}


@pytest.mark.parametrize("kind", DRAWS)
def test_random_numbers_are_the_same_in_both_runs(kind: str) -> None:
    parts = {"a": nn.Conv2d(3, 16, 3), "b": nn.Conv2d(16, 24, 1), "c": nn.Conv2d(24, 4, 1)}
    model = Net(lambda m, x: m.c(torch.relu(m.b(DRAWS[kind](m.a(x))))), **parts)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    pruned = sapwood.prune(model, torch.rand(3, 3, 8, 8), target=HALF)
    assert (pruned.model.a.out_channels, pruned.model.b.out_channels) == (8, 12)
    torch.set_rng_state(before)
    torch.rand(3, 3, 8, 8)
    expected = torch.rand(1)
    torch.set_rng_state(before)
    sapwood.prune(model, torch.rand(3, 3, 8, 8), target=HALF)
    assert torch.equal(torch.rand(1), expected), "the caller's generator goes on where it was"


def test_a_masked_model_that_draws_is_compacted() -> None:
    torch.manual_seed(0)
    parts = {"a": nn.Linear(8, 16), "b": nn.Linear(16, 3)}
    model = Net(lambda m, x: m.b(F.dropout(F.relu(m.a(x)), 0.2, training=True)), **parts)
    prune.ln_structured(model.a, "weight", 0.5, n=2, dim=0)
    prune.custom_from_mask(model.a, "bias", model.a.weight_mask[:, 0])
    assert sapwood.compact(model, torch.randn(2, 8)).model.a.out_features == 8


def state(m: Any, x: Tensor) -> Tensor:
    return torch.zeros(1, x.size(0), m.rnn.hidden_size)


def cells(m: Any, x: Tensor) -> Tensor:
    h, c = torch.zeros(x.size(0), m.rnn.hidden_size), torch.zeros(x.size(0), m.rnn.hidden_size)
    for step in range(x.shape[1]):
        h, c = m.rnn(m.i(x[:, step]), (h, c))
    return m.o(h)


UNTYPED: dict[str, tuple[Callable[[Any, Tensor], Tensor], type]] = {
    "lstm": (lambda m, x: m.o(m.rnn(m.i(x), (state(m, x), state(m, x)))[0]), nn.LSTM),
    "gru": (lambda m, x: m.o(m.rnn(m.i(x), state(m, x))[0]), nn.GRU),
    "new_zeros": (lambda m, x: m.o(m.rnn(m.i(x), x.new_zeros(1, len(x), m.rnn.hidden_size))[0]), nn.RNN),
    "cell": (cells, nn.LSTMCell),
}


@pytest.mark.parametrize("kind", UNTYPED)
def test_states_made_without_a_type_lose_hidden_units(kind: str) -> None:
    run, layer = UNTYPED[kind]
    torch.manual_seed(0)
    rnn = layer(16, 24, **({} if layer is nn.LSTMCell else {"batch_first": True}))
    model, x = Net(run, i=nn.Linear(6, 16), rnn=rnn, o=nn.Linear(24, 3)), torch.randn(2, 5, 6)
    pruned = sapwood.prune(model, x, target=HALF)
    assert (pruned.model.rnn.input_size, pruned.model.rnn.hidden_size) == (8, 12)
    assert share(model, pruned) < 0.35
    assert trains(pruned.model, x)


def test_a_size_of_a_module_inside_is_set_for_the_code_around_it() -> None:
    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.width, self.layer = 16, nn.Linear(6, 16)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)

    def run(m, x):
        return m.o(m.inner(x) + torch.zeros(m.inner.width))

    model, x = Net(run, inner=Inner(), o=nn.Linear(16, 3)), torch.randn(2, 6)
    pruned = sapwood.prune(model, x, target=HALF)
    assert (pruned.model.inner.width, pruned.model.inner.layer.out_features) == (8, 8)


def grid() -> Tensor:
    return torch.stack(torch.meshgrid(torch.linspace(-1, 1, 3), torch.linspace(-1, 1, 2), indexing="ij"))


CONSTANTS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "a number": lambda m, x: m.o(m.a(x)) * torch.tensor(0.5),
    "a list": lambda m, x: m.o(m.a(x)) @ torch.tensor([[1.0], [2.0], [3.0]]),
    "a grid": lambda m, x: m.o(m.a(grid().view(2, 6))[:1] + m.a(x)),
    "kept beside": lambda m, x: m.o(m.a(x)) @ m.kept[0],
    "the least of all": lambda m, x: m.o(m.a(x).maximum(torch.full((), torch.finfo(m.a(x).dtype).min))),
    "written to": lambda m, x: torch.zeros(len(x), 3).copy_(m.o(m.a(x))) @ torch.ones(3, 1),
}  # fmt: skip


@pytest.mark.parametrize("kind", CONSTANTS)
def test_floats_made_without_a_type_meet_float64(kind: str) -> None:
    model = Net(CONSTANTS[kind], a=nn.Linear(6, 16), o=nn.Linear(16, 3), kept=[torch.ones(3, 2)])
    pruned = sapwood.prune(model, torch.randn(4, 6), target=HALF)
    assert pruned.model.a.out_features == 8
    assert torch.get_default_dtype() == torch.float32


def test_a_width_that_is_read_back_may_follow() -> None:
    def run(m, x):
        x, width = m.c(x), int(torch.IntTensor([m.hidden])[0])
        return m.o(torch.tanh(x[:, :width]) * torch.sigmoid(x[:, width:]))

    model, x = Net(run, hidden=16, c=nn.Conv1d(4, 32, 3), o=nn.Conv1d(16, 4, 1)), torch.randn(2, 4, 9)
    pruned = sapwood.prune(model, x, target=HALF)
    assert (pruned.model.hidden, pruned.model.c.out_channels) == (8, 16)
    assert distance(model, pruned.plan, x) <= EXACT


def test_an_identity_loses_both_of_its_indices() -> None:
    """PointNet: a matrix of its own for every input, added to the identity."""

    def run(m, x):
        x = m.a(x)
        turn = m.t(x).view(-1, m.k, m.k) + torch.eye(m.k)
        return m.o((x[:, None] @ turn)[:, 0])

    torch.manual_seed(0)
    model = Net(run, k=16, a=nn.Linear(6, 16), t=nn.Linear(16, 256), o=nn.Linear(16, 3))
    x = torch.randn(4, 6)
    pruned = sapwood.prune(model, x, target=HALF)
    assert (pruned.model.k, pruned.model.t.weight.shape) == (8, (64, 8))
    assert distance(model, pruned.plan, x) <= EXACT


def test_what_nothing_reads_is_in_nobodys_way() -> None:
    def run(m, x):
        x = m.a(x)
        spare = torch.zeros(2, x.size(1)) + 1 / x.size(1)
        return m.o(x) * float(spare.dim() // 2)

    model, x = Net(run, a=nn.Linear(6, 16), o=nn.Linear(16, 3)), torch.randn(4, 6)
    pruned = sapwood.prune(model, x, target=HALF)
    assert pruned.model.a.out_features == 8
    assert distance(model, pruned.plan, x) <= EXACT


@pytest.mark.parametrize("wrap", [parametrizations.weight_norm, nn.utils.weight_norm])
@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_one_obstacle_keeps_one_part_whole_and_is_named(
    wrap: Callable[[nn.Module], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the plan should have thought of, here the gains of weight norms, is found by comparing the two runs."""
    monkeypatch.setattr("sapwood.removal.build.changed_norms", lambda *_: iter(()))
    torch.manual_seed(0)
    layers = [nn.Conv1d(1, 8, 3), nn.ReLU(), wrap(nn.Conv1d(8, 12, 3)), nn.ReLU(), nn.Conv1d(12, 16, 3), nn.ReLU()]
    model, x = nn.Sequential(*layers, nn.Conv1d(16, 2, 1)), torch.randn(2, 1, 16)
    pruned = sapwood.prune(model, x, target=HALF)
    widths = [pruned.model[number].out_channels for number in (0, 2, 4)]
    assert widths == [8, 6, 8], "what the norm sums over stays"
    (said,) = [entry.reason for entry in pruned.unpruned if (entry.tensor, entry.dim) == ("0.weight", 0)]
    assert said.startswith("its values change with a width that is pruned, in aten._weight_norm_interface")
    assert pruned.verification.passed
    assert trains(pruned.model, x)


@pytest.mark.skipif(not hasattr(torch, "_grouped_mm"), reason="needs a PyTorch with grouped products")
def test_a_mixture_of_experts_runs_in_float64() -> None:
    def run(m, x):
        x = m.a(x)
        routed = torch._grouped_mm(x, m.experts, offs=torch.tensor([2, 6], dtype=torch.int32))
        return m.o(F.relu(m.b(routed)))

    torch.manual_seed(0)
    parts = {"a": nn.Linear(8, 16), "b": nn.Linear(16, 24), "o": nn.Linear(24, 4)}
    model = Net(run, experts=nn.Parameter(torch.randn(2, 16, 16)), **parts)
    pruned = sapwood.prune(model, torch.randn(6, 8), target=HALF)
    assert pruned.model.b.out_features == 12
    assert pruned.model.a.out_features == 8


def test_a_number_that_is_read_from_a_map_is_no_power_of_a_width_of_nothing() -> None:
    net = Net(
        lambda m, x: m.b((x := F.relu(m.a(x))) + x.flatten()[:2].tolist()[0]),
        a=nn.Conv2d(3, 16, 3, padding=1),
        b=nn.Conv2d(16, 8, 1),
    )
    torch.manual_seed(0)
    pruned = sapwood.prune(net.eval(), torch.rand(1, 3, 16, 16), target=HALF)
    assert pruned.verification.passed


def test_a_table_is_scaled_where_its_scale_follows_its_own_width() -> None:
    """Words times the root of ``embedding_dim``, as in every tutorial: that follows it; places are not scaled."""

    def run(m: Any, words: Tensor) -> Any:
        x = m.words(words) * math.sqrt(m.words.embedding_dim)
        return m.head(F.relu(m.f(x + m.places(torch.arange(words.shape[1])))))

    parts = {"words": nn.Embedding(20, 16), "places": nn.Embedding(8, 16), "f": nn.Linear(16, 16)}
    model, words = Net(run, **parts, head=nn.Linear(16, 3)).eval(), torch.randint(0, 20, (2, 5))
    pruned = sapwood.prune(model, words, target=HALF)
    assert pruned.model.words.weight.shape == (20, 8)
    assert pruned.model.f.weight.shape == (8, 8)
    exact = apply_plan(copy.deepcopy(model).double(), pruned.plan)
    with torch.no_grad():
        wanted, found = silenced(model, pruned.plan)(words), exact(words)
    assert float((found - wanted).abs().max()) <= EXACT * float(wanted.abs().max())


def test_a_table_that_is_read_elsewhere_too_is_not_scaled_behind_its_back() -> None:
    def run(m: Any, words: Tensor) -> Any:
        return m.f(m.words(words) * math.sqrt(m.words.embedding_dim)).relu() @ m.words.weight.T

    model, words = Net(run, words=nn.Embedding(20, 16), f=nn.Linear(16, 16)).eval(), torch.randint(0, 20, (2, 5))
    pruned = sapwood.prune(model, words, target=HALF)
    exact = apply_plan(copy.deepcopy(model).double(), pruned.plan)
    with torch.no_grad():
        wanted, found = silenced(model, pruned.plan)(words), exact(words)
    assert float((found - wanted).abs().max()) <= EXACT * float(wanted.abs().max())


class Steps(nn.Module):
    """A learned quantiser, whose step gets its gradient on a fraction of its size that the width decides."""

    def __init__(self, of: Callable[[Tensor, float], Tensor]) -> None:
        super().__init__()
        self.step = nn.Parameter(torch.tensor(0.1))
        self.of = of

    def forward(self, x: Tensor) -> Tensor:
        step = self.of(self.step, 1 / math.sqrt(x.numel() * 127))
        x = (x / step).clamp(-128, 127)
        return ((x.round() - x).detach() + x) * step


class Quantised(nn.Conv2d):
    def __init__(self, inputs: int, outputs: int, of: Callable[[Tensor, float], Tensor]) -> None:
        super().__init__(inputs, outputs, 3, padding=1)
        self.steps = Steps(of)

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.steps(self.weight), self.bias)


def quantised(of: Callable[[Tensor, float], Tensor]) -> tuple[nn.Module, Tensor]:
    layers = [Quantised(3, 16, of), nn.ReLU(), Quantised(16, 16, of), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 16, 3)]
    return nn.Sequential(*layers).eval(), torch.randn(2, 3, 4, 4)


def test_a_number_that_follows_a_width_and_cancels_out_is_no_obstacle() -> None:
    model, x = quantised(lambda step, part: step * part + (step * (1 - part)).detach())
    pruned = sapwood.prune(model, x, target=HALF)
    assert pruned.model[2].weight.shape == (8, 8, 3, 3)
    assert distance(model, pruned.plan, x) <= EXACT
    assert trains(pruned.model, x)


def test_a_number_that_follows_a_width_and_does_not_cancel_out_keeps_it_whole() -> None:
    model, x = quantised(lambda step, part: step * part + (step * (1 - 2 * part)).detach())
    pruned = sapwood.prune(model, x, target=HALF)
    assert pruned.model[2].weight.shape == (16, 16, 3, 3)
    assert any("follows a width that is pruned" in entry.reason for entry in pruned.unpruned)
