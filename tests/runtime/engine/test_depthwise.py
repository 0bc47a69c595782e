"""Depthwise convolutions and the chains around them, against PyTorch: every shape, density and instruction set."""

from __future__ import annotations

import ctypes
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sapwood.errors import EngineError
from sapwood.runtime import RUNTIMES, load
from sapwood.runtime.base import RUNTIME
from sapwood.runtime.engine import chains, kept, tuning
from sapwood.runtime.engine import compile as compile_model
from sapwood.runtime.engine.chains import Band
from sapwood.runtime.engine.compiled import CompiledModel
from sapwood.runtime.engine.convolution import Way
from sapwood.runtime.engine.interface import OpKind
from sapwood.runtime.engine.maps import Map
from sapwood.runtime.engine.program import Builder

pytestmark = pytest.mark.usefixtures("engine")
ISAS = ("avx512", "avx2", "neon", "scalar")
SIDES = (1, 7, 8, 9, 14, 15, 17, 28, 33, 56)
ACTIVATIONS = (nn.Identity, nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.Sigmoid)


@pytest.fixture
def everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chains are taken wherever they can be, a few rows at a time."""
    monkeypatch.setattr(chains, "WORTH_FLOATS", 0)
    monkeypatch.setattr(chains, "USUAL_FLOATS", 0)


def random_block(seed: int) -> tuple[nn.Sequential, Tensor]:
    """A depthwise convolution; often one of single places or of windows in front of it, and one behind it."""
    chosen = random.Random(seed)
    torch.manual_seed(seed)
    channels, multiplier = chosen.randint(2, 19), chosen.choice([1, 1, 1, 2])
    side = chosen.choice([1, 2, 3, 3, 3, 5, 7])
    kernel = (side, side) if chosen.random() < 0.7 else (chosen.choice([1, 2, 3, 5]), chosen.choice([1, 3, 7]))
    step = chosen.choice([1, 1, 2])
    stride = (step, step) if chosen.random() < 0.7 else (chosen.choice([1, 2, 3]), chosen.choice([1, 2, 3]))
    dilation = (1, 1) if chosen.random() < 0.7 else (chosen.choice([1, 2]), chosen.choice([1, 3]))
    reach = [gap * (taps - 1) for taps, gap in zip(kernel, dilation, strict=True)]
    padding = tuple(chosen.choice([one // 2, chosen.randint(0, one // 2 + 1)]) for one in reach)
    size = [
        max(chosen.choice([*SIDES, chosen.randint(1, 70)]), far + 1 - 2 * pad)
        for far, pad in zip(reach, padding, strict=True)
    ]
    layers: list[nn.Module] = []
    inputs = channels
    if chosen.random() < 0.7:
        inputs, taps = chosen.randint(1, 9), chosen.choice([1, 1, 3])
        steps = chosen.choice([(1, 1), (1, 1), (2, 2), (2, 1), (1, 3)])
        layers += [nn.Conv2d(inputs, channels, taps, steps, taps // 2), chosen.choice(ACTIVATIONS)()]
        size = [step * one for step, one in zip(steps, size, strict=True)]
    bias = chosen.random() < 0.7
    wide = channels * multiplier
    layers += [nn.Conv2d(channels, wide, kernel, stride, padding, dilation, channels, bias)]
    layers += [chosen.choice(ACTIVATIONS)()]
    if chosen.random() < 0.7:
        outputs = chosen.randint(1, 9)
        layers += [nn.Conv2d(wide, outputs, 1), chosen.choice(ACTIVATIONS)()]
        if chosen.random() < 0.3:  # what is in front of it is only kept as phases
            layers += [nn.Conv2d(outputs, 3, 3, 2, 1)]
    with torch.no_grad():
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                layer.weight *= torch.rand_like(layer.weight) < chosen.choice([0.0, 0.1, 0.4, 1.0, 1.0])
    return nn.Sequential(*layers).eval(), torch.randn(1, inputs, *size)


def check(model: nn.Module, picture: Tensor, *, threads: int = 1, tune: bool = False) -> CompiledModel:
    compiled = compile_model(model.eval(), picture, threads=threads, tune=tune)
    with torch.no_grad():
        found, again, wanted = compiled(picture), compiled(picture), model(picture)
    scale = float(wanted.abs().max().clamp_min(1e-3))
    assert float((found - wanted).abs().max()) <= 1e-5 * scale, f"{model}, {tuple(picture.shape)}"
    assert torch.equal(found, again)
    return compiled


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize("isa", ISAS, indirect=True)
def test_random_blocks(isa: str) -> None:
    kinds, ways = set(), set()
    for seed in range(40):
        compiled = check(*random_block(seed), threads=1 + seed % 2)
        kinds |= {step.kind for step in compiled.steps}
        ways |= {step.dense for step in compiled.steps if step.kind == "convolution in a chain"}
    assert ways == {False, True}
    assert {"depthwise", "depthwise in a chain", "convolution in a chain", "chain of 2, 4 rows"} <= kinds
    assert "phases" not in {kind for kind in kinds if "chain" in kind}


@pytest.mark.parametrize("isa", ISAS, indirect=True)
def test_random_blocks_that_are_no_chains(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was planned for a chain that is not taken leaves nothing behind."""
    monkeypatch.setattr(chains, "WORTH_FLOATS", 1 << 60)
    for seed in range(100, 140):
        compiled = check(*random_block(seed), threads=1 + seed % 2)
        assert not any("chain" in step.kind for step in compiled.steps)


