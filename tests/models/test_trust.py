"""What a saved directory from a stranger can and cannot make Sapwood do."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

import sapwood
from sapwood.errors import SavedModelError, SpecError
from sapwood.models import factory_loader as factory_loader_module
from sapwood.models import find_factory, load_model, load_saved, needs_factory, remember_factory, save_model
from sapwood.types import ModelBundle, ModelSource, TaskSpec

MARKING = """
from pathlib import Path
from torch import nn

Path("imported").touch()

def net():
    Path("called").touch()
    return nn.Linear(3, 2)

def broken():
    raise ValueError("no such luck")
"""


@pytest.fixture(autouse=True)
def _nothing_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factory_loader_module, "_typed", set())


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A saved directory that names a factory in a module beside it, which leaves marks where it is imported."""
    (tmp_path / "marking.py").write_text(MARKING)
    monkeypatch.chdir(tmp_path)
    source = ModelSource("marking:net", "factory")
    yield save_model(ModelBundle(nn.Linear(3, 2), (), TaskSpec("none"), source), tmp_path / "stranger")
    sys.modules.pop("marking", None)


def marks() -> set[str]:
    return {name for name in ("imported", "called") if Path(name).exists()}


def edit(directory: Path, **changes: Any) -> None:
    """Changes entries of a directory's plan.json; dots lead into them."""
    plan = json.loads((directory / "plan.json").read_text())
    for name, value in changes.items():
        *path, last = name.split("__")
        place = plan
        for key in path:
            place = place[key]
        place[last] = value
    (directory / "plan.json").write_text(json.dumps(plan))


@pytest.mark.parametrize("load", [load_saved, load_model, sapwood.load], ids=lambda one: one.__name__)
def test_a_factory_that_a_file_names_is_not_imported(load: Any, stranger: Path) -> None:
    with pytest.raises(
        SavedModelError,
        match=r"stranger: its source marking:net cannot be built: no file decides what is imported and called; "
        r"expected the factory from you: --model-factory marking:net, or in Python sapwood\.load\(directory, ",
    ):
        load(stranger)
    assert not marks()


@pytest.mark.parametrize(
    "spec", ["marking", "os:system\n", "../marking:net", "marking:net()", "", "torchvision:net", "é" * 999]
)
def test_what_is_no_factory_is_not_imported_either(spec: str, stranger: Path) -> None:
    edit(stranger, source__spec=spec)
    with pytest.raises(SavedModelError, match=r"names no factory; expected package\.module:factory"):
        load_saved(stranger)
    assert not marks()


def test_what_the_caller_gives_is_called(stranger: Path) -> None:
    assert isinstance(load_saved(stranger, factory=lambda: nn.Linear(3, 2)).model, nn.Linear)
    assert isinstance(sapwood.load(stranger, model=nn.Linear(3, 2)), nn.Linear)
    assert not marks()
    assert isinstance(load_model(str(stranger), factory=find_factory("marking:net")).model, nn.Linear)
    assert marks() == {"imported", "called"}


@pytest.mark.parametrize("typed", [load_model, find_factory, remember_factory], ids=lambda one: one.__name__)
def test_what_the_caller_typed_in_this_process_is_called(typed: Any, stranger: Path) -> None:
    typed("marking:net")
    assert isinstance(load_saved(stranger).model, nn.Linear)
    edit(stranger, source__spec="marking:broken")
    with pytest.raises(SavedModelError, match="--model-factory marking:broken"):
        load_saved(stranger)


def test_a_factory_is_for_saved_directories(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"builtin:digits needs no factory; expected a saved directory, whose dense"):
        load_model("builtin:digits", factory=lambda: nn.Linear(3, 2))
    with pytest.raises(SpecError, match=r"'mynet' names no factory; expected package\.module:factory"):
        find_factory("mynet")


def test_a_factory_that_fails_is_named(stranger: Path) -> None:
    with pytest.raises(SpecError, match=r"^marking:broken failed: ValueError: no such luck$"):
        load_saved(stranger, factory=find_factory("marking:broken"))


def test_which_directories_need_a_factory(stranger: Path, tmp_path: Path) -> None:
    assert needs_factory(stranger)
    edit(stranger, source__kind="session")
    assert needs_factory(stranger)
    with pytest.raises(SavedModelError, match=r"or --model-factory package\.module:factory"):
        load_saved(stranger)
    assert not needs_factory(save_model(load_model("builtin:digits"), tmp_path / "digits"))


