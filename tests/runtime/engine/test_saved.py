"""A compiled network that is saved and loaded gives the same numbers; files that are not whole are named."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapwood.errors import ConfigError, EngineError
from sapwood.runtime import compile as compile_model
from sapwood.runtime import load
from sapwood.runtime.engine.saved import NETWORK_NAME, WEIGHTS_NAME

pytestmark = pytest.mark.usefixtures("engine")


class Mixed(nn.Module):
    """Every kind of node, calls of PyTorch with constants of several types among them, and nested results."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.SiLU(), nn.Conv2d(8, 8, 3, padding=1)
        )
        self.pool, self.head = nn.MaxPool2d(3, 2, 1), nn.Linear(8, 4)
        self.register_buffer("halved", torch.full((1, 8, 1, 1), 0.5, dtype=torch.bfloat16))

    def forward(self, x: Tensor) -> dict[str, Any]:
        x = self.first(x)
        halves = torch.cat([x[:, 4:].sigmoid(), F.interpolate(self.pool(x)[:, :4], scale_factor=2)], 1)
        mixed = F.softplus(halves + x) * self.halved
        hidden = mixed.masked_fill(mixed > 1.0, float("-inf")).to(torch.float64).exp()
        return {"maps": [F.avg_pool2d(x, 2), hidden], "scores": (self.head((x * x).mean((2, 3))), 7, None)}


def made() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    model = Mixed().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 4:
                parameter.mul_(torch.rand_like(parameter) < 0.2)
    return model, torch.randn(1, 3, 16, 24)


def test_it_gives_the_same_numbers(tmp_path: Path) -> None:
    model, picture = made()
    compiled = compile_model(model, picture, threads=1)
    loaded = load(compiled.save(tmp_path / "saved"), threads=1)
    again = load(loaded.save(tmp_path / "again"), threads=1)
    with torch.no_grad():
        wanted = model(picture)
    for one in (loaded(picture), again(picture)):
        assert one["scores"][1:] == (7, None)
        assert torch.equal(one["scores"][0], compiled(picture)["scores"][0])
        for found, same, other in zip(one["maps"], compiled(picture)["maps"], wanted["maps"], strict=True):
            assert torch.equal(found, same)
            assert found.dtype == other.dtype
            torch.testing.assert_close(found, other, rtol=1e-5, atol=1e-5)


def test_zeros_take_a_bit(tmp_path: Path) -> None:
    conv = nn.Conv2d(64, 64, 3)
    with torch.no_grad():
        conv.weight *= torch.rand_like(conv.weight) < 0.1
    directory = compile_model(conv, torch.zeros(1, 64, 8, 8)).save(tmp_path / "saved")
    size = (directory / WEIGHTS_NAME).stat().st_size
    assert size < conv.weight.numel() * 4 / 6
    picture = torch.randn(1, 64, 8, 8)
    torch.testing.assert_close(load(directory)(picture), conv(picture).detach(), rtol=1e-4, atol=1e-4)


def test_saving_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    compiled = compile_model(nn.ReLU(), torch.zeros(1, 2, 4, 4))
    folder = compiled.save(tmp_path / "saved")
    (folder / "more").write_text("more")
    (folder / WEIGHTS_NAME).write_bytes(b"earlier")
    compiled.save(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["more", NETWORK_NAME, WEIGHTS_NAME]  # the user's stays
    load(folder)


def test_saving_takes_no_other_place(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match=r"Sapwood did not write it: there is no network.json in it"):
        compile_model(nn.ReLU(), torch.zeros(1, 2, 4, 4)).save(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def changed(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def flipped(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS_NAME).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS_NAME).write_bytes(data)


@pytest.mark.parametrize(("damage", "message"), [
    (lambda folder: (folder / NETWORK_NAME).unlink(), "network.json: no such file; expected a network"),
    (lambda folder: (folder / WEIGHTS_NAME).unlink(), "weights.safetensors: no such file; expected its weights"),
    (lambda folder: (folder / NETWORK_NAME).write_text("{"), "network.json:1: is not JSON"),
    (lambda folder: (folder / NETWORK_NAME).write_text("[" * 100_000), "network.json: is nested too deeply"),
    (lambda folder: (folder / NETWORK_NAME).write_bytes(b"\xff"), "network.json: is not UTF-8 text"),
    (lambda folder: (folder / NETWORK_NAME).write_text("[]"), "network.json: not written by `sapwood compile`"),
    (lambda folder: changed(folder / NETWORK_NAME, lambda head: head.update(version=9)), "version 9; .* 1 to 3"),
    (lambda folder: changed(folder / NETWORK_NAME, lambda head: head.update(version=True)), "version True; .* 1 to 3"),
    (lambda folder: changed(folder / NETWORK_NAME, lambda head: head.update(version=[])), r"version \[\]; .* 1 to 3"),
    (lambda folder: changed(folder / NETWORK_NAME, lambda head: head.update(content="{}")), "not those .* together"),
    (lambda folder: changed(folder / NETWORK_NAME, lambda head: head.update(content=5)), "not those .* together"),
    (lambda folder: changed(folder / NETWORK_NAME, lambda head: head.pop("sha256")), "not those .* together"),
    (flipped, "damaged: the files are not those that were written together"),
])  # fmt: skip
def test_damaged_files_are_named(damage: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
    model, picture = made()
    folder = compile_model(model, picture).save(tmp_path / "saved")
    damage(folder)
    with pytest.raises(EngineError, match=f"{re.escape(str(folder))}.*{message}"):
        load(folder)


class Pair(NamedTuple):
    one: Tensor
    other: Tensor


class Paired(nn.Module):
    def forward(self, x: Tensor) -> Pair:
        return Pair(x.relu(), x)


def test_what_cannot_be_saved_is_named(tmp_path: Path) -> None:
    compiled = compile_model(Paired(), torch.zeros(1, 2, 4, 4))
    assert isinstance(compiled(torch.ones(1, 2, 4, 4)), Pair)
    with pytest.raises(
        EngineError, match=r"cannot be saved: the model returns a Pair; expected tuples, lists and dicts"
    ):
        compiled.save(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