@pytest.mark.parametrize("worth", [0, 1 << 60])
@pytest.mark.parametrize("stride", [(2, 1), (1, 2), (3, 2), (2, 2)], ids=str)
def test_phases_are_made_for_what_a_chain_begins_with(
    stride: tuple[int, int], worth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are not the input's own, for another convolution reads that."""

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.strided, self.other = nn.Conv2d(3, 8, 3, stride, 1), nn.Conv2d(3, 5, 3, padding=1)
            self.window = nn.Conv2d(8, 8, 3, padding=1, groups=8)

        def forward(self, x: Tensor) -> Tensor:
            whole = self.other(x).mean((2, 3), keepdim=True)
            return self.window(self.strided(x)) * whole.mean(1, keepdim=True)

    monkeypatch.setattr(chains, "WORTH_FLOATS", worth)
    torch.manual_seed(0)
    kinds = [step.kind for step in check(Twice(), torch.randn(1, 3, 13, 22)).steps]
    assert kinds.count("phases") == 1
    assert any("chain" in kind for kind in kinds) is (worth == 0)


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize("front", [True, False])
def test_no_chain_ends_in_phases(front: bool) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU(), nn.Conv2d(8, 6, 1), nn.ReLU()]
    first = [nn.Conv2d(8, 8, 1)] if front else []
    compiled = check(nn.Sequential(*first, *layers, nn.Conv2d(6, 4, 3, 2, 1)), torch.randn(1, 8, 20, 20))
    chain = ["chain of 2, 4 rows", *CHAINED[:2]] if front else ["depthwise"]
    assert [step.kind for step in compiled.steps] == ["pack", *chain, "convolution", "convolution", "unpack"]


@pytest.mark.slow
@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize("isa", ISAS, indirect=True)
def test_many_random_blocks(isa: str) -> None:
    for seed in range(1_000, 3_000):
        check(*random_block(seed), threads=1 + seed % 3, tune=seed % 10 == 0)


