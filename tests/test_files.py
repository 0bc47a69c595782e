"""A reader never meets half a file, and a failure leaves what was there before."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sapwood import files
from sapwood.errors import ConfigError


def full_disk(_: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_the_previous_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.json"
    files.write_json(path, {"run": 1})
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        files.write_json(path, {"run": 2})
    assert path.read_text() == '{\n  "run": 1\n}\n'
    assert os.listdir(tmp_path) == ["record.json"], "no temporary file is left"


def test_json_without_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "record.json", {"value": float("nan")})
    assert not list(tmp_path.iterdir())


def test_a_directory_takes_its_place_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with files.new_directory(target, "a") as folder:
        (folder / "a").write_text("1")
    with files.new_directory(target, "a") as folder:
        (folder / "b").write_text("2")
        assert os.listdir(target) == ["a"], "the previous one stands until the end"
    assert os.listdir(target) == ["b"]
    assert os.listdir(tmp_path) == ["model"]


def half_written(target: Path) -> None:
    with files.new_directory(target, "a") as folder:
        (folder / "b").write_text("2")
        raise RuntimeError("killed")


def test_a_directory_that_fails_leaves_the_previous_one(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with files.new_directory(target, "a") as folder:
        (folder / "a").write_text("1")
    with pytest.raises(RuntimeError, match="killed"):
        half_written(target)
    assert os.listdir(target) == ["a"]
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize("make", [
    lambda target: target.write_text("a file"),
    lambda target: (target / "inside").mkdir(parents=True),
    lambda target: (target / "a").mkdir(parents=True),
], ids=["file", "other directory", "mark is a directory"])  # fmt: skip
def test_nothing_else_is_replaced(make: Callable[[Path], object], tmp_path: Path) -> None:
    target = tmp_path / "model"
    make(target)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match="it would be replaced, and Sapwood did not write it: there is no a"):
        half_written(target)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with files.new_directory(tmp_path / "model", "a") as folder:
        (folder / "a").write_text("1")
    assert os.listdir(tmp_path / "model") == ["a"]


def test_files_get_the_usual_permissions(tmp_path: Path) -> None:
    files.write_text(tmp_path / "note", "x")
    (tmp_path / "plain").write_text("x")
    assert (tmp_path / "note").stat().st_mode == (tmp_path / "plain").stat().st_mode
