"""Whole networks on the engine give what PyTorch gives."""

from __future__ import annotations

import ctypes
import random
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sapwood
from sapwood.errors import EngineError, EngineMissingError, MeasureError, MissingDependencyError
from sapwood.models.darknet import DarknetNetwork, parse_cfg
from sapwood.runtime import RUNTIME, RUNTIMES, check_session
from sapwood.runtime.engine import compile as compile_model
from sapwood.runtime.engine import instruction_set, set_instruction_set
from sapwood.runtime.engine import library as engine_library
from sapwood.runtime.engine.interface import OpKind
from sapwood.runtime.engine.maps import Map
from sapwood.runtime.engine.program import Builder

pytestmark = pytest.mark.usefixtures("engine")
ISAS = ("avx512", "avx2", "neon", "scalar")


def sparse(model: nn.Module, density: float = 0.3) -> nn.Module:
    """Random zeros and statistics: no layer is what it was initialised to."""
    torch.manual_seed(0)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight *= (torch.rand_like(module.weight) < density) / density**0.5
            elif isinstance(module, nn.BatchNorm2d) and module.track_running_stats:
                module.running_mean.normal_(0.0, 0.1)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 2.0)  # type: ignore[union-attr]
    return model.eval()


def check(model: nn.Module, *inputs: Tensor, threads: int = 2) -> Any:
    compiled = compile_model(model, inputs, threads=threads)
    compiled(*(1e3 * torch.randn(one.shape) for one in inputs))  # what is left of it must not matter
    with torch.no_grad():
        wanted, found = model(*inputs), compiled(*inputs)
    assert type(found) is type(wanted)
    if isinstance(wanted, Tensor):
        wanted, found = (wanted,), (found,)
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        assert float((one - other).abs().max()) <= 1e-4 * float(other.abs().max())
    return compiled


def resnet18() -> nn.Module:
    from torchvision.models import resnet18

    return resnet18()


def mobilenet_v3() -> nn.Module:
    from torchvision.models import mobilenet_v3_small

    return mobilenet_v3_small()


def densenet() -> nn.Module:
    from torchvision.models import DenseNet

    return DenseNet(8, (2, 2), 16, num_classes=7)


@pytest.mark.parametrize("make", [resnet18, mobilenet_v3, densenet])
def test_classifiers(make: Any) -> None:
    check(sparse(make()), torch.randn(3, 3, 64, 64))


def test_a_darknet_detector(detector_text: str) -> None:
    network = DarknetNetwork(parse_cfg(detector_text))
    check(sparse(network), torch.rand(2, *network.input_shape))


@pytest.mark.parametrize("name", ["yolov3-tiny", "yolo-fastest-1.1"])
def test_real_detectors(name: str, data_dir: Path) -> None:
    cfg = data_dir / "detectors" / f"{name}.cfg"
    bundle = sapwood.load_model(str(cfg), weights=cfg.with_suffix(".weights"))
    check(bundle.model.eval(), torch.rand(1, *bundle.example_inputs.shape[1:]))  # type: ignore[union-attr]


ACTIVATIONS = (
    nn.ReLU(), nn.LeakyReLU(0.1), nn.ReLU6(), nn.SiLU(), nn.Mish(), nn.Hardswish(), nn.Hardsigmoid(), nn.Sigmoid(),
    nn.Tanh(),
)  # fmt: skip


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda one: type(one).__name__)
def test_activations(activation: nn.Module) -> None:
    conv = nn.Conv2d(3, 5, 3, padding=1)
    with torch.no_grad():
        conv.weight *= 20.0  # far into both ends
    check(nn.Sequential(conv, activation), torch.randn(1, 3, 13, 13))
    check(nn.Sequential(nn.MaxPool2d(2), activation), 30.0 * torch.randn(1, 3, 13, 13))


POOLS = (
    nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2, 1), nn.MaxPool2d(3, 2, ceil_mode=True), nn.AvgPool2d(2),
    nn.AvgPool2d(3, 2, 1), nn.AvgPool2d(3, 1, 1, count_include_pad=False), nn.AdaptiveAvgPool2d(1),
    nn.Upsample(scale_factor=2), nn.Upsample(scale_factor=(3, 1)),
)  # fmt: skip


@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_pooling(pool: nn.Module) -> None:
    check(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), pool, nn.Conv2d(4, 2, 1)), torch.randn(1, 3, 14, 18))


