"""A padding of minus infinity in front of a MaxPool becomes the pool's own: the same bits, no infinity in the file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sapwood.export import export_onnx, quick_onnx
from sapwood.export.onnx import onnx_bytes
from sapwood.export.padded_pools import fold_padding
from sapwood.export.subject import Subject
from sapwood.models.darknet.layers import MaxPool

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

X = torch.randn(1, 3, 9, 9, generator=torch.Generator().manual_seed(0))
LOW = -float("inf")


class Two(nn.Module):
    """A padded map that something else reads, too."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        padded = nn.functional.pad(x, (0, 1, 0, 1), value=LOW)
        return nn.functional.max_pool2d(padded, 2, 1), padded.exp()


def padded(amounts: tuple[int, ...], value: float, pool: nn.Module) -> nn.Module:
    return nn.Sequential(nn.ConstantPad2d(amounts, value), pool)


FOLDED: dict[str, nn.Module] = {
    "as yolov3-tiny has it": MaxPool(2, (1, 1), 1),
    "of its own padding and more": padded((0, 1, 1, 0), LOW, nn.MaxPool2d(3, 1, padding=1)),
    "another at each side": padded((2, 0, 1, 2), LOW, nn.MaxPool2d(5, 2)),
}
KEPT: dict[str, nn.Module] = {
    "zeros": padded((0, 1, 0, 1), 0.0, nn.MaxPool2d(2, 1)),
    "wider than the window": padded((0, 2, 0, 2), LOW, nn.MaxPool2d(2, 1)),
    "ceil mode": padded((0, 1, 0, 1), LOW, nn.MaxPool2d(2, 2, ceil_mode=True)),
    "cuts": padded((-1, 1, 0, 1), LOW, nn.MaxPool2d(2, 1)),
    "no pool": padded((0, 1, 0, 1), LOW, nn.ReLU()),
    "read elsewhere": Two(),
}


def kinds(data: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(data).graph.node]


def run(data: bytes, x: Tensor) -> list[np.ndarray[Any, Any]]:
    """Runs a file; ONNX Runtime 1.20 to 1.31 would take padded zeros for the padding of the pool, which never wins."""
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"], disabled_optimizers=["Pad_Fusion"])
    return list(session.run(None, {session.get_inputs()[0].name: x.numpy()}))


def by_export(model: nn.Module) -> bytes:
    return onnx_bytes(Subject.of(model, X, dynamic=False))


def by_torchscript(model: nn.Module) -> bytes:
    return quick_onnx(model, X).data


@pytest.mark.parametrize("convert", [by_export, by_torchscript])
@pytest.mark.parametrize("kind", FOLDED)
def test_a_padding_becomes_the_pools(kind: str, convert: Callable[[nn.Module], bytes]) -> None:
    data = convert(FOLDED[kind])
    assert kinds(data) == ["MaxPool"]
    assert not onnx.load_from_string(data).graph.initializer
    (found,) = run(data, X)
    with torch.no_grad():
        np.testing.assert_array_equal(found, FOLDED[kind](X).numpy())


def test_it_needs_nothing_that_others_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(onnx, "reference", raising=False)
    for name in [name for name in sys.modules if name.startswith("onnx.reference")]:
        monkeypatch.delitem(sys.modules, name)
    assert kinds(by_torchscript(MaxPool(2, (1, 1), 1))) == ["MaxPool"]


@pytest.mark.parametrize("convert", [by_export, by_torchscript])
@pytest.mark.parametrize("kind", KEPT)
def test_other_paddings_stay(kind: str, convert: Callable[[nn.Module], bytes]) -> None:
    data = convert(KEPT[kind])
    assert "Pad" in kinds(data)
    assert fold_padding(data) == data
    with torch.no_grad():
        wanted = KEPT[kind](X)
    for found, one in zip(run(data, X), wanted if isinstance(wanted, tuple) else (wanted,), strict=True):
        np.testing.assert_allclose(found, one.numpy(), rtol=1e-6)


def test_amounts_that_an_input_gives_are_left_alone() -> None:
    helper, kind = onnx.helper, onnx.TensorProto
    low = helper.make_node("Constant", [], ["low"], value=helper.make_tensor("v", kind.FLOAT, [], [LOW]))
    pad = helper.make_node("Pad", ["x", "amounts", "low"], ["padded"])
    pool = helper.make_node("MaxPool", ["padded"], ["y"], kernel_shape=[2, 2])
    inputs = [
        helper.make_tensor_value_info("x", kind.FLOAT, [1, 3, 9, 9]),
        helper.make_tensor_value_info("amounts", kind.INT64, [8]),
    ]
    outputs = [helper.make_tensor_value_info("y", kind.FLOAT, None)]
    data = helper.make_model(helper.make_graph([low, pad, pool], "net", inputs, outputs)).SerializeToString()
    assert fold_padding(data) == data


def test_the_file_of_a_detector_holds_no_infinity(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), MaxPool(2, (1, 1), 1), nn.Conv2d(4, 2, 1))
    export_onnx(model, X, tmp_path / "net.onnx", dynamic_batch=True)
    graph = onnx.load(tmp_path / "net.onnx").graph
    assert [node.op_type for node in graph.node] == ["Conv", "MaxPool", "Conv"]
    assert all(np.isfinite(onnx.numpy_helper.to_array(one)).all() for one in graph.initializer)
