"""Convolutions of the engine against PyTorch's: every shape, density and instruction set."""

from __future__ import annotations

import copy
import gc
import random

import numpy as np
import pytest
import torch
from torch import nn

from sapwood.errors import EngineError
from sapwood.runtime.engine import SparseConv2d, convolution, set_instruction_set
from sapwood.runtime.engine.convolution import COLUMNS, Convolution, Tiling, Way
from sapwood.runtime.engine.maps import Map
from sapwood.runtime.engine.packing import PlaneGeometry, pack
from sapwood.runtime.engine.program import Builder

pytestmark = pytest.mark.usefixtures("engine")
ISAS = ("avx512", "avx2", "neon", "scalar")
EDGES = (1, 7, 8, 15, 16, 31, 47, 112, 113, 127, 460)
"""Widths at and around whole vectors, and wider than a tile."""


def random_case(seed: int) -> tuple[nn.Conv2d, torch.Tensor]:
    chosen = random.Random(seed)
    groups = chosen.choice([1, 1, 1, 2, 4])
    inputs, outputs = (groups * chosen.randint(1, 9) for _ in range(2))
    if chosen.random() < 0.15:
        groups, outputs = inputs, inputs * chosen.randint(1, 2)
    kernel = chosen.choice([1, 2, 3, 3, 3, 5, 7]), chosen.choice([1, 2, 3, 3, 3, 5])
    stride = (chosen.choice([1, 1, 1, 2, 3]), chosen.choice([1, 1, 1, 2, 4]))
    padding = tuple(chosen.randint(0, taps // 2 + 1) for taps in kernel)
    dilation = tuple(chosen.choice([1, 1, 1, 2]) for _ in range(2))
    size = [
        max(side, gap * (taps - 1) + 1 - 2 * pad)
        for side, taps, pad, gap in zip(
            (chosen.randint(1, 40), chosen.choice([chosen.randint(1, 70), chosen.choice(EDGES)])),
            kernel, padding, dilation, strict=True,
        )
    ]  # fmt: skip
    torch.manual_seed(seed)
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=chosen.random() < 0.7)
    with torch.no_grad():
        conv.weight *= torch.rand_like(conv.weight) < chosen.choice([0.0, 0.02, 0.1, 0.5, 1.0])
        if chosen.random() < 0.2:
            conv.weight[0] = 0.0
    return conv, torch.randn(chosen.choice([1, 2]), inputs, *size)


def check(seed: int, threads: int) -> None:
    conv, pictures = random_case(seed)
    ours = SparseConv2d(conv, threads=threads)
    with torch.no_grad():
        found, again, wanted = ours(pictures), ours(pictures), conv(pictures)
    scale = float(wanted.abs().max().clamp_min(1e-3))
    assert float((found - wanted).abs().max()) <= 1e-5 * scale, f"seed {seed}: {conv}, {tuple(pictures.shape)}"
    assert torch.equal(found, again), f"seed {seed}: another result the second time"


@pytest.mark.parametrize("isa", ISAS, indirect=True)
@pytest.mark.parametrize("way", list(Way), ids=lambda way: way.name)
def test_random_convolutions(isa: str, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = Convolution.usual

    def chosen(self: Convolution, builder: Builder) -> Tiling:
        by_channels = way is Way.COLUMNS and self.spec.groups == 1 and not self.phased
        return COLUMNS if by_channels else usual(self, builder)

    monkeypatch.setattr(convolution, "DENSE", 1.1 if way is Way.LISTS else 0.0)
    monkeypatch.setattr(Convolution, "usual", chosen)
    for seed in range(100):
        check(seed, threads=1 + seed % 3)


@pytest.mark.slow
@pytest.mark.parametrize("isa", ISAS, indirect=True)
def test_many_random_convolutions(isa: str) -> None:
    for seed in range(1_000, 4_500):
        check(seed, threads=1 + seed % 3)


def test_masks_count() -> None:
    conv = nn.Conv2d(4, 6, 3, padding=1)
    torch.nn.utils.prune.l1_unstructured(conv, "weight", 0.7)
    picture = torch.randn(1, 4, 9, 9)
    with torch.no_grad():
        assert torch.allclose(SparseConv2d(conv)(picture), conv(picture), atol=1e-5)


def test_shapes_that_do_not_fit_are_named() -> None:
    ours = SparseConv2d(nn.Conv2d(4, 6, 3))
    with pytest.raises(EngineError, match=r"shape \(1, 3, 9, 9\); expected a .* tensor of shape \(B, 4, H, W\)"):
        ours(torch.zeros(1, 3, 9, 9))
    with pytest.raises(RuntimeError, match="Kernel size can't be greater than actual input size"):
        ours(torch.zeros(1, 4, 2, 9))  # as a Conv2d says it


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(value: float) -> None:
    conv = nn.Conv2d(2, 2, 1)
    with torch.no_grad():
        conv.weight[0, 0] = value
    with pytest.raises(EngineError, match="weights are NaN or infinite"):
        SparseConv2d(conv)(torch.zeros(1, 2, 4, 4))


def test_other_paddings_are_made_by_pytorch() -> None:
    conv, picture = nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"), torch.randn(2, 2, 5, 7)
    torch.testing.assert_close(SparseConv2d(conv)(picture), conv(picture).detach(), rtol=1e-5, atol=1e-5)


def test_same_padding() -> None:
    conv, picture = nn.Conv2d(3, 4, 5, padding="same"), torch.randn(1, 3, 11, 12)
    with torch.no_grad():
        assert torch.allclose(SparseConv2d(conv)(picture), conv(picture), atol=1e-5)


def test_it_has_nothing_to_train() -> None:
    assert not SparseConv2d(nn.Conv2d(2, 2, 1)).state_dict()


def test_maps_that_offsets_do_not_reach_are_refused() -> None:
    source = Map(300, 1000, 2000, 1, 2016, 64, 2_100_000)
    options = {"groups": 1, "lanes": 16, "rows": 1, "most_vectors": 28, "chunk_floats": 6500}
    with pytest.raises(EngineError, match="a map of 300 planes of 2100000 floats; expected less than 2 GB"):
        pack(np.ones((1, 300, 1, 1), np.float32), source, (1000, 2000), PlaneGeometry((1, 1)), **options)


def test_an_unknown_instruction_set_is_named() -> None:
    with pytest.raises(EngineError, match=r"'sse9'; this processor and build have .*scalar"):
        set_instruction_set("sse9")


@pytest.mark.filterwarnings("ignore:At pre-dispatch tracing:UserWarning")  # PyTorch 2.4, of every custom operator
def test_compilers_see_one_operator() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
    with torch.no_grad():
        conv.weight.mul_(torch.rand_like(conv.weight) > 0.8)
    model = nn.Sequential(SparseConv2d(conv), nn.ReLU()).eval()
    plain = nn.Sequential(conv, nn.ReLU()).eval()
    picture = torch.rand(2, 3, 17, 12)
    exported = torch.export.export(model, (picture,))
    called = [str(node.target) for node in exported.graph.nodes if node.op == "call_function"]
    assert called == ["sapwood.sparse_conv2d.default", "aten.relu.default"]
    torch.testing.assert_close(exported.module()(picture), plain(picture).detach(), rtol=1e-5, atol=1e-5)
    whole = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(whole(picture), plain(picture).detach(), rtol=1e-5, atol=1e-5)


def test_the_operator_is_what_it_says() -> None:
    ours = SparseConv2d(nn.Conv2d(2, 4, 3, padding=1))
    found = torch.library.opcheck(torch.ops.sapwood.sparse_conv2d.default, (torch.rand(1, 2, 6, 5), ours._number))
    assert "test_faketensor" in found
    assert set(found.values()) == {"SUCCESS"}


def test_a_copy_is_its_own_and_a_module_that_is_gone_is_named() -> None:
    ours = SparseConv2d(nn.Conv2d(2, 4, 3))
    twin = copy.deepcopy(ours)
    picture = torch.rand(1, 2, 6, 5)
    assert torch.equal(twin(picture), ours(picture))
    number = ours._number
    del ours
    gc.collect()
    assert twin(picture).shape == (1, 4, 4, 3)
    with pytest.raises(EngineError, match="is not in this process"):
        torch.ops.sapwood.sparse_conv2d(picture, number)
