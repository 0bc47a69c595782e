"""Int8 on two runtimes: near the model, each layer timed under its name, and said to be near only."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sapwood.errors import CheckFailedError, ExportError, MissingDependencyError
from sapwood.export import left_out, quick_onnx, relative_error, run_flat
from sapwood.models.darknet import DarknetNetwork, parse_cfg
from sapwood.runtime import (
    OVERHEAD,
    RUNTIME,
    RUNTIMES,
    Calibrated,
    OpenSession,
    int8_session,
    is_exact,
    running_on,
)
from sapwood.runtime import openvino as openvino_runtime
from sapwood.runtime.int8 import PACKAGES, timing_inputs
from sapwood.runtime.openvino import ProfiledRequest

pytest.importorskip("onnxruntime")

NEAR = 0.1
"""Of the largest output: 8 bits of each activation and weight leave a few percent after a few layers."""


def installed(name: str) -> Any:
    """The runtime, where its quantiser is."""
    for package in PACKAGES[name]:
        pytest.importorskip(package, reason="needs pip install sapwood[int8]")
    return RUNTIMES[name]


def net() -> nn.Module:
    torch.manual_seed(0)
    block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.LeakyReLU(0.1))
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), block, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 9, 4))


X = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", PACKAGES)
def test_a_session_is_near_the_model(name: str) -> None:
    runtime, model = installed(name), net()
    session = runtime.load(model, X, threads=1)
    wanted = run_flat(model, X)
    assert 0.0 < relative_error(session.outputs(), wanted) < NEAR
    assert relative_error(session.run(X), session.outputs()) == 0.0
    assert isinstance(session, OpenSession)


@pytest.mark.parametrize("name", PACKAGES)
def test_every_layer_has_a_time_under_its_name(name: str) -> None:
    runtime, model = installed(name), net()
    times = runtime.load(model, X, threads=1).layer_times(3)
    assert {"0", "2.0", "5"} <= {layer for layer, took in times.items() if took > 0}
    assert set(times) <= {*dict(model.named_modules()), RUNTIME, OVERHEAD}


@pytest.mark.parametrize("name", PACKAGES)
def test_layers_in_float32_are_told(name: str) -> None:
    installed(name)
    source = quick_onnx(net(), X)
    whole, part = (
        int8_session(name, source, X, [X], left=left_out(source, name, globs), threads=1) for globs in ([], ["2.*"])
    )
    assert whole.float_nodes() == ()
    assert [source.modules[node] for node in part.float_nodes()] == ["2.0"]


@pytest.mark.parametrize("name", PACKAGES)
@pytest.mark.parametrize("groups", [1, 4, 16])
def test_layers_of_all_groups_are_int8(name: str, groups: int) -> None:
    installed(name)
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3, groups=groups), nn.ReLU(), nn.Conv2d(16, 8, 1)
    source = quick_onnx(nn.Sequential(*layers).eval(), X)
    session = int8_session(name, source, X, [X], left=left_out(source, name), threads=1)
    assert session.float_nodes() == ()


@pytest.mark.parametrize("name", PACKAGES)
def test_bright_and_dark_pictures_are_not_cut_off(name: str) -> None:
    runtime, model = installed(name), nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    pictures = [scale * X for scale in (0.1, 0.1, 0.1, 1.0)]
    session = runtime.load_calibrated(model, X, pictures, threads=1)
    assert relative_error(session.run(X), run_flat(model, X)) < 0.05


@pytest.mark.parametrize("name", PACKAGES)
def test_a_network_of_half_precision_is_quantised_from_float32(name: str) -> None:
    runtime, model = installed(name), net()
    wanted = run_flat(model, X)
    session = runtime.load_calibrated(model.half(), X.half(), [X.half()], threads=1)
    assert relative_error(session.outputs(), wanted) < NEAR


@pytest.mark.parametrize("name", PACKAGES)
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_inputs_of_the_networks_own_type_are_taken(name: str, kind: torch.dtype) -> None:
    runtime, model = installed(name), net()
    wanted = run_flat(model, X)
    session = runtime.load_calibrated(model.to(kind), X.to(kind), [X.to(kind)], threads=1)
    assert relative_error(session.run(X.to(kind)), wanted) < NEAR


class Twice(nn.Module):
    """Runs one convolution on two maps, of which the second is made of the first."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.body, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.body(self.stem(x)).relu()).relu())


