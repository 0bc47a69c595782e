"""Checkpoints in the forms that timm's users have, by command: each is read right, or named with exit code 2."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

import sapwood
from sapwood.cli import main

timm = pytest.importorskip("timm", reason="needs pip install sapwood[zoo]")

NAME = "test_resnet"
CLASSES = 7


def made(seed: int, name: str = NAME) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return dict(timm.create_model(name, num_classes=CLASSES).state_dict())


def behind(prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in made(0).items()}


def forms() -> dict[str, Any]:
    options = argparse.Namespace(model=NAME, lr=0.1)
    return {
        "model_best.pth.tar": {"epoch": 1, "arch": NAME, "state_dict": made(0), "optimizer": {}, "args": options},
        "averaged.pth.tar": {"epoch": 1, "state_dict": made(1), "state_dict_ema": made(0), "args": options},
        "deit.pth": {"model": made(1), "model_ema": made(0), "args": options},
        "model.pth": {"model": made(0)},
        "several.pth": {"state_dict": behind("module.")},
        "compiled.pth": {"state_dict": behind("_orig_mod.")},
        "both.pth": {"state_dict": behind("_orig_mod.module.")},
        "lightning.ckpt": {"state_dict": behind("model."), "hyper_parameters": {"lr": 1}, "loops": {}},
        "half.pth": {name: one.half() if one.is_floating_point() else one for name, one in made(0).items()},
        "plain.bin": made(0),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("timm")
    for name, content in forms().items():
        torch.save(content, root / name)
    torch.save(timm.create_model(NAME, num_classes=CLASSES), root / "whole.pth")
    torch.save(made(0, "test_vit"), root / "other.pth")
    torch.save({name: one for name, one in made(0).items() if not name.startswith("fc.")}, root / "headless.pth")
    safetensors.torch.save_file(made(0), root / "model.safetensors")
    (root / "names.txt").write_text("a\nb\n")
    return root


def run(*words: object) -> int:
    try:
        main([str(word) for word in words])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@pytest.mark.filterwarnings("ignore:.*averages of them")
@pytest.mark.parametrize("name", [*forms(), "model.safetensors"])
def test_each_form_is_read_right(name: str, folder: Path) -> None:
    found = sapwood.load_model(f"timm:{NAME}", weights=folder / name)
    wanted, tolerance = made(0), 1e-3 if name == "half.pth" else 0.0
    assert len(found.task.class_names) == CLASSES
    state = found.model.state_dict()
    assert state.keys() == wanted.keys()
    for key, tensor in wanted.items():
        torch.testing.assert_close(state[key], tensor, rtol=tolerance, atol=tolerance)


def test_a_whole_module_is_read_by_command(folder: Path) -> None:
    assert run("inspect", f"timm:{NAME}", "--weights", folder / "whole.pth") == 0
    assert run("inspect", f"timm:{NAME}", "--weights", folder / "model_best.pth.tar") == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((f"timm:{NAME}", "--weights", "other.pth"), "expected the 92 tensors of the model, of which it has none"),
        (("timm:test_vit", "--weights", "model.safetensors"), "tensors of the model, of which it has none"),
        ((f"timm:{NAME}", "--weights", "headless.pth"), "lacks fc.weight, fc.bias; expected the 92 tensors"),
        ((f"timm:{NAME}", "--weights", "none.pth"), "no such file; expected tensors by name"),
        ((f"timm:{NAME}", "--weights", "model.pth", "--names", "names.txt"), "2 class names; expected 7"),
        (("timm:TEST_RESNET",), "alike: test_resnet"),
        (("model_best.pth.tar",), ".pth.tar files are weights, which go beside a model"),
    ],
)
def test_what_does_not_fit_is_named(
    words: tuple[str, ...],
    said: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    assert run("inspect", *words) == 2
    assert said in " ".join(capsys.readouterr().err.split())
