"""Checkpoints that hold objects of other classes: their tensors are read, and nothing of them is looked up."""

from __future__ import annotations

import argparse
import pickle
import shutil
import sys
from collections import OrderedDict, defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from sapwood.errors import WeightsError
from sapwood.pickled import Inert, named_in, read_pickled, tensors_of


@pytest.fixture
def strangers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A package that is there when a file is written, and gone when it is read."""
    module = ModuleType("strangers")
    monkeypatch.setitem(sys.modules, "strangers", module)
    for name, base in {"Options": object, "Table": dict, "Net": nn.Module}.items():
        setattr(module, name, type(name, (base,), {"__module__": "strangers"}))
    return module


def saved(content: object, path: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Path:
    torch.save(content, path, **options)
    monkeypatch.delitem(sys.modules, "strangers", raising=False)
    return path


def read(path: Path) -> Any:
    return read_pickled(path, "tensors", WeightsError)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_tensors_beside_objects_are_read(
    zipped: bool, strangers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = strangers.Options()
    options.lr = 0.1
    content = {"model": {"w": torch.ones(2)}, "args": argparse.Namespace(a=1), "own": options, "at": Path("x")}
    path = saved(content, tmp_path / "a.pth", monkeypatch, _use_new_zipfile_serialization=zipped)
    found = read(path)
    assert torch.equal(found["model"]["w"], torch.ones(2))
    assert (found["args"].named, found["own"].named) == ("argparse.Namespace", "strangers.Options")
    assert dict(found["own"].state) == {"lr": 0.1}
    assert "strangers" not in sys.modules
    assert {"argparse.Namespace", "strangers.Options"} <= named_in(path)


def test_dictionaries_of_other_classes_are_plain_ones(
    strangers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {"w": {"a": torch.ones(2)}, "hparams": strangers.Table(lr=0.1), "seen": defaultdict(list, {"x": [1]})}
    found = read(saved(content, tmp_path / "a.ckpt", monkeypatch))
    assert (found["hparams"], found["seen"]) == ({"lr": 0.1}, {"x": [1]})


def test_a_whole_module_is_taken_apart_without_its_class(
    strangers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = strangers.Net()
    net.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    net.register_buffer("grid", torch.ones(3), persistent=False)
    wanted = net.state_dict()
    found = tensors_of(read(saved(net, tmp_path / "net.pt", monkeypatch)))
    assert found is not None
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert not any(tensor.requires_grad for tensor in found.values())


def test_classes_that_others_registered_are_left_to_them(tmp_path: Path) -> None:
    """Ultralytics registers its own and many of PyTorch's, for as long as the process lasts."""
    torch.save(nn.Sequential(nn.Linear(2, 2)), tmp_path / "net.pt")
    with torch.serialization.safe_globals([nn.Sequential, nn.Linear, set]):
        registered = set(torch.serialization.get_safe_globals())
        found = read(tmp_path / "net.pt")
        assert set(torch.serialization.get_safe_globals()) == registered
    assert isinstance(found, Inert)
    assert found.named == "torch.nn.modules.container.Sequential"


def test_a_module_that_holds_itself_ends() -> None:
    net = Inert()
    net.state = {"_modules": {"again": net}}
    with pytest.raises(ValueError, match="modules"):
        tensors_of(net)
    assert tensors_of(Inert()) is None


class Called:
    def __init__(self, function: Any, *given: object) -> None:
        self.function, self.given = function, given

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.given


def test_calls_in_a_file_are_not_made(tmp_path: Path) -> None:
    trap = tmp_path / "executed"
    for call in (Called(eval, "1 / 0"), Called(shutil.copytree, str(tmp_path), str(trap)), Called(__import__, "none")):
        torch.save({"w": torch.ones(1), "called": call}, tmp_path / "a.pth")
        found = read(tmp_path / "a.pth")
        assert torch.equal(found["w"], torch.ones(1))
        assert isinstance(found["called"], Inert)
    assert not trap.exists()


def test_what_torch_did_not_write_is_named(tmp_path: Path) -> None:
    for protocol in (2, 4):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps({"model": OrderedDict(a=[1.0])}, protocol))
        with pytest.raises(
            WeightsError, match=r"a\.pkl: (is a pickle that torch\.save did not write|holds).*; expected"
        ):
            read(tmp_path / "a.pkl")
    assert named_in(tmp_path / "a.pkl") == named_in(tmp_path / "none") == set()