class Tied(nn.Module):
    """Two matrix products with one matrix, of which the second takes the transpose."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3 * 64, 24)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(self.layer(x.flatten(1)).relu(), self.layer.weight.t())


class Several(nn.Module):
    """Takes a picture and a number, and gives a dict with a tuple in it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.up, self.head = nn.Conv2d(3, 8, 3), nn.ConvTranspose2d(8, 6, 2, stride=2), nn.Linear(8, 4)

    def forward(self, x: Tensor, scale: Tensor) -> dict[str, Any]:
        maps = self.stem(x).relu() * scale
        return {"scores": self.head(maps.mean((2, 3))), "maps": (self.up(maps), maps)}


class Sequences(nn.Module):
    """Rows of a map as steps of an LSTM, and attention among them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.rows = nn.Conv2d(3, 4, 3), nn.LSTM(4 * 6, 16, batch_first=True)
        self.attention, self.head = nn.MultiheadAttention(16, 2, batch_first=True), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        steps, _ = self.rows(self.stem(x).relu().transpose(1, 2).flatten(2))
        return self.head(steps + self.attention(steps, steps, steps, need_weights=False)[0])


KINDS: dict[str, tuple[type[nn.Module], Any]] = {
    "a layer that runs twice": (Twice, X),
    "tied layers": (Tied, X),
    "several inputs and outputs": (Several, (X, torch.tensor(2.0))),
    "LSTM and attention": (Sequences, X),
}


def pictures(example: Any) -> list[Any]:
    """Example inputs, and the same with other pictures."""
    generator = torch.Generator().manual_seed(2)
    drawn = [X, *(torch.rand(X.shape, generator=generator) for _ in range(6))]
    return [(picture, *example[1:]) if isinstance(example, tuple) else picture for picture in drawn]


@pytest.mark.parametrize("name", PACKAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_it_computes_nearly_the_same(name: str, kind: str) -> None:
    """Corrected biases put the layer that runs twice off by eight times as much (NNCF 3.4.0)."""
    made, example = KINDS[kind]
    runtime, model = installed(name), made().eval()
    session = runtime.load_calibrated(model, example, pictures(example), threads=1)
    found, wanted = session.run(example), run_flat(model, example)
    assert [one.shape for one in found] == [one.shape for one in wanted]
    errors = [float((one - other).norm() / other.norm()) for one, other in zip(found, wanted, strict=True)]
    assert max(errors) < 0.03


def test_weights_that_are_too_small_for_a_quantiser_are_refused() -> None:
    runtime, model = installed("openvino-int8"), nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    with torch.no_grad():
        model[2].weight.mul_(1e-20)
    with pytest.raises(CheckFailedError, match=r"the int8 file is refused: a weight of .* is off by .*e-21"):
        runtime.load(model, X, threads=1)


def test_what_openvino_cannot_read_is_an_error_of_ours() -> None:
    class Waves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.fft.rfft2(self.stem(x)).abs())

    with pytest.raises(ExportError, match="OpenVINO cannot load the model"):
        installed("openvino-int8").load(Waves().eval(), X, threads=1)


@pytest.mark.parametrize("name", PACKAGES)
def test_a_file_is_opened_anew_without_quantising(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    session = installed(name).load(net(), X, threads=1)
    for made in ("quantised_onnx", "quantised_openvino"):
        monkeypatch.setattr(f"sapwood.runtime.int8.{made}", None)  # is not called
    again = session.again()
    assert again is not session
    assert relative_error(again.outputs(), session.outputs()) == 0.0
    assert set(again.layer_times(1)) == set(session.layer_times(1))


def test_a_slow_first_run_is_not_in_the_times_of_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO tells the mean of all runs so far."""
    installed("openvino-int8")
    session: Any = RUNTIMES["openvino"].load(net(), X, threads=1)
    sums = [0.0, 0.0]

    def told(*_: Any) -> ProfiledRequest:
        if sums[1] == 6:  # another compiled model
            sums[:] = [0.0, 0]
        sums[:] = [sums[0] + (100.0 if not sums[1] else 1.0), sums[1] + 1]
        return ProfiledRequest(200.0, {"node": sums[0] / sums[1]}, {"node": "Convolution"})

    monkeypatch.setattr(openvino_runtime, "_timed_run", told)
    times = session.layer_times(12)
    assert [times[name] for name in times if name != OVERHEAD] == [pytest.approx(1.0 + openvino_runtime.CUT_OFF)]


