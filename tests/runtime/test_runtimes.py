"""Every runtime gives what PyTorch gives, and times each layer under the module's own name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sapwood.errors import CheckFailedError, MissingDependencyError
from sapwood.models.darknet import DarknetNetwork, parse_cfg
from sapwood.runtime import OVERHEAD, RUNTIME, RUNTIMES, check_session

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

CHECKED = ("torch", "onnxruntime", "openvino")
"""Whose times are held against the modules one by one; the engine has tests of its own."""
WORKING = (nn.Conv1d, nn.Conv2d, nn.Linear)


def nested() -> tuple[nn.Module, Any]:
    block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
    inner = nn.Sequential(block, nn.Sequential(nn.Conv2d(8, 8, 3), nn.LeakyReLU()))
    return nn.Sequential(nn.Conv2d(3, 8, 3), inner, nn.Flatten(), nn.Linear(8 * 144, 4)), torch.rand(1, 3, 16, 16)


def resnet() -> tuple[nn.Module, Any]:
    from torchvision.models import resnet18

    return resnet18(), torch.rand(1, 3, 64, 64)


def transformer() -> tuple[nn.Module, Any]:
    timm = pytest.importorskip("timm")
    return timm.create_model("vit_tiny_patch16_224", img_size=64), torch.rand(1, 3, 64, 64)


MODELS: Mapping[str, Callable[[], tuple[nn.Module, Any]]] = {
    "nested": nested, "resnet18": resnet, "transformer": transformer
}  # fmt: skip


def check_layers(name: str, model: nn.Module, inputs: Any) -> None:
    model.train()
    values = {key: value.clone() for key, value in model.state_dict().items()}
    session = RUNTIMES[name].load(model, inputs, threads=1)
    check_session(session, model, inputs)
    times = session.layer_times(3)
    assert times is not None
    modules = dict(model.named_modules())
    assert set(times) <= {*modules, RUNTIME, OVERHEAD}
    working = {path for path, module in modules.items() if isinstance(module, WORKING)}
    assert {path for path in working if times.get(path, 0.0) <= 0.0} == set()
    assert all(module.training for module in modules.values())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in modules.values())
    assert all(torch.equal(value, values[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("name", CHECKED)
def test_every_layer_has_a_time_under_its_name(name: str, kind: str) -> None:
    check_layers(name, *MODELS[kind]())


@pytest.mark.parametrize("name", CHECKED)
def test_layers_of_a_darknet_network(name: str, detector_text: str) -> None:
    network = DarknetNetwork(parse_cfg(detector_text))
    check_layers(name, network, torch.rand(1, *network.input_shape))


@pytest.mark.parametrize("name", CHECKED)
def test_a_wrong_conversion_is_found(name: str) -> None:
    model, inputs = nn.Sequential(nn.Linear(4, 3)), torch.rand(1, 4)
    session = RUNTIMES[name].load(model, inputs, threads=1)
    other = nn.Sequential(nn.Linear(4, 3))
    with pytest.raises(CheckFailedError, match="the loaded model differs from the PyTorch model"):
        check_session(session, other, inputs)


@pytest.mark.parametrize("name", [name for name in RUNTIMES if RUNTIMES[name].tells_layers])
def test_what_tells_layers_tells_them(name: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    try:
        session = RUNTIMES[name].load(model, torch.rand(1, 3, 8, 8), threads=1)
    except MissingDependencyError as missing:
        pytest.skip(str(missing))
    times = session.layer_times(1)
    assert times is not None
    assert {"0", "2"} <= set(times)


@pytest.mark.parametrize(("name", "package", "extra"), [
    ("onnxruntime", "onnxruntime", "onnx"), ("openvino", "openvino", "openvino")
])  # fmt: skip
def test_a_missing_package_is_named(name: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf"pip install 'sapwood\[{extra}\]'"):
        RUNTIMES[name].load(nn.Linear(2, 2), torch.rand(1, 2), threads=1)


COMPILED = """
import torch
from torch import nn
from sapwood.runtime import RUNTIMES, check_session
for width in (4, 7):
    model, inputs = nn.Sequential(nn.Linear(4, width), nn.ReLU()), torch.rand(1, 4)
    session = RUNTIMES["torch-compile"].load(model, inputs, threads=1)
    assert check_session(session, model, inputs) < 1e-6 and session.layer_times(3) is None
    assert not RUNTIMES["torch-compile"].tells_layers
print("equal")
"""


def compiled(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the compiler keeps what it found of the machine."""
    given = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path), **environment}
    return subprocess.run([sys.executable, "-c", COMPILED], env=given, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_compiled_models_are_equal(tmp_path: Path) -> None:
    done = compiled(tmp_path)
    assert done.stdout.strip() == "equal", done.stderr


@pytest.mark.slow
def test_compiling_without_a_compiler_is_named(tmp_path: Path) -> None:
    done = compiled(tmp_path, CXX="/nowhere/g++")
    assert "MissingDependencyError: torch-compile needs a C++ compiler and found none" in done.stderr
