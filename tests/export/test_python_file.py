"""A Python file with its weights: the pruned network, built by its own library where Sapwood is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import sapwood
from sapwood.cli import main
from sapwood.errors import ConfigError, ExportError, SpecError
from sapwood.export import export_python
from sapwood.models import copy_model, load_model, save_model

SPEC = "torchvision:squeezenet1_1"

ALONE = """
import sys
import torch
sys.modules["sapwood"] = None
from small import model
torch.save((type(model).__module__, model(torch.load("x.pt")).detach()), "y.pt")
"""


@pytest.fixture(scope="module")
def pruned() -> tuple[nn.Module, Tensor]:
    bundle = load_model(SPEC)
    pictures = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    return sapwood.prune(bundle.model, pictures, target=sapwood.Target(sparsity=0.5)).model, pictures


def alone(folder: Path, pictures: Tensor) -> tuple[str, Tensor]:
    """Where the class of ``small.py``'s model is at home, and what it says, in a process without Sapwood."""
    torch.save(pictures, folder / "x.pt")
    subprocess.run([sys.executable, "-c", ALONE], cwd=folder, check=True, capture_output=True)
    home, found = torch.load(folder / "y.pt", weights_only=True)
    return home, found


def test_a_fresh_process_builds_it_with_torchvision_alone(pruned: tuple[nn.Module, Tensor], tmp_path: Path) -> None:
    model, pictures = pruned
    exported = export_python(model, pictures, tmp_path / "small.py", spec=SPEC)
    assert [file.name for file in exported.files] == ["small.py", "small.safetensors"]
    assert exported.max_relative_error == 0.0
    text = exported.files[0].read_text()
    assert "get_model('squeezenet1_1', weights=None, num_classes=1000)" in text
    assert "'features.3.squeeze': {'in_channels': 32, 'out_channels': 8}," in text
    home, found = alone(tmp_path, pictures)
    assert home == "torchvision.models.squeezenet"
    with torch.no_grad():
        assert torch.equal(found, model.eval()(pictures))


def test_tensors_that_are_one_stay_one(pruned: tuple[nn.Module, Tensor], tmp_path: Path) -> None:
    model, pictures = copy_model(pruned[0]), pruned[1]
    fires = [model.get_submodule(f"features.{index}.expand1x1") for index in (9, 10)]
    fires[1].bias = fires[0].bias if fires[0].bias.shape == fires[1].bias.shape else None
    assert fires[1].bias is not None
    text = export_python(model, pictures, tmp_path / "small.py", spec=SPEC).files[0].read_text()
    assert "'features.10.expand1x1.bias': 'features.9.expand1x1.bias'," in text


def test_what_it_cannot_say_is_named(pruned: tuple[nn.Module, Tensor], tmp_path: Path) -> None:
    model, pictures = copy_model(pruned[0]), pruned[1]
    with pytest.raises(SpecError, match=r"a.b:c is not built by a name; expected .* timm:NAME or torchvision:NAME"):
        export_python(model, pictures, tmp_path / "small.py", spec="a.b:c")
    with pytest.raises(ExportError, match=r"small-net.py; expected a name that Python imports, as small.py"):
        export_python(model, pictures, tmp_path / "small-net.py", spec=SPEC)
    with pytest.raises(ConfigError, match=r"cannot write .*small.txt; expected a name that ends in .py"):
        export_python(model, pictures, tmp_path / "small.txt", spec=SPEC)
    model.features[1] = nn.GELU()  # type: ignore[index, operator]
    with pytest.raises(ExportError, match=r"builds other modules for features.1 \(GELU\); expected those of the dense"):
        export_python(model, pictures, tmp_path / "small.py", spec=SPEC)
    assert list(tmp_path.iterdir()) == []


def exit_code(arguments: list[str]) -> object:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code


def test_the_command_takes_a_saved_directory(tmp_path: Path) -> None:
    bundle = load_model(SPEC)
    save_model(bundle, tmp_path / "dense")
    assert exit_code(["export", str(tmp_path / "dense"), "--format", "python", "-o", str(tmp_path / "small.py")]) == 0
    assert "get_model('squeezenet1_1'" in (tmp_path / "small.py").read_text()
    assert exit_code(["export", "builtin:digits", "--format", "python", "-o", str(tmp_path / "other.py")]) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec",
    ["timm:vit_tiny_patch16_224", "timm:mobilenetv3_small_050", "torchvision:ssdlite320_mobilenet_v3_large"],
)
def test_heads_and_depthwise_layers_too(spec: str, tmp_path: Path) -> None:
    pytest.importorskip("timm")
    bundle = load_model(spec)
    small = sapwood.prune(bundle.model, bundle.example_inputs, target=sapwood.Target(sparsity=0.4)).model
    assert export_python(small, bundle.example_inputs, tmp_path / "small.py", spec=spec).max_relative_error == 0.0