@pytest.mark.parametrize("name", PACKAGES)
def test_layers_of_a_darknet_network(name: str, detector_text: str) -> None:
    runtime, network = installed(name), DarknetNetwork(parse_cfg(detector_text))
    inputs = torch.rand(1, *network.input_shape)
    times = runtime.load(network, inputs, threads=1).layer_times(1)
    convolutions = {path for path, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    assert convolutions <= set(times)


@pytest.mark.parametrize("name", PACKAGES)
def test_calibration_decides_what_can_be_told_apart(name: str) -> None:
    runtime, model = installed(name), nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    large = 1000 * X
    wanted = run_flat(model, large)
    seen = runtime.load_calibrated(model, large, [large, large], threads=1)
    unseen = runtime.load_calibrated(model, large, [X], threads=1)
    assert relative_error(seen.outputs(), wanted) < 0.05
    assert relative_error(unseen.outputs(), wanted) > 0.5


@pytest.mark.parametrize("name", RUNTIMES)
def test_only_int8_is_not_exact(name: str) -> None:
    assert is_exact(RUNTIMES[name]) is not name.endswith("-int8")
    assert isinstance(RUNTIMES[name], Calibrated) is name.endswith("-int8")


def test_a_network_without_a_layer_that_can_be_int8_is_named() -> None:
    with pytest.raises(ExportError, match=r"no layer can be int8: the file holds Relu; expected one of Conv, Gemm"):
        RUNTIMES["onnxruntime-int8"].load(nn.ReLU(), X, threads=1)


@pytest.mark.parametrize(("name", "package"), [
    ("onnxruntime-int8", "onnxruntime.quantization"), ("openvino-int8", "nncf")
])  # fmt: skip
def test_a_missing_quantiser_is_named(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    message = rf"{package} is not installed; install it by: pip install 'sapwood\[int8\]'"
    with pytest.raises(MissingDependencyError, match=message):
        RUNTIMES[name].load(net(), X, threads=1)
    with pytest.raises(MissingDependencyError, match=message):
        RUNTIMES[name].version()


def test_timing_looks_at_the_example_and_at_random_numbers() -> None:
    first, second = timing_inputs({"x": X, "count": torch.tensor([3, 1, 2])})
    assert torch.equal(first["x"], X)
    assert second["x"].shape == X.shape
    assert not torch.equal(second["x"], X)
    assert sorted(second["count"].tolist()) == [1, 2, 3]


class Told(nn.Module):
    """Gives a dict with a tuple in it."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> dict[str, Any]:
        return {"logits": self.linear(x), "parts": (x + 1, [x * 2])}


@pytest.mark.parametrize("batch", [1, 2])
def test_a_model_that_a_runtime_stands_for(batch: int) -> None:
    model, x = Told().train(), torch.rand(batch, 3)
    twin = running_on(RUNTIMES["onnxruntime"].load(model, x, threads=1), model, x)
    given = torch.rand(5, 3)
    found, wanted = twin(given), model(given)
    torch.testing.assert_close(found["logits"], wanted["logits"].detach())
    torch.testing.assert_close(found["parts"][0], wanted["parts"][0])
    assert torch.equal(found["parts"][1][0], wanted["parts"][1][0])
    assert type(twin) is Told
    assert model.training
    assert "forward" not in vars(model)
