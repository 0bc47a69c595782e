"""Models that are copied, widened, wrapped or hooked otherwise than most, against the silenced dense model."""

from __future__ import annotations

import dataclasses
import sys
import threading
import warnings
from collections import UserDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sapwood
from sapwood.errors import CheckFailedError, ConfigError
from sapwood.models import map_tensors, shared_things
from support.silencing import silence_

HALF = sapwood.Target(sparsity=0.5)


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(F.relu(self.b(F.relu(self.a(x)))))


def check(make: Callable[[], nn.Module], inputs: Tensor, *, a: int = 8) -> sapwood.Pruned:
    """Prunes, compares with the silenced dense model, trains a step; the model given stays as it is."""
    torch.manual_seed(0)
    model = make().eval()
    model(inputs).sum().backward()
    before = {name: (tensor.dtype, tensor.clone()) for name, tensor in model.state_dict().items()}
    pruned = sapwood.prune(model, inputs, target=HALF)
    after = model.state_dict()
    assert all(after[name].dtype is dtype and torch.equal(after[name], old) for name, (dtype, old) in before.items())
    assert pruned.model.a.out_channels == a
    with torch.no_grad():
        found = pruned.model(inputs)
    silence_(model, pruned.plan)
    with torch.no_grad():
        torch.testing.assert_close(found, model(inputs), rtol=1e-4, atol=1e-5)
    pruned.model(inputs).square().sum().backward()
    assert pruned.model.a.weight.grad is not None
    assert bool(pruned.model.a.weight.grad.abs().sum() > 0)
    return pruned


class Lock(Base):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class LogFile(Base):
    def __init__(self) -> None:
        super().__init__()
        self.log = sys.__stderr__


class Store:
    """What some keep feature maps in: not copied by Python, for its lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.maps: list[Tensor] = []


class StoreOfMaps(Base):
    def __init__(self) -> None:
        super().__init__()
        self.store = Store()

    def forward(self, x: Tensor) -> Tensor:
        self.store.maps = [F.relu(self.a(x))]
        return self.c(F.relu(self.b(self.store.maps[0])))


class ListOfMaps(Base):
    def forward(self, x: Tensor) -> Tensor:
        self.maps = [F.relu(self.a(x))]
        return self.c(F.relu(self.b(self.maps[0])))


class NestedMaps(Base):
    def forward(self, x: Tensor) -> Tensor:
        self.maps = {"levels": [(F.relu(self.a(x)), 1)]}
        return self.c(F.relu(self.b(self.maps["levels"][0][0])))


class Lambda(Base):
    def __init__(self) -> None:
        super().__init__()
        self.step = lambda x: F.relu(self.b(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.step(F.relu(self.a(x))))


class Default(Lambda):
    def __init__(self) -> None:
        super().__init__()
        self.step = lambda x, layer=self.b: F.relu(layer(x))


class Partial(Lambda):
    def __init__(self) -> None:
        super().__init__()
        self.step = partial(lambda layer, x: F.relu(layer(x)), self.b)


class Method(Lambda):
    def __init__(self) -> None:
        super().__init__()
        self.step = self.b.forward


class Generator(Base):
    def __init__(self) -> None:
        super().__init__()
        self.random = torch.Generator().manual_seed(3)


def swish(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def scripted(what: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch wants it no more, users have it
        return torch.jit.script(what)


class Scripted(Base):
    def __init__(self) -> None:
        super().__init__()
        self.act = scripted(swish)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.act(self.b(self.act(self.a(x)))))


@pytest.mark.parametrize(
    "kind",
    [Lock, LogFile, StoreOfMaps, ListOfMaps, NestedMaps, Lambda, Default, Partial, Method, Generator, Scripted],
    ids=lambda kind: kind.__name__,
)
def test_what_a_module_holds_is_no_obstacle(kind: type[nn.Module]) -> None:
    check(kind, torch.randn(2, 3, 8, 8))


def test_what_the_pruned_model_shares_is_said() -> None:
    pruned = check(Lock, torch.randn(1, 3, 8, 8))
    assert pruned.notes == ("lock is shared with the model given: no lock is copied",)


def test_functions_of_the_copy_call_its_own_layers() -> None:
    pruned = check(Lambda, torch.randn(1, 3, 8, 8))
    assert pruned.model.step.__closure__[0].cell_contents is pruned.model


def test_a_generator_is_copied_with_its_state() -> None:
    model = Generator().eval()
    twin = sapwood.prune(model, torch.randn(1, 3, 8, 8), target=HALF).model
    assert twin.random is not model.random
    assert torch.equal(torch.rand(3, generator=twin.random), torch.rand(3, generator=model.random))


def test_what_is_shared_is_named() -> None:
    assert shared_things(nn.Sequential(Lock(), Scripted(), Generator())) == {
        "0.lock": "lock",
        "1.act": "ScriptFunction",
    }


class PlainList(Base):
    """A layer that is registered nowhere: it has no name, and nothing of it can go."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = [nn.Conv2d(16, 16, 3, padding=1)]

    def forward(self, x: Tensor) -> Tensor:
        return self.c(F.relu(self.b(F.relu(self.hidden[0](F.relu(self.a(x)))))))


