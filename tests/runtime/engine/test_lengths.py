"""Fewer tokens than were compiled for: networks for other lengths give what the model gives, exactly those tokens."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sapwood.errors import EngineError
from sapwood.runtime import compile as compile_model
from sapwood.runtime.engine import compiled as compiled_module
from sapwood.runtime.engine import deciding
from sapwood.runtime.engine.assembly import Sides
from sapwood.runtime.engine.choice import PYTORCH, SidesChoice, movable

pytestmark = pytest.mark.usefixtures("engine")
MOST = 11


class Encoder(nn.Module):
    """Words at places, attention that sees what came before and is no padding, a gate, and what is pooled of it all."""

    def __init__(self, *, causal: bool) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(30, 8), nn.Embedding(MOST, 8)
        self.ahead, self.back, self.norm = nn.Linear(8, 24), nn.Linear(8, 8), nn.LayerNorm(8)
        self.causal = causal
        self.register_buffer("seen", torch.ones(MOST, MOST).tril().bool())
        with torch.no_grad():
            for line in (self.ahead, self.back):
                line.weight[torch.rand_like(line.weight) < 0.7] = 0.0

    def forward(self, words: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        batch, length = words.shape
        x = self.words(words) + self.places(torch.arange(length))
        query, key, value = self.ahead(self.norm(x)).view(batch, length, 3, 2, 4).permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-1, -2) / 2.0
        hidden = mask[:, None, None, :] == 0
        if self.causal:
            hidden = hidden | ~self.seen[:length, :length]
        scores = scores.masked_fill(hidden, -1e4).softmax(-1)
        x = x + self.back((scores @ value).transpose(1, 2).reshape(batch, length, 8))
        kept = mask[..., None].float()
        return x, (x * kept).sum(1) / kept.sum(1)


def tokens(length: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(1, length, dtype=torch.int64)
    mask[:, max(1, length - 2) :] = 0
    return torch.randint(30, (1, length), generator=generator), mask


@pytest.fixture(params=[False, True], ids=["all", "causal"])
def model(request: pytest.FixtureRequest) -> Encoder:
    torch.manual_seed(0)
    return Encoder(causal=request.param).eval()


def check(ours: nn.Module, model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    with torch.no_grad():
        wanted = model(*inputs)
    for one, other in zip(ours(*inputs), wanted, strict=True):
        assert one.shape == other.shape
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-5)


def test_every_length_gives_what_the_model_gives(model: Encoder) -> None:
    ours = compile_model(model, tokens(MOST), threads=1, length_dim=1)
    assert ours.lengths is not None
    assert (ours.lengths.fewest, ours.lengths.places) == (1, ((0, 1), (1, 1)))
    for length in (*range(MOST, 0, -1), 5, MOST, 1):
        check(ours, model, tokens(length, seed=length))
        batch = tuple(torch.cat(pair) for pair in zip(tokens(length, 1), tokens(length, 2), strict=True))
        check(ours, model, batch)


def test_who_runs_what_is_as_for_the_most(model: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        deciding, "choose", lambda network, _: SidesChoice(Sides(movable(network)), PYTORCH, {PYTORCH: 1.0})
    )
    ours = compile_model(model, tokens(MOST), threads=1, length_dim=1)
    check(ours, model, tokens(6))
    assert ours._made[6].choice.sides == ours.choice.sides


def test_the_last_networks_are_kept(model: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = compile_model(model, tokens(MOST), threads=1, length_dim=1)
    first = ours._made[MOST - 1]
    check(ours, model, tokens(MOST - 1))
    assert ours._made[MOST - 1] is first
    monkeypatch.setattr(compiled_module, "KEPT_LENGTHS", 2)
    for length in (4, 5, 6):
        check(ours, model, tokens(length))
    assert list(ours._made) == [5, 6]


def test_copies_and_other_masks(model: Encoder) -> None:
    ours = compile_model(model, tokens(MOST), threads=2, length_dim=1)
    twin = copy.deepcopy(ours)
    assert twin.lengths is ours.lengths  # which holds the weights
    words, mask = tokens(7)
    check(twin, model, (words, mask.flip(1)))
    check(ours, model, (words, torch.ones_like(mask)))


@pytest.mark.parametrize("inputs", [
    (torch.zeros(1, 12, dtype=torch.int64), torch.ones(1, 12, dtype=torch.int64)),
    (torch.zeros(1, 4, dtype=torch.int64), torch.ones(1, 5, dtype=torch.int64)),
    (torch.zeros(1, 0, dtype=torch.int64), torch.ones(1, 0, dtype=torch.int64)),
    (torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.int64)),
    (3, torch.ones(1, 4)),
], ids=str)  # fmt: skip
def test_other_lengths_are_refused(inputs: tuple[Any, ...]) -> None:
    torch.manual_seed(0)
    ours = compile_model(Encoder(causal=False).eval(), tokens(MOST), threads=1, length_dim=1)
    with pytest.raises(
        EngineError, match=r"^input.* batch.*, and for 1 to 11 in dimension 1 of input 0, dimension 1 of"
    ):
        ours(*inputs)


def test_types_are_looked_at_for_fewer_as_well(model: Encoder) -> None:
    ours = compile_model(model, tokens(MOST), threads=1, length_dim=1)
    words, mask = tokens(5)
    with pytest.raises(EngineError, match=r"input 0 is of torch.float32; compiled for torch.int64"):
        ours(words.float(), mask)


class Turned(nn.Module):
    """What it multiplies with depends on where the last one stands."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.arange(x.shape[1]).flip(0)[:, None]


