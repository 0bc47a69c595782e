"""Int8 by ONNX Runtime's tool on tiny networks: what is quantised, which integers, and what is refused."""

from __future__ import annotations

import logging
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sapwood.errors import CheckFailedError, ConfigError, ExportError
from sapwood.export import (
    QuickOnnx,
    checked_source,
    in_float32,
    left_out,
    quantised_onnx,
    quick_onnx,
    ranked,
    relative_error,
    run_flat,
)
from sapwood.export.int8 import Int8Kind, contractions, onnx, openvino, processor
from sapwood.export.int8.layers import beside
from sapwood.models.darknet.layers import MaxPool

onnx_package = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxruntime.quantization", reason="needs pip install sapwood[int8]")

ORT = "onnxruntime-int8"

BITS = Int8Kind()
"""The tests' own choice: what is right does not hang on the processor."""

NEAR = 0.12
"""Of the largest output, which is what is left of sums that cancel: steps of 1/255 of a map and 1/127 of a weight."""

X = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))


class Net(nn.Module):
    """Two convolutions, one of which half of the weights are zeros, and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.pool = MaxPool(2, (1, 1), 1)
        self.head = nn.Linear(8 * 64, 4)
        with torch.no_grad():
            self.body.weight[:, ::2] = 0
            self.body.weight[3] = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.body(self.stem(x).relu())).flatten(1))


@pytest.fixture(scope="module")
def source() -> QuickOnnx:
    return quick_onnx(Net(), X)


def inputs(count: int = 2) -> list[tuple[Tensor]]:
    generator = torch.Generator().manual_seed(2)
    return [(torch.rand(1, 3, 8, 8, generator=generator),) for _ in range(count)]


def quantised(source: QuickOnnx, *ignore: str, kind: Int8Kind = BITS) -> Any:
    data = quantised_onnx(source, inputs(), left_out(source, ORT, ignore), kind=kind)
    return onnx_package.load_from_string(data)


def stored(model: Any) -> dict[str, np.ndarray[Any, Any]]:
    return {one.name: onnx_package.numpy_helper.to_array(one) for one in model.graph.initializer}


def run(data: bytes, x: Tensor) -> list[Tensor]:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return [torch.from_numpy(value) for value in session.run(None, {session.get_inputs()[0].name: x.numpy()})]


def test_layers_have_their_modules_names(source: QuickOnnx) -> None:
    assert [layer.name for layer in contractions(source, ORT)] == ["stem", "body", "head"]


def test_weights_are_symmetric_by_channel_and_activations_unsigned(source: QuickOnnx) -> None:
    model = quantised(source)
    values = stored(model)
    weights = {name: value for name, value in values.items() if name.endswith("weight_quantized")}
    assert {value.dtype for value in weights.values()} == {np.dtype(np.int8)}
    scales = values[next(name for name in values if name.endswith("body.weight_scale"))]
    assert scales.shape == (8,)
    points = {name: value for name, value in values.items() if name.endswith("zero_point")}
    assert all(not value.any() for name, value in points.items() if "weight" in name)
    assert {value.dtype for name, value in points.items() if "weight" not in name} >= {np.dtype(np.uint8)}


def test_it_computes_nearly_the_same(source: QuickOnnx) -> None:
    model = Net()
    found = run(quantised(source).SerializeToString(), X)
    assert 0.0 < relative_error(found, run_flat(model, X)) < NEAR


@pytest.mark.parametrize(("kind", "low", "kinds"), [
    (Int8Kind(), 100, np.uint8),
    (Int8Kind(reduced=True), 50, np.uint8),
    (Int8Kind(signed=True), 100, np.int8),
])  # fmt: skip
def test_the_integers_are_those_of_the_processor(kind: Int8Kind, low: int, kinds: Any, source: QuickOnnx) -> None:
    values = stored(quantised(source, kind=kind))
    largest = max(abs(value.astype(int)).max() for name, value in values.items() if name.endswith("weight_quantized"))
    assert low < largest <= (64 if kind.reduced else 127)
    assert kinds in {value.dtype.type for name, value in values.items() if name.endswith("zero_point")}


def test_zeros_stay_zeros(source: QuickOnnx) -> None:
    data = quantised(source).SerializeToString()
    assert onnx.check_onnx(data, source) == int((Net().body.weight == 0).sum())


def test_a_filter_of_zeros_keeps_its_bias() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1))
    with torch.no_grad():
        model[0].weight[1] = 0
        model[0].bias[1] = 0.8
    source = quick_onnx(model, X)
    found = run(quantised_onnx(source, inputs(), kind=BITS), X)
    assert relative_error(found, run_flat(model, X)) < 0.05


def test_layers_whose_biases_are_equal_are_int8_too() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1))
    with torch.no_grad():
        for layer in model[::2]:
            layer.bias.zero_()
    source = quick_onnx(model, X)
    assert "Identity" in {node.op_type for node in source.graph.node}
    values = stored(onnx_package.load_from_string(quantised_onnx(source, inputs(), kind=BITS)))
    assert sum(value.dtype == np.int32 and value.shape == (4,) for value in values.values()) >= 3


def test_a_layer_that_is_left_stays_float32(source: QuickOnnx) -> None:
    values = stored(quantised(source, "he*"))
    assert values["model.head.weight"].dtype == np.float32
    assert values["model.body.weight_quantized"].dtype == np.int8
    assert left_out(source, ORT, ["he*", "stem"]).reasons == {"head": "--int8-ignore", "stem": "--int8-ignore"}


def test_a_layer_that_is_left_between_int8_maps_computes_in_float32() -> None:
    """ONNX Runtime quantises its weights while it loads the file, for the tensor as a whole."""
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1))
    with torch.no_grad():
        model[0].weight[0], model[0].bias[0] = 0.0, -1.0
        model[2].weight[:, 0] = 3000.0
    source = quick_onnx(model, X)
    found = run(quantised_onnx(source, inputs(), left_out(source, ORT, ["2"]), kind=BITS), X)
    assert relative_error(found, run_flat(model, X)) < NEAR


@pytest.mark.parametrize(("globs", "message"), [
    (["layers.7"], r"--int8-ignore layers.7: fits no layer; expected one of stem, body, head$"),
    (["*"], r"--int8-ignore \*: leaves no layer to be int8$"),
])  # fmt: skip
def test_globs_that_do_not_fit_are_named(globs: list[str], message: str, source: QuickOnnx) -> None:
    with pytest.raises(ConfigError, match=message):
        left_out(source, ORT, globs)


class Mixed(nn.Module):
    """A recurrent layer beside a linear one."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = nn.LSTM(4, 4, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.memory(x)[0])