class Closure(PlainList):
    def __init__(self) -> None:
        super().__init__()
        layers = self.hidden
        del self.hidden
        self.step = lambda x: F.relu(layers[0](x))

    def forward(self, x: Tensor) -> Tensor:
        return self.c(F.relu(self.b(self.step(F.relu(self.a(x))))))


@pytest.mark.parametrize("kind", [PlainList, Closure], ids=lambda kind: kind.__name__)
def test_layers_that_are_no_submodules_stay_whole(kind: type[nn.Module]) -> None:
    pruned = check(kind, torch.randn(2, 3, 8, 8), a=16)
    assert pruned.model.b.out_channels == 8
    assert ("a.weight", 0) in {(one.tensor, one.dim) for one in pruned.unpruned}


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(x))


class ScriptedPart(Base):
    def __init__(self) -> None:
        super().__init__()
        self.fast = scripted(Block())
        self.d = nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(F.relu(self.d(self.fast(self.b(F.relu(self.a(x)))))))


def test_a_scripted_part_stays_whole_by_name() -> None:
    pruned = check(ScriptedPart, torch.randn(2, 3, 8, 8))
    assert (pruned.model.b.out_channels, pruned.model.d.out_channels) == (16, 8)
    reasons = {one.tensor: one.reason for one in pruned.unpruned}
    assert reasons["fast.conv.weight"] == "belongs to a TorchScript module, whose code cannot follow"


@dataclasses.dataclass(frozen=True)
class Scene:
    picture: Tensor
    mask: Tensor
    size: int = 8


class Pair(NamedTuple):
    picture: Tensor
    mask: Tensor


class Plain:
    __slots__ = ("mask", "picture")

    def __init__(self, picture: Tensor, mask: Tensor) -> None:
        self.picture, self.mask = picture, mask


class Scenes(Base):
    def forward(self, scene: Any) -> Tensor:
        return self.c(F.relu(self.b(F.relu(self.a(scene.picture)) * scene.mask)))


PICTURE, MASK = torch.randn(2, 3, 8, 8), torch.rand(2, 1, 8, 8)


@pytest.mark.parametrize("kind", [Scene, Pair, Plain], ids=lambda kind: kind.__name__)
def test_inputs_of_own_classes(kind: Callable[..., Any]) -> None:
    scene = kind(PICTURE, MASK)
    pruned = sapwood.prune(Scenes().eval(), (scene,), target=HALF)
    assert pruned.model.a.out_channels == 8
    assert pruned.verification.passed
    assert scene.picture.dtype is torch.float32


def test_inputs_in_a_mapping_that_is_no_dict() -> None:
    batch = UserDict(x=PICTURE)
    assert sapwood.prune(Base().eval(), batch, target=HALF).model.a.out_channels == 8
    assert batch["x"] is PICTURE