class Squares(nn.Module):
    """A number that is no line over the lengths."""

    def forward(self, x: Tensor) -> Tensor:
        return (x @ x.transpose(1, 2)).reshape(1, -1)


class Halved(nn.Module):
    """A number that is none for half of the lengths."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, : x.shape[1] // 2].relu()


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.relu() if x.shape[1] > 4 else x.sigmoid()


class Shared(nn.Module):
    """Divides by the length."""

    def forward(self, x: Tensor) -> Tensor:
        return x.softmax(-1).sum(1) / x.shape[1]


@pytest.mark.parametrize(("make", "fault"), [
    (Turned, "a constant of shape"),
    (Squares, "are not on the line of those for 8 and 7"),
    (Halved, "4, and 3 with fewer|are not on the line"),
    (Branching, "aten.*relu.*sigmoid|are not on the line|with fewer|constants"),
])  # fmt: skip
def test_what_does_not_follow_is_refused(make: Callable[[], nn.Module], fault: str) -> None:
    with pytest.raises(EngineError, match=f"the model's calls do not follow the length of dimension 1: .*({fault})"):
        compile_model(make().eval(), torch.rand(1, 8, 4), threads=1, length_dim=1)


@pytest.mark.parametrize(("dim", "message"), [
    (0, "length_dim 0; expected a dimension of the first input but its batch"),
    (3, "length_dim 3; expected a dimension"),
    (True, "length_dim True; expected a dimension"),
    (2, "2 in dimension 2 of the first input; expected at least 3, the most to come"),
])  # fmt: skip
def test_dimensions_that_cannot_be(dim: Any, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        compile_model(nn.Softmax(-1), torch.rand(1, 5, 2), threads=1, length_dim=dim)


def test_divisors_follow() -> None:
    ours = compile_model(Shared().eval(), torch.rand(1, 8, 4), threads=1, length_dim=1)
    for length in range(1, 9):
        given = torch.rand(1, length, 4)
        assert torch.allclose(ours(given), Shared()(given))


class NeedsTwo(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] < 2:
            raise ValueError("too short")
        return x.softmax(-1)


def test_one_token_may_be_too_few() -> None:
    ours = compile_model(NeedsTwo().eval(), torch.rand(1, 6, 4), threads=1, length_dim=1)
    check_one = torch.rand(1, 2, 4)
    assert torch.allclose(ours(check_one), check_one.softmax(-1))
    with pytest.raises(EngineError, match="and for 2 to 6 in dimension 1 of input 0"):
        ours(torch.rand(1, 1, 4))
