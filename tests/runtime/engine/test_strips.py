"""Maps without row padding, and rows of half a vector: vectors go on from row to row."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor, nn

from sapwood.errors import EngineError
from sapwood.export import plain_copy
from sapwood.runtime.engine import compile as compile_model
from sapwood.runtime.engine.interface import OpKind
from sapwood.runtime.engine.maps import Map
from sapwood.runtime.engine.planning import _ProgramPlanner
from sapwood.runtime.engine.program import Builder
from sapwood.runtime.engine.rules import lower

pytestmark = pytest.mark.usefixtures("engine")
ISAS = ("avx512", "avx2", "neon", "scalar")


class Residual(nn.Module):
    """Everything that may stand between 1 x 1 convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(channels, 2 * channels, 1), nn.Conv2d(2 * channels, channels, 1)
        self.last, self.gate = nn.Conv2d(channels, 5, 1), nn.Conv2d(channels, channels, 1)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = x + self.other(nn.functional.silu(self.one(x)))
        y = torch.sigmoid(y) * y * torch.sigmoid(self.gate(y.mean((2, 3), keepdim=True)))
        y = self.last(y.relu())
        return y, self.head(y.mean((2, 3)))


class Around(nn.Module):
    """Small maps that 3 x 3 convolutions read as well, whole and with strides."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.one, self.three = nn.Conv2d(channels, 7, 1), nn.Conv2d(7, channels, 3, padding=1)
        self.wide, self.strided = nn.Conv2d(channels, 6, 5, padding=2), nn.Conv2d(6, 4, 3, 2, 1)
        self.pool, self.valid = nn.MaxPool2d(3, 2, 1), nn.Conv2d(6, 3, (1, 2))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = (x + self.three(self.one(x).relu())).relu()
        y = nn.functional.hardswish(self.wide(y))
        return (
            self.strided(y),
            self.pool(y),
            self.valid(y),
            torch.cat([y, self.pool(x).repeat(1, 1, 2, 2)[..., : y.shape[2], : y.shape[3]]], 1),
        )


def sparse(model: nn.Module, zeros: float) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            with torch.no_grad():
                module.weight *= torch.rand_like(module.weight) >= zeros
    return model.eval()


def check(model: nn.Module, picture: Tensor, threads: int) -> None:
    with torch.no_grad():
        found, again, wanted = (*(compile_model(model, picture, threads=threads, tune=False),) * 2, model(picture))
        for one, twice, other in zip(found(picture), again(picture), wanted, strict=True):
            assert torch.equal(one, twice)
            assert float((one - other).abs().max()) <= 1e-5 * float(other.abs().max())


@pytest.mark.parametrize("isa", ISAS, indirect=True)
@pytest.mark.parametrize("kind", [Residual, Around])
def test_random_maps(isa: str, kind: type[nn.Module]) -> None:
    for seed in range(12):
        chosen = random.Random(seed)
        torch.manual_seed(seed)
        channels, height = chosen.choice([3, 8, 9]), chosen.randint(3, 17)
        width = chosen.choice([3, 5, 6, 7, 9, 13, 14, 15, 28])
        picture = torch.randn(2, channels, height, width)
        check(sparse(kind(channels), chosen.choice([0.0, 0.5, 0.9])), picture, threads=1 + seed % 2)


def pitches(model: nn.Module, size: int) -> set[int]:
    """Of all maps larger than one place."""
    network = lower(plain_copy(model.eval()), (torch.zeros(1, 3, size, size),))
    planner = _ProgramPlanner(network, None, Builder())
    planner.run()
    return {one.pitch for one in planner.maps.values() if one.width > 1}


@pytest.mark.parametrize(("isa", "lanes"), [("avx512", 16), ("avx2", 8)], indirect=["isa"])
def test_rows_are_padded_where_something_looks_around(isa: str, lanes: int) -> None:
    assert pitches(Residual(3), 14) == {14}
    assert pitches(nn.Conv2d(3, 4, 3, padding=1), 14) == {16}
    assert pitches(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, (3, 1), padding=(1, 0))), 14) == {16}
    assert pitches(nn.Conv2d(3, 4, 3, padding=1), 7) == {8}
    assert pitches(nn.Conv2d(3, 4, 1), 16) == {16}
    assert pitches(nn.Conv2d(3, 4, 3, padding=1), 8) == {16}


def test_strips_have_limits() -> None:
    builder = Builder()
    source = builder.map(2, 4, 5, margin=0, pitch=5)
    out = builder.map(2, 4, 5, margin=0, pitch=5)
    late = builder.map(2, 4, 5, margin=1, pitch=5)
    halves = builder.map(8, 2, 3, margin=0, pitch=5)
    arrays = (torch.tensor([0, 0, 0, 1, 1, 1, 1]), torch.zeros(2, dtype=torch.int32), torch.zeros(2))
    given = {"num_chunks": 1, "channels": 2, "height": 4, "width": 5, "num_starts": 7, "num_entries": 1, "num_bias": 2}
    given |= dict(zip(("starts", "entries", "bias"), (one.data_ptr() for one in arrays), strict=True))
    vectors = -(-20 // builder.lanes)

    def refused(source: Map = source, out: Map = out, **values: int) -> str:
        tried = Builder()
        tried._blocks, tried.arena = builder._blocks, builder.arena
        tried.add(OpKind.CONV, source, out, **(given | values))
        try:
            tried.build()
        except EngineError as error:
            return str(error)
        return ""

    assert refused(rows=1, columns=vectors) == ""
    assert "a tile must have between 1 and" in refused(rows=1, columns=vectors + 1)
    assert "the first row must begin with a vector" in refused(late, rows=1, columns=vectors)
    assert "the first row must begin with a vector" in refused(out=late, rows=1, columns=vectors)
    assert "a tile must not be higher than the result" in refused(rows=2, columns=vectors)
    sideways = torch.tensor([0, 1, 1, 1, 1, 1, 1])
    assert "sums can only be moved" in refused(rows=1, columns=vectors, starts=sideways.data_ptr())
    assert "phases are only made of whole rows" in refused(out=halves, rows=1, columns=vectors, phased=1)


class Strided(nn.Module):
    """A map that is read whole and, twice, by 1 x 1 convolutions with a stride."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.whole, self.one = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 5, 1, stride=2)
        self.other = nn.Conv2d(3, 2, kernel, stride=2, padding=kernel // 2)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = x.relu()
        return self.whole(x), self.one(x), self.other(x)


@pytest.mark.parametrize(("kernel", "wanted"), [(1, {"pick": 1, "phases": 0}), (3, {"pick": 0, "phases": 1})])
def test_strided_convolutions_read_what_they_need(kernel: int, wanted: dict[str, int]) -> None:
    for size in ((8, 9), (7, 33)):
        model, picture = Strided(kernel).eval(), torch.randn(1, 3, *size)
        check(model, picture, threads=1)
        kinds = [step.kind for step in compile_model(model, picture, tune=False).steps]
        assert {kind: kinds.count(kind) for kind in wanted} == wanted


@pytest.mark.parametrize("isa", ISAS, indirect=True)
def test_pools_of_every_step_and_width(isa: str) -> None:
    for kernel, step, pad, size in (
        (3, 2, 1, (9, 14)), (5, 1, 2, (4, 37)), (2, 1, 0, (3, 5)), (3, 3, 1, (8, 10)), (4, 2, 2, (5, 6)),
        (3, 2, 1, (3, 2047)), (3, 2, 1, (3, 2048)), (13, 1, 6, (13, 13)),
    ):  # fmt: skip
        model = nn.ModuleList([nn.MaxPool2d(kernel, step, pad), nn.AvgPool2d(kernel, step, pad)])
        picture = torch.randn(1, 2, *size)
        for one in (*model, nn.AdaptiveAvgPool2d(1)):
            torch.testing.assert_close(compile_model(one.eval(), picture)(picture), one(picture), rtol=1e-5, atol=1e-5)