@pytest.mark.parametrize("pool", [
    nn.MaxPool2d(3, 3, ceil_mode=True), nn.AvgPool2d(3, 3, ceil_mode=True), nn.MaxPool2d(5, 4, 1, ceil_mode=True),
], ids=str)  # fmt: skip
def test_windows_larger_than_the_map(pool: nn.Module) -> None:
    """What lies behind the last column is no value: below zero, the padding was the largest."""
    check(nn.Sequential(nn.LeakyReLU(0.5), pool), -1.0 - torch.rand(1, 4, 2, 2))


class Wired(nn.Module):
    """Concatenations inside of each other, halves, sums and products, and values that several layers read."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 5, padding=2)
        self.third = nn.Conv2d(12, 8, 3, stride=2, padding=1)
        self.gate = nn.Conv2d(8, 8, 1)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        one = F.leaky_relu(self.first(picture), 0.1)
        half = one[:, 4:]
        two = F.silu(self.second(half))
        joined = torch.cat([torch.cat([half, two], 1), one[:, :4]], 1)
        three = self.third(joined)
        gated = three * torch.sigmoid(self.gate(F.adaptive_avg_pool2d(three, 1)))
        return F.relu(three + gated), torch.cat([joined, joined, picture], 1)


def test_values_that_several_layers_read() -> None:
    check(sparse(Wired(), 0.5), torch.randn(2, 3, 20, 28))


def test_residual_sums_start_the_accumulators() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 1)

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.two(F.relu(self.one(x))) + x)

    compiled = check(Residual(), torch.randn(1, 6, 10, 10))
    assert [step.kind for step in compiled.steps] == ["pack", "convolution", "convolution", "unpack"]


@pytest.mark.parametrize("isa", ISAS, indirect=True)
def test_results_that_only_strided_convolutions_read_are_kept_as_phases(isa: str) -> None:
    for seed in range(40):
        chosen = random.Random(seed)
        torch.manual_seed(seed)
        taps = [chosen.choice([1, 3, 5]) for _ in range(3)]
        layers: list[nn.Module] = []
        for taps_of, (inputs, outputs) in zip(taps, ((3, 6), (6, 5), (5, 4)), strict=True):
            step = chosen.choice([1, 2, 2])
            layers.append(nn.Conv2d(inputs, outputs, taps_of, step, chosen.randint(0, taps_of // 2)))
            layers.append(chosen.choice([nn.ReLU(), nn.SiLU(), nn.Sigmoid()]))
        model = sparse(nn.Sequential(*layers), 0.6)
        check(model, torch.randn(1, 3, chosen.randint(20, 40), chosen.randint(20, 100)), threads=1 + seed % 2)


def test_phases_need_no_step_of_their_own() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1))
    assert [step.kind for step in check(model, torch.randn(1, 3, 12, 12)).steps] == [
        "pack", "convolution", "convolution", "unpack"
    ]  # fmt: skip


def test_margins_stay_zero() -> None:
    """A second picture finds the padding as the first one did, whatever the first one held."""
    model = sparse(Wired(), 0.5)
    picture = torch.randn(1, 3, 20, 28)
    fresh, used = (compile_model(model, (picture,), threads=1) for _ in range(2))
    used(1e30 * torch.randn(1, 3, 20, 28))
    assert all(torch.equal(one, other) for one, other in zip(fresh(picture), used(picture), strict=True))


def test_other_sizes_are_refused() -> None:
    compiled = compile_model(nn.Conv2d(3, 2, 1), torch.zeros(1, 3, 8, 8))
    with pytest.raises(
        EngineError, match=r"inputs of shapes \[\(1, 3, 8, 9\)\]; compiled for batches of \[\(3, 8, 8\)\]"
    ):
        compiled(torch.zeros(1, 3, 8, 9))


class Turned(nn.Module):
    """The real part of a transform between two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.behind = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.behind(torch.fft.fft(self.before(x)).real).relu()