def test_what_has_no_int8_is_named() -> None:
    assert left_out(quick_onnx(Mixed(), torch.rand(1, 5, 4)), ORT).reasons == {"memory": "LSTM has no int8"}
    with pytest.raises(ExportError, match=r"no layer can be int8: the file holds .*LSTM.*; expected one of Conv, Gemm"):
        contractions(quick_onnx(nn.LSTM(4, 4), torch.rand(5, 1, 4)), ORT)


def infinite() -> QuickOnnx:
    """A network whose infinity no pool can take."""

    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            padded = nn.functional.pad(self.conv(x), (0, 3, 0, 3), value=-float("inf"))
            return self.head(nn.functional.max_pool2d(padded, 2, 1))

    return quick_onnx(Padded(), X)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numpy, in the tool
def test_a_scale_that_is_no_number_is_refused() -> None:
    with pytest.raises(CheckFailedError, match=r"the scale .* is (inf|nan); expected a finite number above 0"):
        quantised_onnx(infinite(), inputs(), kind=BITS)


def test_a_zero_that_is_lost_is_refused(source: QuickOnnx) -> None:
    model = quantised(source)
    for one in model.graph.initializer:
        if one.name == "model.body.weight_quantized":
            values = onnx_package.numpy_helper.to_array(one).copy()
            values[3, 0, 0, 0] = 1
            one.CopyFrom(onnx_package.numpy_helper.from_array(values, one.name))
    with pytest.raises(CheckFailedError, match=r"1 of \d+ zeros of model.body.weight are not zero any more"):
        onnx.check_onnx(model.SerializeToString(), source)


def test_the_most_harmful_layer_comes_first() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1))
    with torch.no_grad():
        for layer in model[::2]:
            layer.weight.fill_(0.5)
            layer.bias.fill_(0.1)
        model[0].weight[0], model[0].bias[0] = 0.0, -1.0
        model[2].weight[:, 0] = 300.0  # of a channel that is 0; the other weights are below one step of the scale
    source = quick_onnx(model, X)
    order = [layer.name for layer in ranked(source, inputs(), left_out(source, ORT, ["4"]), ORT)]
    assert order == ["2", "0"]