class Inverted(nn.Module):
    """An inverted residual: its input is added to its result."""

    def __init__(self, channels: int = 4, wide: int = 24, side: int = 3) -> None:
        super().__init__()
        self.expand, self.norm = nn.Conv2d(channels, wide, 1, bias=False), nn.BatchNorm2d(wide)
        self.filter = nn.Conv2d(wide, wide, side, padding=side // 2, groups=wide)
        self.project = nn.Conv2d(wide, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(nn.functional.relu6(self.filter(nn.functional.relu6(self.norm(self.expand(x)))))) + x


CHAINED = ["convolution in a chain", "depthwise in a chain", "convolution in a chain"]


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize("threads", [1, 2])
def test_inverted_residuals_are_chains(threads: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Inverted(), Inverted(side=5))
    compiled = check(model, torch.randn(1, 4, 21, 30), threads=threads)
    chain = ["chain of 3, 4 rows", *CHAINED]
    assert [step.kind for step in compiled.steps] == ["pack", *chain, *chain, "unpack"]
    assert compiled.explain().count("chain of 3, 4 rows") == 2


@pytest.mark.usefixtures("everything")
def test_what_is_handed_on_takes_no_memory() -> None:
    torch.manual_seed(0)
    model, picture = nn.Sequential(Inverted(wide=240)), torch.randn(1, 4, 64, 64)
    plane = 4 * 66 * 80
    assert check(model, picture).num_bytes < 240 * plane / 4


def test_the_parts_of_a_chain_have_times_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning.Tuner, "band", lambda *_: Band(4))
    session = RUNTIMES["sapwood"].load(Inverted().eval(), torch.rand(1, 4, 40, 40), threads=1)
    times = session.layer_times(3)
    assert times is not None
    assert set(times) == {"expand", "filter", "project", RUNTIME}
    assert min(times.values()) > 0.0


@pytest.mark.usefixtures("everything")
def test_what_others_read_is_whole() -> None:
    class Read(Inverted):
        def forward(self, x: Tensor) -> Tensor:
            wide = self.expand(x)
            return self.project(self.filter(wide)) + wide[:, :4]

    class Returned(Inverted):
        def forward(self, x: Tensor) -> Any:
            middle = self.filter(self.expand(x))
            return torch.cat([self.project(middle), middle], 1)

    def steps(model: nn.Module) -> list[str]:
        return [step.kind for step in check(model, torch.randn(1, 4, 12, 12)).steps]

    assert steps(Read()) == ["pack", "convolution", "chain of 2, 4 rows", *CHAINED[1:], "unpack"]
    assert steps(Returned()) == ["pack", "chain of 2, 4 rows", *CHAINED[:2], "convolution", "unpack"]


def test_no_step_splits_what_depthwise_convolutions_stride_over() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1, groups=8), nn.AvgPool2d(2))
    assert [step.kind for step in check(model, torch.randn(1, 3, 30, 33)).steps] == [
        "pack", "convolution", "depthwise", "average pool", "unpack"
    ]  # fmt: skip


def test_a_choice_is_remembered_and_a_damaged_one_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAPWOOD_CACHE", str(tmp_path))
    model, picture = Inverted(), torch.randn(1, 4, 40, 40)
    check(model, picture, tune=True)
    known = json.loads(tuning.cache_file().read_text())
    (key,) = [key for key in known if key.startswith("chain")]
    for rows, kind in ((8, "chain of 3, 8 rows"), (0, "depthwise")):
        known[key][0] = 1 + rows
        tuning.cache_file().write_text(json.dumps(known))
        assert kind in [step.kind for step in check(model, picture, tune=True).steps]
    for way in (0, 1):
        known[key] = [9, 1, way]
        tuning.cache_file().write_text(json.dumps(known))
        steps = check(model, picture, tune=True).steps
        assert next(step.dense for step in steps if step.kind == "convolution in a chain") == bool(way)
    known[key][0] = 10**30
    tuning.cache_file().write_text(json.dumps(known))
    monkeypatch.setattr(kept, "_warned", set())
    with pytest.warns(UserWarning, match="a chain of 9+ rows that is never tried; what is needed is tried and remem"):
        check(model, picture, tune=True)
    assert json.loads(tuning.cache_file().read_text())[key][0] < 10**30


