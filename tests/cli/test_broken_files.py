"""Verbs on files that are broken, or something else: exit code 2, the file's name, and nothing written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

Run = Callable[..., int]
Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("suffix", [".ppm", ".pgm", ".tiff", ".webp"])
def test_detect_takes_all_pictures_that_data_sets_may_hold(
    run: Run, cfg: Path, data: Path, tmp_path: Path, suffix: str
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.open(data / "images" / "val" / "0.png").convert("L").save(folder / f"a{suffix}")
    assert run("detect", cfg, folder, "-o", tmp_path / "found") == 0
    assert (tmp_path / "found" / "a.jpg").is_file()


def test_detect_writes_nothing_where_a_picture_is_none(
    run: Run, cfg: Path, data: Path, tmp_path: Path, capsys: Capture
) -> None:
    good = data / "images" / "val" / "0.png"
    (tmp_path / "last.jpg").write_bytes(b"GIF89a")
    shutil.copyfile(good, tmp_path / "half.png")
    half = (tmp_path / "half.png").read_bytes()
    (tmp_path / "half.png").write_bytes(half[: len(half) // 2])
    for pictures, message in (
        ([good, tmp_path / "last.jpg"], "last.jpg: cannot be read as a picture; expected one of JPEG, PNG"),
        ([tmp_path / "half.png"], "half.png: cannot be read as a picture"),
        ([tmp_path / ("n" * 300)], "cannot be read (File name too long); expected a picture file"),
        ([tmp_path / "none.jpg"], "none.jpg: no such file; expected a picture file"),
    ):
        assert run("detect", cfg, *pictures, "-o", tmp_path / "found") == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "found").exists()


def test_detect_lists_what_a_folder_may_hold(run: Run, cfg: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "empty").mkdir()
    assert run("detect", cfg, tmp_path / "empty", "-o", tmp_path / "found") == 2
    expected = "expected .bmp, .jpeg, .jpg, .pgm, .png, .ppm, .tif, .tiff, .webp"
    assert f"empty: a folder without pictures; {expected}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", r"report.json:1: is not JSON (Expecting property name enclosed in double quotes)"),
        (b"[" * 100_000, "report.json: is nested too deeply; expected the record that Sapwood wrote"),
        (b"\xff", "report.json: is not UTF-8 text (byte 0)"),
        (b"9" * 5000, "report.json: is damaged, or something else (ValueError"),
        (b"[]", "record: schema is 'list'"),
        (b'{"schema": [1]}', "record: schema is [1]"),
    ],
)
def test_report_names_a_damaged_record(run: Run, tmp_path: Path, content: bytes, message: str, capsys: Capture) -> None:
    (tmp_path / "report.json").write_bytes(content)
    assert run("report", tmp_path) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("name", ["n" * 300, "none"])
def test_report_of_nothing(run: Run, tmp_path: Path, name: str, capsys: Capture) -> None:
    assert run("report", tmp_path / name) == 2
    assert "expected a directory that `sapwood compare`" in capsys.readouterr().err
