"""Several folders as one: what the text names, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sapwood.data import data_parts
from sapwood.errors import DataError


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("coco", "pictures", "a+b"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_a_text_names_one_folder_or_several(folders: Path) -> None:
    assert data_parts("coco") == ("coco",)
    assert data_parts("coco+pictures+digits") == ("coco", "pictures", "digits")
    assert data_parts("coco+builtin:digits") == ("coco", "builtin:digits")
    assert data_parts(Path("coco+pictures")) == ("coco", "pictures")
    assert data_parts(f"{folders}/coco+{folders}/pictures") == (f"{folders}/coco", f"{folders}/pictures")


def test_a_path_that_is_there_is_one_whatever_its_name(folders: Path) -> None:
    assert data_parts(folders / "a+b") == (str(folders / "a+b"),)
    assert data_parts("a+b") == ("a+b",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "coco+nowhere",
            r"^coco\+nowhere: nowhere: no such file or folder; expected folders that are there, with \+ between",
        ),
        ("coco+", r"^coco\+: nothing: no such file or folder"),
        ("coco+pictures+coco", r"^coco\+pictures\+coco: coco is there twice"),
    ],
)
def test_what_is_wrong_is_said(text: str, message: str, folders: Path) -> None:
    assert folders.is_dir()
    with pytest.raises(DataError, match=message):
        data_parts(text)
