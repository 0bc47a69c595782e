"""Every format over every kind of model: what is written gives what the model gives, or nothing is written."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

import sapwood
from sapwood.errors import CheckFailedError, ConfigError, ExportError, MissingDependencyError
from sapwood.export import EXPORTERS, FLOAT32_TOLERANCE, Exported, ExportOptions
from sapwood.export.subject import Subject, random_like
from sapwood.models.darknet import DarknetNetwork, parse_cfg

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

FORMATS = ("onnx", "openvino", "torch-export")


def write(name: str, model: nn.Module, inputs: Any, folder: Path, **options: Any) -> Exported:
    exporter = EXPORTERS[name]
    return exporter.export(model, inputs, folder / f"net{exporter.suffix}", ExportOptions(**options))


def convnet() -> nn.Sequential:
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(4 * 36, 5)
    return nn.Sequential(*layers)


class Pair(nn.Module):
    """Takes two tensors and a number, returns a dict with a tuple in it."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, left: Tensor, right: Tensor, times: int = 1) -> dict[str, Any]:
        return {"sum": self.linear(left + right) * times, "parts": (left - right, right.sum())}


class Embedded(nn.Module):
    """Takes token numbers and a mask of booleans."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 4)

    def forward(self, tokens: Tensor, keep: Tensor) -> Tensor:
        return self.table(tokens) * keep.unsqueeze(-1)


X = torch.rand(1, 3, 8, 8)
PAIR = (torch.rand(2, 3), torch.rand(2, 3))
MODELS: Mapping[str, tuple[Callable[[], nn.Module], Any]] = {
    "tensor": (convnet, X),
    "tuple": (Pair, PAIR),
    "tuple with a number": (Pair, (*PAIR, 2)),
    "dict": (Pair, {"left": PAIR[0], "right": PAIR[1], "times": 3}),
    "integers": (Embedded, (torch.tensor([[0, 6, 2]]), torch.tensor([[True, False, True]]))),
    "float64": (lambda: convnet().double(), X.double()),
}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("name", FORMATS)
def test_every_kind_of_model_is_written(name: str, kind: str, tmp_path: Path) -> None:
    make, inputs = MODELS[kind]
    exported = write(name, make(), inputs, tmp_path)
    assert exported.max_relative_error <= FLOAT32_TOLERANCE == exported.tolerance
    assert {file.name for file in exported.files} == {path.name for path in tmp_path.iterdir()}
    assert exported.size_bytes == sum(path.stat().st_size for path in tmp_path.iterdir()) > 0


@pytest.mark.parametrize("name", FORMATS)
def test_the_model_is_as_before(name: str, tmp_path: Path) -> None:
    model = prune.random_unstructured(convnet()[5], "weight", 0.5)
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), model).train()
    inputs = torch.rand(1, 144)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state, level = torch.get_rng_state(), torch.is_grad_enabled()
    write(name, model, inputs, tmp_path)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert list(before) == list(model.state_dict())
    assert all(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled() is level
    assert [len(module._forward_pre_hooks) for module in model] == [0, 0, 1]  # the mask's own
    assert not any(module._forward_hooks for module in model.modules())


def test_masks_are_zeros_in_the_file(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(16, 8))
    prune.l1_unstructured(model[0], "weight", amount=100)
    write("onnx", model, torch.rand(1, 16), tmp_path)
    values = [onnx.numpy_helper.to_array(one) for one in onnx.load(tmp_path / "net.onnx").graph.initializer]
    (weight,) = (value for value in values if value.size == 128)
    assert int((weight == 0).sum()) == 100


def test_names_of_inputs_and_outputs(tmp_path: Path) -> None:
    exported = write("onnx", Pair(), PAIR, tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    assert tuple(one.name for one in session.get_inputs()) == exported.inputs == ("left", "right")
    names = tuple(one.name for one in session.get_outputs())
    assert names == exported.outputs == ("sum", "parts_0", "parts_1")


def test_the_file_runs_apart_from_sapwood(tmp_path: Path) -> None:
    model = convnet().eval()
    exported = sapwood.export_onnx(model, X, tmp_path / "net.onnx", dynamic_batch=True)
    session = onnxruntime.InferenceSession(exported.files[0], providers=["CPUExecutionProvider"])
    pictures = torch.rand(5, 3, 8, 8)
    (found,) = session.run(None, {"images": pictures.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, model(pictures).numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["tensor", "dict", "integers"])
@pytest.mark.parametrize("name", FORMATS)
def test_a_dynamic_batch_is_checked_at_other_sizes(name: str, kind: str, tmp_path: Path) -> None:
    make, inputs = MODELS[kind]
    assert write(name, make(), inputs, tmp_path, dynamic_batch=True).max_relative_error <= FLOAT32_TOLERANCE


class FixedBatch(nn.Module):
    """Says how many examples there are in its code."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, -1).sum(1)