def test_processors_are_told_apart_by_running() -> None:
    seconds = processor.kernel_times()
    assert set(seconds) == {True, False}
    assert min(seconds.values()) > 0.0


@pytest.mark.parametrize("cut", [False, True])
def test_lost_sums_are_seen(cut: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same node, computed here: with whole sums, and with each sum of two products held to 16 bits."""

    def runner(graph: Any, opset: int) -> Callable[[Any], list[Any]]:
        stored = {one.name: onnx_package.numpy_helper.to_array(one) for one in graph.initializer}
        (node,) = graph.node
        assert node.op_type == "QLinearConv"

        def run(values: Any) -> list[Any]:
            products = values.astype(np.int64)[:, None] * stored["w"].astype(np.int64)[None]  # 1 x 1 kernels
            pairs = products.reshape(1, 64, 32, 2, 8, 8).sum(3)
            sums = (pairs.clip(-(2**15), 2**15 - 1) if cut else pairs).sum(2)
            scale = float(stored[node.input[1]] * stored[node.input[4]] / stored[node.input[6]])
            return [np.rint(sums * scale).clip(0, 255).astype(np.uint8)]

        return run

    monkeypatch.setattr(processor, "_runner", runner)
    processor.saturates.cache_clear()
    try:
        assert processor.saturates() is cut
    finally:
        processor.saturates.cache_clear()


HELD = """
from sapwood.export.int8.processor import openvino_saturates
print(openvino_saturates())
"""


@pytest.mark.parametrize(("held_to", "cut_off"), [("AVX2", True), ("ALL", None)])
def test_openvino_is_asked_itself(held_to: str, cut_off: bool | None) -> None:
    """It may keep to other instructions than the processor has, of which ONNX Runtime knows nothing."""
    pytest.importorskip("openvino")
    if platform.machine() not in {"x86_64", "AMD64"}:
        pytest.skip("ONEDNN_MAX_CPU_ISA is of x86")
    told = {**os.environ, "ONEDNN_MAX_CPU_ISA": held_to, "DNNL_MAX_CPU_ISA": held_to}
    run = subprocess.run([sys.executable, "-c", HELD], env=told, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == str(processor.saturates() if cut_off is None else cut_off)


def test_nothing_is_logged(source: QuickOnnx, capfd: pytest.CaptureFixture[str]) -> None:
    quantised(source)
    assert capfd.readouterr() == ("", "")
    assert logging.root.manager.disable == logging.NOTSET


class Fused(nn.Module):
    """A layer whose BatchNorm stands elsewhere in the module, one without, and one that is transposed."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.wider = nn.ConvTranspose2d(8, 6, 2, 2)
        self.norm = nn.BatchNorm2d(8)
        with torch.no_grad():
            self.norm.running_var.fill_(0.2)
            for layer in (self.first, self.second, self.wider):
                layer.weight[torch.rand_like(layer.weight) < 0.5] = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.wider(self.second(self.norm(self.first(x)).relu()).relu())

    def zeros(self, *names: str) -> int:
        return sum(int((self.get_parameter(f"{name}.weight") == 0).sum()) for name in names)


@pytest.mark.parametrize("convert", [quick_onnx, lambda model, x: checked_source(model, x, "fused").onnx])
def test_a_layer_with_its_batchnorm_has_the_layers_name(convert: Callable[..., QuickOnnx]) -> None:
    source = convert(Fused().eval(), X)
    assert [layer.name for layer in contractions(source, ORT)] == ["first", "second"]
    assert [layer.name for layer in contractions(source, "openvino-int8")] == ["first", "second", "wider"]
    assert left_out(source, ORT).reasons == {"wider": "ConvTranspose has no int8"}
    assert left_out(source, "openvino-int8").reasons == {}


def test_zeros_are_looked_for_in_every_layer() -> None:
    model = Fused().eval()
    source = checked_source(model, X, "fused").onnx
    data = quantised_onnx(source, inputs(), left_out(source, ORT), kind=BITS)
    assert onnx.check_onnx(data, source) == model.zeros("first", "second") > 400
    types = {one.name: one.data_type for one in onnx_package.load_from_string(data).graph.initializer}
    assert types["model.wider.weight"] == onnx_package.TensorProto.FLOAT


def test_transposed_layers_are_ranked_where_they_can_be_int8() -> None:
    source = checked_source(Fused().eval(), X, "fused").onnx
    for runtime, names in ((ORT, {"first", "second"}), ("openvino-int8", {"first", "second", "wider"})):
        assert {one.name for one in ranked(source, inputs(), left_out(source, runtime), runtime)} == names


class Trunk(nn.Module):
    """Two residual blocks behind a stem."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.one, self.two, self.head = (nn.Conv2d(3 if not at else 4, 4, 1) for at in range(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = (x + self.one(x)).relu()
        x = (x + self.two(x)).relu()
        return self.head(nn.functional.max_pool2d(x, 2))


@pytest.mark.parametrize(("globs", "kept"), [
    ([], set()),
    (["head"], {"MaxPool", "Relu 3", "Add 2"}),
    (["two", "head"], {"MaxPool", "Relu 3", "Add 2", "Relu 2", "Add 1"}),
    (["stem"], {"Relu 1"}),
])  # fmt: skip
def test_what_stands_beside_a_float32_layer_stays_with_it(globs: list[str], kept: set[str]) -> None:
    source = checked_source(Trunk().eval(), X, "trunk").onnx
    found = beside(source, left_out(source, ORT, globs))
    numbers: dict[str, int] = {}
    titles = {}
    for node in source.graph.node:
        numbers[node.op_type] = numbers.get(node.op_type, 0) + 1
        titles[node.name] = node.op_type + (f" {numbers[node.op_type]}" if node.op_type != "MaxPool" else "")
    assert {titles[name] for name in found} == kept


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_become_float32(kind: torch.dtype) -> None:
    model, x = in_float32(Net().to(kind), X.to(kind))
    assert {one.dtype for one in model.parameters()} == {x.dtype} == {torch.float32}
    same = Net()
    assert in_float32(same, X) == (same, X)


def test_code_that_insists_on_another_type_is_named() -> None:
    class Insisting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2).double()

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x.double()).float()

    message = (
        r"Insisting has parameters of torch.float64, and does not run in float32, which files hold: RuntimeError: "
    )
    with pytest.raises(ExportError, match=message):
        checked_source(Insisting(), torch.rand(2, 3), "insisting")


class TestOpenVino:
    """The same by NNCF, where it is installed."""

    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("nncf", reason="needs pip install sapwood[int8]")

    def test_zeros_stay_zeros_and_weights_are_int8(self, source: QuickOnnx, capfd: pytest.CaptureFixture[str]) -> None:
        model = openvino.quantised_openvino(source, inputs())
        kinds = [one.get_element_type().get_type_name() for one in model.get_ops() if one.get_type_name() == "Constant"]
        assert kinds.count("i8") == 3
        assert capfd.readouterr() == ("", "")

    def test_a_layer_that_is_left_stays_float32(self, source: QuickOnnx) -> None:
        model = openvino.quantised_openvino(source, inputs(), left_out(source, "openvino-int8", ["head", "stem"]))
        kinds = [one.get_element_type().get_type_name() for one in model.get_ops() if one.get_type_name() == "Constant"]
        assert kinds.count("i8") == 1

    def test_zeros_are_looked_for_in_every_layer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        model, seen = Fused().eval(), []
        check = openvino.check_openvino
        monkeypatch.setattr(openvino, "check_openvino", lambda *given: seen.append(check(*given)))
        openvino.quantised_openvino(checked_source(model, X, "fused").onnx, inputs())
        assert seen == [model.zeros("first", "second", "wider")]
        assert seen[0] > 400

    def test_a_scale_that_is_no_number_is_refused(self) -> None:
        package = pytest.importorskip("openvino")
        opset = package.opset13
        given = opset.parameter([1, 3, 8, 8], np.float32)
        ends = [opset.constant(np.float32(end)) for end in (0.0, np.inf, 0.0, np.inf)]
        model = package.Model([opset.fake_quantize(given, *ends, 256, name="pool")], [given])
        with pytest.raises(CheckFailedError, match="the scale pool is inf; expected a finite number above 0"):
            openvino.check_openvino(model, {})