@pytest.mark.usefixtures("everything")
def test_a_saved_network_is_planned_anew(tmp_path: Path) -> None:
    model, picture = Inverted().eval(), torch.randn(1, 4, 12, 17)
    compile_model(model, picture, threads=1).save(tmp_path / "net")
    loaded = load(tmp_path / "net", threads=1, tune=False)
    torch.testing.assert_close(loaded(picture), model(picture).detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("everything")
def test_margins_of_a_chain_stay_zero() -> None:
    """A second picture finds the padding as the first one did, whatever the first one held."""
    model, picture = nn.Sequential(Inverted(), Inverted()).eval(), torch.randn(1, 4, 13, 17)
    fresh, used = (compile_model(model, picture, threads=2, tune=False) for _ in range(2))
    used(1e30 * torch.randn(1, 4, 13, 17))
    assert torch.equal(fresh(picture), used(picture))


def broken(**values: Any) -> str:
    builder = Builder()
    source = builder.map(2, 4, 4, margin=1, pitch=builder.lanes)
    out = builder.map(2, 4, 4, margin=0, pitch=builder.lanes)
    weights, bias = (ctypes.c_float * 18)(), (ctypes.c_float * 2)()
    given = {"multiplier": 1, "kernel": (3, 3), "step": (1, 1), "pad": (1, 1), "dilation": (1, 1)}
    given |= {"num_weights": 18, "num_bias": 2, "weights": ctypes.addressof(weights), "bias": ctypes.addressof(bias)}
    source, out = (Map(**(one.__dict__ | values.pop(name, {}))) for name, one in (("source", source), ("out", out)))
    builder.add(OpKind.DEPTHWISE, source, out, **(given | values))
    with pytest.raises(EngineError) as caught:
        builder.build()
    return str(caught.value)


@pytest.mark.parametrize(("values", "message"), [
    ({"multiplier": 0}, "the output must have so many channels for each of the input"),
    ({"multiplier": 2}, "the output must have so many channels for each of the input"),
    ({"multiplier": 2**31 - 1}, "the output must have so many channels for each of the input"),
    ({"kernel": (0, 3)}, "kernel, step and dilation do not fit"),
    ({"kernel": (3, 2**31 - 1)}, "kernel, step and dilation do not fit"),
    ({"step": (0, 1)}, "kernel, step and dilation do not fit"),
    ({"step": (1, -1)}, "kernel, step and dilation do not fit"),
    ({"step": (2, 1)}, "the output does not have the result's size"),
    ({"dilation": (1, 0)}, "kernel, step and dilation do not fit"),
    ({"dilation": (1, 2)}, "the output does not have the result's size"),
    ({"pad": (-1, 1)}, "the padding does not fit"),
    ({"pad": (1, 2**17)}, "the padding does not fit"),
    ({"pad": (2, 1)}, "the output does not have the result's size"),
    ({"kernel": (2**16, 3), "pad": (2**15, 1)}, "the output does not have the result's size"),
    ({"kernel": (20001, 3), "pad": (10000, 1)}, "there must be a window and a bias for each channel"),
    ({"kernel": (20001, 3), "pad": (10000, 1), "num_weights": 2 * 3 * 20001}, "a window reads outside of the arena"),
    ({"kernel": (3, 20001), "pad": (1, 10000), "num_weights": 2 * 3 * 20001}, "a window reads outside of the arena"),
    ({"num_weights": 17}, "there must be a window and a bias for each channel"),
    ({"num_weights": -1}, "there must be a window and a bias for each channel"),
    ({"num_bias": 3}, "there must be a window and a bias for each channel"),
    ({"weights": 0}, "there must be a window and a bias for each channel"),
    ({"bias": 0}, "there must be a window and a bias for each channel"),
    ({"source": {"offset": 192}}, "input and output share places"),
    ({"source": {"offset": 2**63 - 16}}, "input: it does not fit into the arena"),
    ({"source": {"margin": 2**28, "height": 2**28}}, "input: planes overlap"),
    ({"source": {"height": 5, "margin": 0}}, "the output does not have the result's size"),
    ({"out": {"width": 5}}, "the output does not have the result's size"),
    ({"out": {"offset": -1}}, "output: planes must start on cache lines"),
])  # fmt: skip
def test_the_library_checks_depthwise_convolutions(values: dict[str, Any], message: str) -> None:
    assert message in broken(**values)


@pytest.mark.parametrize("isa", ISAS, indirect=True)
@pytest.mark.parametrize("channels", [2, 5, 8, 24, 41])
@pytest.mark.parametrize("threads", [1, 2])
def test_dense_blocks_widen_some_channels_at_a_time(isa: str, channels: int, threads: int) -> None:
    """Blocks that no filter reads, that are not full, and bands whose last one has fewer rows."""
    assert isa
    torch.manual_seed(channels)
    for stride, width in ((1, 40), (2, 113)):
        first = nn.Conv2d(7, channels, 3, 1, 1)
        window = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels)
        with torch.no_grad():
            window.weight[: channels // 2 : 2] = 0.0
        model = nn.Sequential(first, nn.ReLU6(), window, nn.ReLU(), nn.Conv2d(channels, 6, 1)).eval()
        picture = torch.randn(1, 7, 30, width)
        with pytest.MonkeyPatch.context() as patch:
            for rows in (4, 8, 30 // stride):
                patch.setattr(chains.Chain, "usual", lambda _, rows=rows: Band(rows, Way.BLOCKS))
                steps = check(model, picture, threads=threads).steps
                assert [step.dense for step in steps if step.kind == "convolution in a chain"] == [True, False]