@pytest.mark.parametrize("name", FORMATS)
def test_a_batch_that_the_model_fixes_is_an_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="FixedBatch cannot be converted to"):
        write(name, FixedBatch(), torch.rand(2, 3), tmp_path, dynamic_batch=True)
    assert not list(tmp_path.iterdir())


def test_the_opset_is_the_one_asked_for(tmp_path: Path) -> None:
    assert write("onnx", convnet(), X, tmp_path, opset=18).details == {"opset": 18}
    with pytest.raises(ExportError, match=r"opset 3|cannot be converted to ONNX"):
        write("onnx", convnet(), X, tmp_path, opset=3)


def corrupt_onnx(data: bytes) -> bytes:
    """The file with one weight of its largest tensor changed by the tensor's largest."""
    proto = onnx.load_from_string(data)
    largest = max(proto.graph.initializer, key=lambda one: len(one.raw_data))
    values = onnx.numpy_helper.to_array(largest).copy()
    values.reshape(-1)[0] += np.abs(values).max()
    largest.CopyFrom(onnx.numpy_helper.from_array(values, largest.name))
    content: bytes = proto.SerializeToString()
    return content


def spoil(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the exporter write one wrong weight."""
    if name == "torch-export":
        save = torch.export.save

        def save_wrong(program: Any, path: Path) -> None:
            next(iter(program.state_dict.values())).data.view(-1)[0] += 1.0
            save(program, path)

        monkeypatch.setattr(torch.export, "save", save_wrong)
        return
    home = f"sapwood.export.{name}.onnx_bytes"
    from sapwood.export.onnx import onnx_bytes

    monkeypatch.setattr(home, lambda *arguments: corrupt_onnx(onnx_bytes(*arguments)))


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_one_wrong_weight_is_found_and_leaves_what_was_there(
    name: str, before: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    if before:
        write(name, model, torch.rand(1, 4), tmp_path)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert bool(files) is before
    spoil(name, monkeypatch)
    with pytest.raises(CheckFailedError, match=r"net\.\w+ differs from the PyTorch model by .* expected at most 1e-04"):
        write(name, model, torch.rand(1, 4), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_what_a_constant_input_hides_random_ones_show() -> None:
    """An example of zeros says nothing about the weights that it meets."""
    model = nn.Linear(4, 2)
    subject = Subject.of(model, torch.zeros(1, 4), dynamic=False)
    with pytest.raises(CheckFailedError, match="the file differs"):
        subject.check("the file", lambda inputs: [inputs @ (2 * model.weight.detach().T) + model.bias.detach()])  # type: ignore[operator]


def test_random_inputs_stay_in_range() -> None:
    generator = torch.Generator().manual_seed(0)
    found = random_like(torch.tensor([[-2.0, 5.0, 1.0]]), generator)
    assert found.shape == (1, 3)
    assert -2.0 <= float(found.min()) <= float(found.max()) <= 5.0
    constant = random_like(torch.zeros(100), generator)
    assert 0.0 <= float(constant.min()) < 0.1
    assert 0.9 < float(constant.max()) <= 1.0


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("onnx", "onnxruntime", "onnx"), ("onnx", "onnxscript", "onnx"), ("openvino", "openvino", "openvino")],
)
def test_a_missing_package_is_named_with_its_extra(
    name: str, package: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    message = rf"{package} is not installed; install it by: pip install 'sapwood\[{extra}\]'"
    with pytest.raises(MissingDependencyError, match=message):
        write(name, convnet(), X, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [*FORMATS, "darknet"])
def test_another_suffix_is_refused(name: str, tmp_path: Path, detector_text: str) -> None:
    model = DarknetNetwork(parse_cfg(detector_text)).eval()
    with pytest.raises(ConfigError, match=f"expected a name that ends in {EXPORTERS[name].suffix}"):
        EXPORTERS[name].export(model, torch.rand(1, *model.input_shape), tmp_path / "net.txt", ExportOptions())


class Branching(nn.Module):
    """Takes one way or the other by a value, which no exporter can follow."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if float(x.sum()) > 0 else x - 1


@pytest.mark.parametrize("name", FORMATS)
def test_a_model_that_cannot_be_exported_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="Branching cannot be converted to"):
        write(name, Branching(), torch.rand(1, 3), tmp_path)
    assert not list(tmp_path.iterdir())


def test_warnings_of_the_exporters_stay_inside(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name in FORMATS:
            write(name, convnet(), X, tmp_path)
    assert not caught
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", [*FORMATS, "darknet"])
def test_a_pruned_detector_is_written(name: str, detector_text: str, tmp_path: Path) -> None:
    dense = DarknetNetwork(parse_cfg(detector_text)).eval()
    x = torch.rand(1, *dense.input_shape)
    small = sapwood.prune(dense, x, target=sapwood.Target(sparsity=0.5)).model
    exported = write(name, small, x, tmp_path)
    assert exported.max_relative_error <= exported.tolerance
    assert exported.files[0].name == f"net{EXPORTERS[name].suffix}"