def test_containers_keep_their_classes() -> None:
    inputs = (Scene(PICTURE, MASK), Pair(PICTURE, MASK), UserDict(a=[PICTURE], b=3), {"x": None, "text": ["y"]})
    wide = map_tensors(Tensor.double, inputs)
    assert [type(one) for one in wide] == [type(one) for one in inputs]
    assert {wide[0].picture.dtype, wide[1].mask.dtype, wide[2]["a"][0].dtype} == {torch.float64}
    assert (wide[0].size, wide[2]["b"]) == (8, 3)
    assert wide[3] is inputs[3]
    loop: list[Any] = [PICTURE]
    loop.append(loop)
    assert map_tensors(Tensor.double, loop)[0].dtype is torch.float64


def test_fourier_layers_stay_whole_and_what_is_behind_goes() -> None:
    class Spectral(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.randn(8, 8, dtype=torch.cfloat))
            self.a, self.b = nn.Linear(16, 24), nn.Linear(24, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(F.relu(self.a(torch.fft.irfft(torch.fft.rfft(x)[..., :8] @ self.w, n=16))))

    model = Spectral().eval()
    pruned = sapwood.prune(model, torch.randn(2, 16), target=HALF)
    assert (pruned.model.a.out_features, pruned.model.w.dtype) == (12, torch.complex64)
    assert bool((pruned.model.w == model.w).all())


class Driver(nn.Module):
    """Predicts when it is called, with a model inside; trains when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Base()

    def __call__(self, source: Tensor) -> list[Tensor]:
        return list(self.model(source))


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "lazy": (
        lambda: nn.Sequential(nn.LazyConv2d(8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1)),
        r"0 \(LazyConv2d\) have no widths yet; expected a model that ran once: call it on the example inputs",
    ),
    "meta": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1, device="meta")),
        r"2.weight, 2.bias: on the meta device, which holds no values; expected a model with its weights",
    ),
    "driver": (Driver, r"\(the model\) \(Driver\) has no forward: it predicts, .* expected that model .*yolo.model"),
    "scripted": (lambda: scripted(Base()), "is compiled by TorchScript, .* expected the module before"),
    "int8": (
        lambda: torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4)), {nn.Linear}),
        r"0 \(Linear\), .* hold whole numbers for weights, .* expected the model before it was quantised: prune first",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_kinds_that_cannot_be_pruned_say_what_to_do(name: str) -> None:
    make, message = REFUSED[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = make()
    with pytest.raises(ConfigError, match=message):
        sapwood.prune(model, torch.randn(1, 3, 8, 8), target=HALF)


def test_inputs_without_elements_prove_nothing_and_say_so() -> None:
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    with pytest.raises(CheckFailedError, match=r"nothing was compared: .* expected example inputs"):
        sapwood.prune(model, torch.randn(2, 0, 6), target=HALF)


def test_quantisation_aware_training_goes_on_after_pruning() -> None:
    from torch.ao import quantization

    class Net(Base):
        def __init__(self) -> None:
            super().__init__()
            self.quant, self.dequant = quantization.QuantStub(), quantization.DeQuantStub()

        def forward(self, x: Tensor) -> Tensor:
            return self.dequant(super().forward(self.quant(x)))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = Net().train()
        model.qconfig = quantization.get_default_qat_qconfig("fbgemm")
        quantization.prepare_qat(model, inplace=True)
    x = torch.randn(2, 3, 8, 8)
    model(x)
    pruned = sapwood.prune(model, x, target=HALF)
    assert all(tensor.dtype is not torch.float64 for tensor in [*model.parameters(), *model.buffers()])
    watcher = pruned.model.b.weight_fake_quant
    assert (len(watcher.scale), len(watcher.activation_post_process.min_val), len(pruned.model.b.weight)) == (8, 8, 8)
    assert torch.equal(pruned.model.quant.activation_post_process.scale, model.quant.activation_post_process.scale)
    pruned.model(x).square().sum().backward()
    assert bool(pruned.model.b.weight.grad.abs().sum() > 0)
    rounded = pruned.model.b.weight_fake_quant(pruned.model.b.weight)
    assert not torch.equal(rounded, pruned.model.b.weight)  # they are on again


def test_a_model_for_several_processes_keeps_its_wrapper(tmp_path: Path) -> None:
    from torch import distributed

    parts = [nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 4, 1)]
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    try:
        model = nn.parallel.DistributedDataParallel(nn.Sequential(*parts)).eval()
        pruned = sapwood.prune(model, torch.randn(2, 3, 8, 8), target=HALF)
        assert type(pruned.model) is nn.parallel.DistributedDataParallel
        assert pruned.model.module[0].out_channels == 8
        assert pruned.model.require_forward_param_sync
        assert model.require_forward_param_sync
        pruned.model.train()(torch.randn(2, 3, 8, 8)).sum().backward()
        assert pruned.model.module[0].weight.grad is not None
    finally:
        distributed.destroy_process_group()


def test_a_graph_for_each_mode_is_copied_in_the_mode_it_has() -> None:
    from torchvision.models.feature_extraction import create_feature_extractor

    parts = [nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 8, 1), nn.Dropout(), nn.Conv2d(8, 4, 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = create_feature_extractor(nn.Sequential(*parts), ["3", "5"]).eval()
    pruned = sapwood.prune(model, torch.randn(1, 3, 8, 8), target=HALF)
    assert pruned.model.get_submodule("0").out_channels == 8
    assert not any(module.training for module in pruned.model.modules())
    assert pruned.model.train().graph is pruned.model.train_graph


class Positions(nn.Module):
    """Attention to positions, of which a table is kept for the next call: made anew where it does not fit."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.near, self.out = nn.Linear(8, 16), nn.Linear(3, 4), nn.Linear(16, 5)
        self.register_buffer("table", torch.zeros(1, 1, 1, 3), persistent=False)
        self.register_buffer("turns", torch.rand(16), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        count = x.shape[1]
        if self.table.shape[1] != count:
            step = torch.arange(count)[None] - torch.arange(count)[:, None]
            self.table = torch.stack([step, step.abs(), step**2], -1)[None].to(x.dtype)
        weights = self.near(self.table.to(x.dtype)).mean(-1).softmax(-1)
        return self.out(weights @ (torch.relu(self.a(x)) * self.turns))


@pytest.mark.parametrize("ran", [False, True])
def test_a_table_that_is_made_anew_has_no_channels_of_its_own(tmp_path: Path, *, ran: bool) -> None:
    torch.manual_seed(0)
    model, x = Positions().eval(), torch.randn(2, 6, 8)
    if ran:
        model(x)
    pruned = sapwood.prune(model, x, target=HALF)
    assert (pruned.model.a.out_features, len(pruned.model.turns)) == (8, 8)  # what follows a layer goes with it
    assert pruned.model.near.in_features == 3
    if ran:
        reason = "is what table holds, which the model does not save but makes anew"
        assert {one.reason for one in pruned.unpruned if (one.tensor, one.dim) == ("near.weight", 1)} == {reason}
    sapwood.save(pruned, tmp_path / "small")

    def fresh() -> nn.Module:
        again = Positions()
        again.turns = model.turns.clone()
        return again

    loaded = sapwood.load(tmp_path / "small", model=fresh)
    torch.testing.assert_close(loaded(x), pruned.model(x))
    other = torch.randn(1, 9, 8)
    torch.testing.assert_close(loaded(other), pruned.model(other))


ELSEWHERE = nn.Conv2d(16, 16, 1)


class NarrowOnly(Base):
    def forward(self, x: Tensor) -> Tensor:
        assert x.dtype is torch.bfloat16, "made for bfloat16"
        return super().forward(x)


class CallsElsewhere(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.c(F.relu(ELSEWHERE(self.b(F.relu(self.a(x))))))


@pytest.mark.parametrize(
    ("kind", "dtype", "message"),
    [
        (NarrowOnly, torch.bfloat16, r"AssertionError at test_odd_models.py:\d+: made for bfloat16"),
        (CallsElsewhere, torch.float32, r"RuntimeError at test_odd_models.py:\d+: "),
    ],
    ids=["bfloat16", "a layer of nobody"],
)
def test_a_model_without_float64_is_told_so(kind: type[nn.Module], dtype: torch.dtype, message: str) -> None:
    model, x = kind().to(dtype).eval(), torch.randn(1, 3, 8, 8).to(dtype)
    with pytest.raises(ConfigError, match=f"the model runs as it is, but not in float64, .* proven: {message}"):
        sapwood.prune(model, x, target=HALF)


def test_a_model_that_does_not_run_is_told_with_its_own_error() -> None:
    message = "^Base does not run on the example inputs: RuntimeError: .* expected input"
    with pytest.raises(ConfigError, match=message) as raised:
        sapwood.prune(Base().eval(), torch.randn(1, 5, 8, 8), target=HALF)
    assert isinstance(raised.value.__cause__, RuntimeError)


def test_a_bfloat16_model_is_pruned_as_others() -> None:
    model = Base().to(torch.bfloat16).eval()
    pruned = sapwood.prune(model, torch.randn(1, 3, 8, 8).bfloat16(), target=HALF)
    assert (pruned.model.a.out_channels, pruned.model.a.weight.dtype) == (8, torch.bfloat16)


class Complex(nn.Module):
    """Convolutions and linear layers of complex numbers, as signals and MRI pictures have them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3, dtype=torch.cfloat), nn.Conv2d(16, 12, 1, dtype=torch.cfloat)
        self.c, self.d = nn.Linear(12, 8, dtype=torch.cfloat), nn.Linear(8, 4, dtype=torch.cfloat)

    def forward(self, x: Tensor) -> Tensor:
        x = self.part(self.b(self.part(self.a(x)))).mean((2, 3))
        return torch.view_as_real(self.d(self.part(self.c(x))))

    def part(self, x: Tensor) -> Tensor:
        return torch.complex(F.relu(x.real), F.relu(x.imag))


def test_complex_convolutions_and_linears_lose_channels() -> None:
    pruned = check(Complex, torch.randn(2, 3, 6, 6, dtype=torch.cfloat))
    assert (pruned.model.b.out_channels, pruned.model.c.out_features, pruned.model.d.in_features) == (6, 4, 4)
    assert pruned.model.a.weight.dtype is torch.complex64


class Compiled(Base):
    """Calls a method that torch.compile made, which refers to the model that it was made for."""

    def __init__(self) -> None:
        super().__init__()
        self.compiled = torch.compile(self.both, backend="eager")

    def both(self, x: Tensor) -> Tensor:
        return F.relu(self.b(F.relu(self.a(x))))

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.compiled(x))


class MethodKept(Compiled):
    """Calls a method that a function closes over."""

    def __init__(self) -> None:
        super().__init__()
        both = self.both
        self.compiled = lambda x: both(x) * 1.0


class CallsItself(Compiled):
    """Calls a function that closes over a layer and over itself."""

    def __init__(self) -> None:
        super().__init__()

        def repeated(x: Tensor, times: int = 1) -> Tensor:
            return repeated(F.relu(self.b(x)), times - 1) if times else x

        self.compiled = lambda x: repeated(F.relu(self.a(x)))


@pytest.mark.parametrize("make", [Compiled, MethodKept, CallsItself])
@pytest.mark.filterwarnings("ignore:`?torch.jit.script:DeprecationWarning")
def test_what_refers_to_the_model_by_a_method_refers_to_the_copy(make: Callable[[], Compiled]) -> None:
    check(make, torch.randn(1, 3, 8, 8))


def test_a_compiled_method_is_the_copys_own() -> None:
    model = Compiled().eval()
    small = sapwood.prune(model, torch.randn(1, 3, 8, 8), target=HALF).model
    assert (small.compiled.__wrapped__.__self__, model.compiled.__wrapped__.__self__) == (small, model)
