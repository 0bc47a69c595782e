"""What was found to be fastest is remembered, and nothing that is remembered wrongly does harm."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from sapwood.caches import cache_folder
from sapwood.export import plain_copy
from sapwood.runtime.engine import compile as compile_model
from sapwood.runtime.engine import kept, tuning
from sapwood.runtime.engine.convolution import Convolution, Tiling
from sapwood.runtime.engine.planning import plan
from sapwood.runtime.engine.program import Builder
from sapwood.runtime.engine.rules import lower

pytestmark = pytest.mark.usefixtures("engine")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("SAPWOOD_CACHE", raising=False)
    monkeypatch.setattr(kept, "_warned", set())
    return tuning.cache_file()


def run() -> bool:
    torch.manual_seed(0)
    conv, picture = nn.Conv2d(4, 6, 3, padding=1), torch.randn(1, 4, 30, 30)
    with torch.no_grad():
        return torch.allclose(compile_model(conv, picture, threads=1)(picture), conv(picture), atol=1e-5)


def test_it_is_remembered(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run()
    (known,) = json.loads(file.read_text()).values()
    assert len(known) == 3
    monkeypatch.setattr(tuning, "_fastest", lambda *_: pytest.fail("tried again"))
    assert run()


@pytest.mark.parametrize(("text", "fault"), [
    ("", "is empty"),
    ("{", "1: is not JSON"),
    ("[" * 100_000, "is nested too deeply"),
    ("[]", "is damaged; expected triples of whole numbers"),
    ('{"a": 1}', "is damaged; expected triples of whole numbers"),
    ('{"a": [0, 5, 0]}', "is damaged; expected triples of whole numbers"),
    ('{"a": [1, 5]}', "is damaged; expected triples of whole numbers"),
    ('{"a": [1, 5, 3]}', "is damaged; expected triples of whole numbers"),
    ('{"a": [1, 5, false]}', "is damaged; expected triples of whole numbers"),
    ('{"a": [true, 1, 1]}', "is damaged; expected triples of whole numbers"),
])  # fmt: skip
def test_a_damaged_file_is_named_once_and_made_anew(file: Path, text: str, fault: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    with pytest.warns(UserWarning, match=f"{re.escape(str(file))}: ?{fault}.*; what is needed is tried and remembered"):
        assert run()
    assert len(json.loads(file.read_text())) == 1
    file.write_text(text)
    assert run()  # warnings are errors here: it is not said again


@pytest.mark.parametrize("tiling", [
    [1, 1, 0], [2**31 - 1, 2**31 - 1, 0], [2**32 + 1, 6500, 0], [10**30, 10**30, 1], [28, 6500, 1], [1, 2**31, 0]
])  # fmt: skip
def test_a_remembered_tiling_is_one_that_is_tried(file: Path, tiling: list[int]) -> None:
    assert run()
    (key,) = json.loads(file.read_text())
    file.write_text(json.dumps({key: tiling}))
    with pytest.warns(UserWarning, match=f"a tiling of {tiling[0]} rows and {tiling[1]} floats that is never tried"):
        assert run()
    assert json.loads(file.read_text())[key] != tiling
    assert run()


def test_a_pipe_in_its_place_is_named(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(file)
    kept = pytest.warns(UserWarning, match="not kept for the next time: .* is a device or a pipe")
    with kept, pytest.warns(UserWarning, match="is a pipe, a socket or a device"):
        assert run()


def test_one_folder_for_all_that_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAPWOOD_CACHE", str(tmp_path / "mine"))
    assert tuning.cache_file().parent == tmp_path / "mine" == cache_folder()
    monkeypatch.delenv("SAPWOOD_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "all"))
    assert tuning.cache_file().parent == tmp_path / "all" / "sapwood" == cache_folder()


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    kept = pytest.warns(UserWarning, match=r"not kept for the next time: .*file/sapwood/engine-\d\.json: cannot be")
    with pytest.warns(UserWarning, match=r"not kept for the next time: .*file/sapwood/confirmed-\d\.json"), kept:
        assert run()


def test_without_tuning_nothing_is_tried(file: Path) -> None:
    conv = nn.Conv2d(4, 6, 3)
    compile_model(conv, torch.zeros(1, 4, 9, 9), threads=1, tune=False)
    assert not file.exists()


class Recorder(tuning.Tuner):
    """Keeps what it is asked for."""

    def __init__(self, found: list[Convolution]) -> None:
        super().__init__(1)
        self.found = found

    def tiling(self, convolution: Convolution) -> Tiling:
        self.found.append(convolution)
        return super().tiling(convolution)


def test_dense_blocks_are_tried_where_many_weights_are_left(file: Path) -> None:
    for zeros, tried in ((0.0, {False, True}), (0.9, {False})):
        conv = nn.Conv2d(4, 20, 1)
        torch.nn.utils.prune.random_unstructured(conv, "weight", zeros)
        network = lower(plain_copy(conv), (torch.zeros(1, 4, 9, 9),))
        found: list[Convolution] = []
        builder = Builder()
        plan(network, Recorder(found))
        assert {one.dense for one in tuning._candidates(found[0], builder)} == tried


@pytest.mark.parametrize(("outputs", "side"), [(20, 9), (16, 3), (40, 1)])
def test_what_is_tried_follows_from_what_is_told_apart(file: Path, outputs: int, side: int) -> None:
    """Convolutions that take each other's tilings have the same ones to try."""
    seen: dict[str, set[Tiling]] = {}
    for nonzeros in range(0, 20 * outputs + 1, 3):
        conv = nn.Conv2d(20, outputs, 1)
        with torch.no_grad():
            conv.weight.view(-1)[nonzeros:] = 0.0
        found: list[Convolution] = []
        recorder = Recorder(found)
        plan(lower(plain_copy(conv), (torch.zeros(1, 20, side, side),)), recorder)
        tried = set(tuning._candidates(found[0], Builder()))
        assert seen.setdefault(recorder._key(found[0]), tried) == tried
    assert len({frozenset(tried) for tried in seen.values()}) == 2


def test_chains_of_other_heights_are_told_apart(file: Path) -> None:
    """The padding makes the height of a chain that ends with its depthwise convolution."""
    for padding in (0, 1, 2):
        convs = nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 3, padding=(padding, 1), groups=8)
        model, picture = nn.Sequential(*convs).eval(), torch.randn(1, 4, 20, 14)
        for _ in range(2):  # a warning that a chain of such rows is never tried would be an error here
            compiled = compile_model(model, picture, threads=1)
            assert torch.allclose(compiled(picture), model(picture).detach(), atol=1e-5)
    assert sum(key.startswith("chain") for key in json.loads(file.read_text())) == 3


def test_another_processor_tries_anew(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run()
    monkeypatch.setattr(tuning, "_processor", lambda: "another one")
    assert run()
    assert len(json.loads(file.read_text())) == 2