@pytest.mark.parametrize(
    ("kind", "spec", "message"),
    [
        ("torchvision", "torchvision:../../etc/passwd", "torchvision has no model"),
        ("torchvision", "marking:net", "torchvision has no model"),
        ("torchvision", "torchvision:raft_small", "is a optical_flow model"),
        ("torchvision", "torchvision:quantized_googlenet", "is a quantization model"),
        ("darknet", "/etc/passwd", r"holds no model\.cfg"),
        ("builtin", "builtin:../../x", r"holds no model\.cfg"),
        ("saved", "/tmp", "keeps the source it was made from"),
        ("onnx", "x.onnx", "a model of kind 'onnx'"),
    ],
)
def test_a_source_reaches_safe_constructors_only(kind: str, spec: str, message: str, stranger: Path) -> None:
    edit(stranger, source__kind=kind, source__spec=spec)
    with pytest.raises(SavedModelError, match=message):
        load_saved(stranger)
    assert not marks()


@pytest.mark.parametrize("name", ["hf-hub:someone/net", "hf_hub:someone/net", "local-dir:/tmp/net", "HF-HUB:x/y"])
def test_timm_neither_downloads_nor_reads_folders(name: str, stranger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Timm:
        data = SimpleNamespace(resolve_model_data_config=None)

        def create_model(self, *_: object, **__: object) -> None:
            raise AssertionError("called")

    monkeypatch.setitem(sys.modules, "timm", Timm())  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "timm.data", Timm.data)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match=rf"timm has no model '{name}' of its own; expected .*nothing is downloaded"):
        load_model(f"timm:{name}")
    edit(stranger, source__kind="timm", source__spec=f"timm:{name}")
    with pytest.raises(SavedModelError, match=rf"timm has no model '{name}' of its own"):
        load_saved(stranger)


@pytest.mark.parametrize(
    "name", ["../secret.txt", "/etc/passwd", "..", ".", "", "plan.json", "model.safetensors", "a/b"]
)
def test_a_file_that_is_read_lies_in_the_directory(name: str, stranger: Path) -> None:
    edit(stranger, source__files=[name])
    with pytest.raises(SavedModelError, match=r"is no name for a file beside plan\.json"):
        load_saved(stranger, factory=lambda: nn.Linear(3, 2))


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_names_that_no_file_can_have_are_named(name: str, stranger: Path) -> None:
    edit(stranger, source__files=[name])
    with pytest.raises(SavedModelError, match="expected a saved model"):
        load_saved(stranger, factory=lambda: nn.Linear(3, 2))


def test_a_link_does_not_lead_out_of_the_directory(stranger: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("a secret")
    edit(stranger, source__files=["notes.txt"])
    os.symlink(tmp_path / "secret.txt", stranger / "notes.txt")
    with pytest.raises(SavedModelError, match=r"notes\.txt: leads to .*secret\.txt; expected a file of the directory"):
        load_saved(stranger, factory=lambda: nn.Linear(3, 2))
    (stranger / "notes.txt").unlink()
    (stranger / "own.txt").write_text("a note")
    os.symlink("own.txt", stranger / "notes.txt")
    assert load_saved(stranger, factory=lambda: nn.Linear(3, 2)).source.files == {"notes.txt": "a note"}


def test_the_number_of_classes_is_counted_before_memory_is_asked_for(stranger: Path) -> None:
    edit(stranger, source__kind="torchvision", source__spec="torchvision:resnet18")
    tensors = {"fc.weight": torch.zeros(2_000_000_000, 0)}
    safetensors.torch.save_file(tensors, stranger / "model.safetensors")
    with pytest.raises(
        SavedModelError, match=r"torchvision:resnet18: asks for 4,\d{3},\d{3},\d{3},\d{3} bytes .*NETWORK_BYTES"
    ):
        load_saved(stranger)


@pytest.mark.parametrize("shape", [(), (0, 512), (5,)])
def test_a_last_layer_of_an_odd_shape_is_refused(shape: tuple[int, ...], stranger: Path) -> None:
    edit(stranger, source__kind="torchvision", source__spec="torchvision:squeezenet1_1")
    safetensors.torch.save_file({"classifier.1.weight": torch.zeros(shape)}, stranger / "model.safetensors")
    with pytest.raises(SavedModelError, match=r"model\.safetensors: (lacks|classifier)"):
        load_saved(stranger)
