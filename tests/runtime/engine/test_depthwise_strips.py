"""Depthwise convolutions on small maps: rows without room for zeros, in vectors that go on from row to row."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor, nn

from sapwood.runtime.engine import compile as compile_model
from sapwood.runtime.engine.agreeing import find_layouts
from sapwood.runtime.engine.rules import lower

pytestmark = pytest.mark.usefixtures("engine")
ISAS = ("avx512", "avx2", "neon", "scalar")


class Gated(nn.Module):
    """A block as in MobileNetV3: widened, filtered, gated by its means, brought back, added."""

    def __init__(self, channels: int, wide: int, side: int, stride: int = 1, *, gated: bool = True) -> None:
        super().__init__()
        self.widen, self.back = nn.Conv2d(channels, wide, 1), nn.Conv2d(wide, channels, 1)
        self.window = nn.Conv2d(wide, wide, side, stride, side // 2, groups=wide)
        self.less, self.more = nn.Conv2d(wide, 4, 1), nn.Conv2d(4, wide, 1)
        self.gated = gated

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.hardswish(self.window(nn.functional.hardswish(self.widen(x))))
        if self.gated:
            y = y * nn.functional.hardsigmoid(self.more(self.less(y.mean((2, 3), keepdim=True)).relu()))
        y = self.back(y)
        return x + y if y.shape == x.shape else y


def blocks(seed: int) -> tuple[nn.Module, Tensor]:
    chosen = random.Random(seed)
    torch.manual_seed(seed)
    layers: list[nn.Module] = [nn.Conv2d(3, 6, 3, padding=1)]
    for _ in range(chosen.randint(1, 3)):
        side, stride = chosen.choice([3, 3, 5, 7]), chosen.choice([1, 1, 2])
        layers.append(Gated(6, chosen.choice([7, 20]), side, stride, gated=chosen.random() < 0.5))
    if chosen.random() < 0.3:  # which looks around
        layers.append(nn.Conv2d(6, 5, 3, padding=1))
    model = nn.Sequential(*layers)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.weight *= torch.rand_like(module.weight) < chosen.choice([0.1, 0.4, 1.0])
    return model.eval(), torch.randn(1, 3, chosen.randint(3, 17), chosen.randint(3, 17))


@pytest.mark.parametrize("isa", ISAS, indirect=True)
def test_random_small_maps(isa: str) -> None:
    for seed in range(30):
        model, picture = blocks(seed)
        compiled = compile_model(model, picture, threads=1 + seed % 2, tune=seed % 10 == 0)
        with torch.no_grad():
            found, again, wanted = compiled(picture), compiled(picture), model(picture)
        assert torch.equal(found, again)
        assert float((found - wanted).abs().max()) <= 1e-5 * float(wanted.abs().max()), seed


@pytest.mark.parametrize(("places", "side", "lanes", "pitch", "count"), [
    (7, 3, 16, 8, 2),  # 4 vectors instead of 7
    (7, 5, 16, 8, 2),
    (7, 5, 8, 8, 2),  # 7 instead of 14
    (7, 3, 8, 8, 0),  # 7 either way
    (14, 3, 16, 16, 0),
    (16, 3, 16, 16, 2),  # 16 instead of 32
    (32, 3, 16, 48, 0),  # large enough for chains
])  # fmt: skip
def test_strips_are_taken_where_they_save_vectors(places: int, side: int, lanes: int, pitch: int, count: int) -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 1), Gated(6, 12, side), Gated(6, 12, side)).eval()
    network = lower(model, torch.randn(1, 3, places, places))
    layouts = find_layouts(network, lambda value: (value, 0), lanes)
    assert len(layouts.strips) == count
    windows = [node for node in network.nodes if node.label.endswith("window")]
    assert {layouts.pitch((node.inputs[0], (1, 1))) for node in windows} == {pitch}


def test_rows_go_by_whole_vectors_where_another_reads_them_so() -> None:
    """A window with a stride on the same map."""
    model = nn.Sequential(nn.Conv2d(3, 6, 1), Gated(6, 12, 3, gated=False), nn.Conv2d(6, 6, 3, 2, 1, groups=6)).eval()
    network = lower(model, torch.randn(1, 3, 7, 7))
    layouts = find_layouts(network, lambda value: (value, 0), 16)
    assert not layouts.strips
    assert {layouts.pitch((node.out, (1, 1))) for node in network.nodes if network.sizes[node.out][2] == 7} == {16}


def test_a_stride_writes_rows_of_half_a_vector_where_a_strip_reads_them() -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 1), Gated(6, 12, 3, 2, gated=False), Gated(6, 12, 3, gated=False)).eval()
    network = lower(model, torch.randn(1, 3, 14, 14))
    layouts = find_layouts(network, lambda value: (value, 0), 16)
    strided, whole = (node for node in network.nodes if node.label.endswith("window"))
    assert layouts.strips == {whole.out}
    assert layouts.apart == {strided.out, whole.out}
    assert layouts.pitch((strided.inputs[0], (1, 1))) == 16
    assert layouts.pitch((strided.out, (1, 1))) == layouts.pitch((whole.out, (1, 1))) == 8
