"""Darknet networks against OpenCV's own reader of Darknet files, where one is installed (before OpenCV 5)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import sapwood
from sapwood.export import export_darknet
from sapwood.models.darknet import DarknetNetwork, parse_cfg, read_weights, write_cfg, write_weights

cv2: Any = pytest.importorskip("cv2", reason="no OpenCV to compare with")
if not hasattr(cv2.dnn, "readNetFromDarknet"):
    pytest.skip("this OpenCV reads no Darknet files; opencv-python-headless<5 does", allow_module_level=True)

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:OpenCV would make another network")]

OPENCV_EPS = 1e-6
"""What OpenCV adds to a variance; set in the network as well, so that nothing but rounding differs."""

ROUNDING = 5e-6
"""Of the largest value, for float32 sums in another order through up to 200 layers; 4e-6 was the most measured."""

# the layer whose result is compared: before each head, or the last one
CASES = {
    "detectors/yolov3-tiny": ("conv_15", "conv_22"),
    "detectors/yolo-fastest-1.1": ("conv_120", "conv_129"),
    "detectors/yolov4-tiny": ("conv_29", "conv_36"),
    "darknet_cfgs/yolov3-tiny-prn": ("conv_17", "conv_26"),
    "darknet_cfgs/yolo-voc": ("conv_30",),
    "darknet_cfgs/csresnext50-panet-spp": ("conv_114", "conv_125", "conv_136"),
    "darknet_cfgs/efficientnet_b0": ("softmax_135",),
    "darknet_cfgs/densenet201": ("identity_305",),
}


def normalisations(network: DarknetNetwork) -> list[nn.BatchNorm2d]:
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def randomize_(network: DarknetNetwork) -> None:
    for bn in normalisations(network):
        bn.running_mean.normal_(0, 0.3)  # type: ignore[union-attr]
        bn.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
        nn.init.uniform_(bn.weight, 0.5, 1.5)
        nn.init.normal_(bn.bias, 0, 0.3)


def load(name: str, data_dir: Path) -> DarknetNetwork:
    cfg = parse_cfg(data_dir / f"{name}.cfg").with_option(-1, "height", 96).with_option(-1, "width", 96)
    network = DarknetNetwork(cfg).eval()
    published = data_dir / f"{name}.weights"
    if published.exists():
        read_weights(published, network)
    else:
        randomize_(network)
    return network


@pytest.mark.parametrize("name", CASES)
def test_opencv_computes_the_same(name: str, data_dir: Path, tmp_path: Path) -> None:
    network = load(name, data_dir)
    (tmp_path / "net.cfg").write_text(write_cfg(network.cfg))
    write_weights(tmp_path / "net.weights", network)
    check(network, CASES[name], tmp_path)


@pytest.mark.parametrize("name", CASES)
def test_opencv_computes_the_same_of_a_pruned_network(name: str, data_dir: Path, tmp_path: Path) -> None:
    pruned = sapwood.prune(load(name, data_dir), torch.rand(1, 3, 96, 96), target=sapwood.Target(sparsity=0.5)).model
    assert isinstance(pruned, DarknetNetwork)
    export_darknet(pruned, tmp_path / "net.cfg")
    check(pruned, CASES[name], tmp_path)


def check(network: DarknetNetwork, names: tuple[str, ...], folder: Path) -> None:
    """Compares ``network`` with what OpenCV makes of ``net.cfg`` and ``net.weights``."""
    for bn in normalisations(network):
        bn.eps = OPENCV_EPS
    x = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        result = network(x)
    other = cv2.dnn.readNetFromDarknet(str(folder / "net.cfg"), str(folder / "net.weights"))
    other.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    other.enableFusion(False)
    other.enableWinograd(False)
    other.setInput(x.numpy())
    results = result if isinstance(result, tuple) else (result,)
    for found, theirs in zip(results, other.forward(list(names)), strict=True):
        error = np.abs(theirs.reshape(found.shape) - found.numpy()).max() / np.abs(theirs).max()
        assert error < ROUNDING
