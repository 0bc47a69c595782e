"""OpenCV computes average poolings as PyTorch does, whether they count their padding or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sapwood.export import export_onnx

onnx = pytest.importorskip("onnx")


class Two(nn.Module):
    def __init__(self, first: bool, second: bool) -> None:
        super().__init__()
        self.pools = nn.ModuleList(nn.AvgPool2d(3, 1, 1, count_include_pad=counts) for counts in (first, second))

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        return self.pools[1](torch.relu(self.pools[0](picture)))  # type: ignore[no-any-return]


def producer(model: nn.Module, path: Path) -> str:
    export_onnx(model, torch.ones(1, 2, 6, 6), path)
    return str(onnx.load(path).producer_name)


@pytest.mark.parametrize(("counts", "wanted"), [(False, "sapwood"), (True, "pytorch")])
def test_opencv_computes_what_pytorch_does(counts: bool, wanted: str, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    model, picture = Two(counts, counts).eval(), torch.randn(1, 2, 6, 6)
    path = tmp_path / "net.onnx"
    assert producer(model, path) == wanted
    network = cv2.dnn.readNetFromONNX(str(path))
    network.setInput(picture.numpy())
    assert np.abs(network.forward() - model(picture).numpy()).max() < 1e-5


@pytest.mark.parametrize("model", [Two(True, False), nn.AvgPool2d(2), nn.Conv2d(2, 3, 3)])
def test_where_no_name_is_right_or_any_is_pytorch_keeps_it(model: nn.Module, tmp_path: Path) -> None:
    assert producer(model, tmp_path / "net.onnx") == "pytorch"
