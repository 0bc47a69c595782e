"""What was found to be fastest is remembered, and nothing that is remembered wrongly does harm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from sapwood.runtime.engine import compile as compile_model
from sapwood.runtime.engine import tuning

pytestmark = pytest.mark.usefixtures("engine")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tuning.cache_file()


def run() -> bool:
    torch.manual_seed(0)
    conv, picture = nn.Conv2d(4, 6, 3, padding=1), torch.randn(1, 4, 30, 30)
    with torch.no_grad():
        return torch.allclose(compile_model(conv, picture, threads=1)(picture), conv(picture), atol=1e-5)


def test_it_is_remembered(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run()
    (known,) = json.loads(file.read_text()).values()
    assert len(known) == 2
    monkeypatch.setattr(tuning, "_fastest", lambda *_: pytest.fail("tried again"))
    assert run()


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a": [0, 5]}', "{", '{"a": [true, 1]}'])
def test_a_damaged_file_is_as_good_as_none(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert run()
    assert len(json.loads(file.read_text())) == 1


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match=r"not kept for the next time: .*file/sapwood/engine-\d\.json: cannot be"):
        assert run()


def test_without_tuning_nothing_is_tried(file: Path) -> None:
    conv = nn.Conv2d(4, 6, 3)
    compile_model(conv, torch.zeros(1, 4, 9, 9), threads=1, tune=False)
    assert not file.exists()