class Shuffled(nn.Module):
    """Channels change places, in PyTorch, and what is changed in place there is read again under the same name only."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.behind = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, groups=2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.before(x)
        shuffled = F.channel_shuffle(x, 2)
        turned = shuffled.flip(2)
        turned.clamp_(-0.5, 0.5)
        return self.behind(shuffled) + x[:, :, 1:-1, 1:-1], turned.sum((2, 3))


class Counted(nn.Module):
    """A mask that is filled in place, part by part, from numbers: known before the first picture."""

    def forward(self, x: Tensor) -> Tensor:
        mask = x.new_zeros(x.shape[2:])
        for number in range(4):
            mask[number::4, number:] = number
        return x.masked_fill(mask == 2.0, -1.0) + mask


@pytest.mark.parametrize(("model", "reason"), [
    (Turned(), r"in PyTorch: aten._fft_r2c in module '\(the model\)' at .*: there is no such operation in it"),
    (Shuffled(), "aten.channel_shuffle .*: there is no such operation in it"),
    (Counted(), "aten.masked_fill .*: there is no such operation in it"),
    (nn.LeakyReLU(1.5), "only leaky ReLUs of slopes from 0 to 1"),
    (nn.ConvTranspose2d(3, 2, 2), "that are not transposed"),
    (nn.AdaptiveAvgPool2d(3), "only pooling to one place"),
    (nn.Sequential(nn.ConstantPad2d(1, float("-inf")), nn.LeakyReLU(0.1), nn.Hardsigmoid()), "constant_pad_nd"),
    (nn.BatchNorm2d(3, track_running_stats=False), "only BatchNorms in evaluation mode"),
], ids=lambda one: type(one).__name__ if isinstance(one, nn.Module) else "")  # fmt: skip
def test_what_it_lacks_runs_in_pytorch(model: nn.Module, reason: str) -> None:
    inputs = torch.randn(1, 3, 8, 12)
    compiled = check(sparse(model), inputs)
    assert re.search(reason, compiled.explain())
    session = RUNTIMES["sapwood"].load(model, inputs, threads=1)
    assert check_session(session, model, inputs) < 1e-5


def test_batches_of_what_runs_in_pytorch() -> None:
    check(sparse(Shuffled()), torch.randn(3, 3, 8, 12))


class Deciding(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2.0 if float(x.sum()) > 0.0 else x


class Random(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.5, training=True)


class Strided(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.as_strided((1, 3, 4, 4), (192, 64, 8, 2))


class Scattered(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.as_strided_scatter(x, 2.0 * x[:, :1], (1, 1, 8, 8), (192, 64, 8, 1))


@pytest.mark.parametrize(("model", "message"), [
    (Deciding(), "what follows depends on the values that it reads"),
    (Random(), "away from the model on the example inputs"),
    (Strided(), "it depends on where values stand in memory"),
    (Scattered(), "aten.as_strided_scatter .*: it depends on where values stand in memory"),
], ids=lambda one: type(one).__name__ if isinstance(one, nn.Module) else "")  # fmt: skip
def test_what_cannot_be_compiled_is_named(model: nn.Module, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        compile_model(model, torch.randn(1, 3, 8, 8))
    with pytest.raises(MeasureError, match=message):
        RUNTIMES["sapwood"].load(model, torch.randn(1, 3, 8, 8), threads=1)


def test_a_library_that_is_not_built_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    engine_library.library.cache_clear()
    monkeypatch.setattr(engine_library, "places", lambda: [tmp_path / engine_library.LIBRARY])
    try:
        with pytest.raises(EngineMissingError, match="the sparse engine is not built"):
            compile_model(nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 4, 4))
        with pytest.raises(MissingDependencyError, match="the sparse engine is not built"):
            RUNTIMES["sapwood"].load(nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 4, 4), threads=1)
        (tmp_path / engine_library.LIBRARY).write_bytes(b"no library")
        with pytest.raises(EngineMissingError, match="cannot be loaded"):
            engine_library.library()
    finally:
        engine_library.library.cache_clear()


@pytest.mark.parametrize("same", [False, True], ids=["two models", "one model"])
def test_calls_from_several_threads(same: bool) -> None:
    pictures = torch.randn(2, 1, 3, 20, 28)
    compiled = [compile_model(sparse(Wired(), density), pictures[0], threads=2) for density in (0.3, 0.8)]
    if same:
        compiled[1] = compiled[0]
    wanted = [one(picture)[0] for one, picture in zip(compiled, pictures, strict=True)]
    equal: list[bool] = []

    def run(number: int) -> None:
        equal.extend(torch.equal(compiled[number](pictures[number])[0], wanted[number]) for _ in range(50))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert equal == [True] * 100


def test_programs_that_end_at_once_leave_no_thread_behind() -> None:
    """A thread may wake so late that the run it was woken for is over, and the program too."""
    tasks = Path("/proc/self/task")
    if not tasks.exists():
        pytest.skip("this system does not list a process's threads")
    picture = torch.randn(1, 3, 12, 20)
    compile_model(nn.Conv2d(3, 8, 3), picture, threads=1, tune=False)(picture)  # PyTorch has its threads now
    before = len(list(tasks.iterdir()))
    for pause in (0.0, 1e-4, 1e-3):
        for _ in range(40):
            compiled = compile_model(nn.Conv2d(3, 8, 3), picture, threads=3, tune=False)
            compiled(picture)
            time.sleep(pause)
            compiled(picture)
            del compiled
    assert len(list(tasks.iterdir())) <= before


def test_example_inputs_and_threads_are_checked() -> None:
    with pytest.raises(EngineError, match="example inputs are a dict; expected a tensor or a tuple of tensors"):
        compile_model(nn.ReLU(), {"input": torch.zeros(1, 2, 4, 4)})
    with pytest.raises(EngineError, match="example input 1 is a dict; expected a tensor or a tuple of tensors"):
        compile_model(nn.ReLU(), (torch.zeros(1, 2, 4, 4), {"mask": torch.zeros(1, 4)}))
    with pytest.raises(EngineError, match="threads 0; expected at least 1, at most 1024"):
        compile_model(nn.ReLU(), torch.zeros(1, 2, 4, 4), threads=0)


def test_layers_have_times_under_their_names() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()
    inputs = torch.rand(1, 3, 16, 16)
    session = RUNTIMES["sapwood"].load(model, inputs, threads=1)
    assert check_session(session, model, inputs) < 1e-5
    times = session.layer_times(3)
    assert times is not None
    assert set(times) == {"0", "3", RUNTIME}
    assert min(times.values()) > 0.0


def test_maps_share_memory() -> None:
    deep = nn.Sequential(*(nn.Conv2d(8, 8, 3, padding=1) for _ in range(20)))
    picture = torch.randn(1, 8, 64, 64)
    compiled = check(deep, picture)
    assert compiled.num_bytes < 5 * 8 * 66 * 80 * 4 + 20 * 8 * 8 * 9 * 8 * 2


def test_explain_lists_every_operation() -> None:
    conv = nn.Conv2d(3, 4, 1)
    with torch.no_grad():
        conv.weight[:3] = 0.0
    model = nn.Sequential(conv, nn.MaxPool2d(2))
    lines = compile_model(model, torch.zeros(1, 3, 8, 8), tune=False).explain().splitlines()
    assert [line.split()[:-1] for line in lines[1:5]] == [
        ["(engine)", "pack"], ["0", "convolution", "75.0%"], ["1", "max", "pool"], ["(engine)", "unpack"]
    ]  # fmt: skip
    assert all(float(line.split()[-1]) >= 0.0 for line in lines[1:5])
    assert lines[5:] == ["PyTorch was not tried in place of the engine: not asked for"]


def test_explain_says_which_layers_are_dense() -> None:
    full, empty = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1)
    with torch.no_grad():
        empty.weight[:7] = 0.0
    lines = compile_model(nn.Sequential(full, empty), torch.zeros(1, 3, 8, 8), tune=False).explain().splitlines()
    assert [line.split()[1:-1] for line in lines[2:4]] == [["convolution,", "dense", "0.0%"], ["convolution", "87.5%"]]


def broken(**values: Any) -> str:
    builder = Builder()
    source = builder.map(2, 4, 4, margin=1, pitch=builder.lanes)
    out = builder.map(2, 4, 4, margin=0, pitch=builder.lanes)
    starts, bias = (ctypes.c_int64 * 7)(*values.pop("starts", [0, 0, 0, 1, 1, 1, 1])), (ctypes.c_float * 2)()
    entries = (ctypes.c_int32 * 2)(values.pop("offset", 0), 0)
    given = {"rows": 1, "columns": 1, "num_chunks": 1, "channels": 2, "height": 4, "width": 4} | values
    arrays = {"starts": starts, "entries": entries, "bias": bias}
    if "num_weights" in given:
        arrays["weights"] = (ctypes.c_float * 64)()
    given |= {name: ctypes.addressof(value) for name, value in arrays.items()}
    given = {"num_starts": 7, "num_entries": 1, "num_bias": 2} | given
    changed = given.pop("map", {})
    builder.add(OpKind.CONV, Map(**(source.__dict__ | changed)), out, **given)
    with pytest.raises(EngineError) as caught:
        builder.build()
    return str(caught.value)


DENSE = {"groups": 1, "starts": [0, 1], "num_starts": 2, "num_weights": 8}


@pytest.mark.parametrize(("values", "message"), [
    ({"groups": -1}, "the groups must have the same channels"),
    ({"groups": 3}, "the groups must have the same channels"),
    ({"groups": 2**31 - 1}, "the groups must have the same channels"),
    ({"groups": 1}, "starts must be one more than lists"),
    (DENSE | {"num_starts": 7}, "starts must be one more than lists"),
    (DENSE | {"starts": [0, 2]}, "entries are missing"),
    (DENSE | {"starts": [1, 1]}, "the first list must start at 0"),
    (DENSE | {"starts": [0, -1]}, "lists must be in order"),
    (DENSE | {"num_weights": 7}, "there must be a weight for each tap and each output of its group, in whole blocks"),
    (DENSE | {"num_weights": -8}, "there must be a weight for each tap"),
    (DENSE | {"num_weights": 2**31 - 1}, "there must be a weight for each tap"),
    (DENSE | {"groups": 2, "starts": [0, 1, 1], "num_starts": 3, "num_weights": 16}, "there must be a weight for each"),
    (DENSE | {"by_channels": 1, "num_chunks": 2, "num_starts": 3, "starts": [0, 1, 1]}, "in one group and one chunk"),
    (DENSE | {"by_channels": 1, "groups": 2}, "in one group and one chunk"),
    ({"by_channels": 1}, "in one group and one chunk"),
    (DENSE | {"by_channels": 1, "num_weights": 9}, "there must be a weight for each tap"),
    (DENSE | {"offset": 1 << 30}, "entry 0 reads outside of the arena"),
    ({"offset": 1 << 30}, "entry 0 reads outside of the arena"),
    ({"offset": 2}, "entry 0 reads outside of the arena"),
    ({"starts": [0, 0, 0, 1, 0, 1, 1]}, "lists must be in order"),
    ({"rows": 0}, "a tile must have between 1 and"),
    ({"rows": 100}, "a tile must have between 1 and"),
    ({"channels": 3}, "the output does not have the result's size"),
    ({"phased": 1}, "the output does not have the result's size"),
    ({"num_chunks": 0}, "starts and bias are missing"),
    ({"num_chunks": 2**28 + 1}, "starts and bias are missing"),
    ({"num_starts": 8}, "starts must be one more than lists"),
    ({"num_starts": -1}, "starts must be one more than lists"),
    ({"num_entries": 2}, "entries are missing"),
    ({"num_bias": 1}, "there must be a bias for each channel"),
    ({"rows": 2**31 - 1, "columns": 2**31 - 1}, "a tile must have between 1 and"),
    ({"rows": 5}, "a tile must not be higher than the result"),
    ({"height": 2**31 - 1}, "the output does not have the result's size"),
    ({"map": {"margin": 2**28, "height": 2**28}}, "input: planes overlap"),
    ({"map": {"stride": 2**62}}, "input: it does not fit into the arena"),
    ({"map": {"channels": 2**28, "stride": 2**40}}, "input: it does not fit into the arena"),
    ({"map": {"offset": 2**63 - 16}}, "input: it does not fit into the arena"),
    ({"map": {"offset": 192}}, "input and output share places"),
    ({"map": {"offset": 1 << 40}}, "input: it does not fit into the arena"),
    ({"map": {"offset": 3}}, "input: planes must start on cache lines"),
    ({"map": {"pitch": 3}}, "input: the pitch must be at least the width"),
    ({"map": {"pitch": 5}}, "input and output must have the same pitch"),
    ({"map": {"stride": 16}}, "input: planes overlap"),
])  # fmt: skip
def test_the_library_checks_programs(values: dict[str, Any], message: str) -> None:
    before = instruction_set()
    set_instruction_set("avx512" if engine_library.library().sw_has_isa(b"avx512") else "scalar")
    try:
        if values.get("num_weights") == 8:  # of a whole block
            values = values | {"num_weights": engine_library.library().sw_block()}
        assert message in broken(**values)
    finally:
        set_instruction_set(before)


def test_the_library_knows_its_operations() -> None:
    builder = Builder()
    builder.add(99)
    with pytest.raises(EngineError, match="operation 0: kind 99 is not known"):
        builder.build()


@pytest.mark.parametrize("isa", ISAS)
def test_inputs_that_only_strides_read_are_packed_as_phases(isa: str) -> None:
    """Odd sizes leave phases of several widths; a second reader keeps the input whole."""
    if not engine_library.library().sw_has_isa(isa.encode()):
        pytest.skip(f"no {isa} on this processor")
    before = instruction_set()
    set_instruction_set(isa)
    try:
        for size in ((16, 40), (15, 41), (1, 3), (37, 36)):
            compiled = check(nn.Conv2d(3, 5, 3, 2, 1), torch.randn(2, 3, *size), threads=2)
            assert [step.kind for step in compiled.steps] == ["pack", "convolution", "unpack"]
            check(nn.MaxPool2d(2), torch.randn(1, 5, *(side + 1 for side in size)))
    finally:
        set_instruction_set(before)


class ReadTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.strided, self.whole = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.strided(x), self.whole(x)


def test_an_input_that_is_read_whole_as_well() -> None:
    compiled = check(ReadTwice(), torch.randn(1, 3, 17, 22))
    assert "phases" in [step.kind for step in compiled.steps]
