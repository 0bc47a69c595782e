"""Folders that cannot be read are named, not left out."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sapwood.data import open_classification, open_detection, open_unlabelled
from sapwood.data.places import exists, is_dir, is_file
from sapwood.errors import DataError

Write = Callable[..., Path]
CLOSED = "closed"


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets nobody into folders of the name CLOSED, as their permissions would if these tests did not run as root."""

    def guarded(function: Callable[..., object], inside: bool) -> Callable[..., object]:
        def call(path: object = ".", *args: object, **options: object) -> object:
            parts = Path(os.fsdecode(path)).parts if isinstance(path, str | bytes | os.PathLike) else ()
            if CLOSED in (parts[:-1] if inside else parts):
                raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))  # type: ignore[arg-type]
            return function(path, *args, **options)

        return call

    for name, inside in (("stat", True), ("listdir", False), ("scandir", False), ("open", True)):
        monkeypatch.setattr(os, name, guarded(getattr(os, name), inside))


@pytest.mark.usefixtures("closed")
def test_a_folder_below_that_cannot_be_read(tmp_path: Path, picture: Write) -> None:
    picture("a.png")
    (tmp_path / CLOSED).mkdir()
    for call in (lambda: open_unlabelled(tmp_path, "detection"), lambda: open_classification(tmp_path)):
        with pytest.raises(DataError, match=r"closed: cannot be read \(Permission denied\); expected a folder"):
            call()


@pytest.mark.usefixtures("closed")
def test_a_data_set_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / CLOSED).mkdir()
    with pytest.raises(DataError, match=r"closed/data\.yaml: cannot be read \(Permission denied\)"):
        open_detection(tmp_path / CLOSED)


def test_labels_that_cannot_be_read_are_not_taken_for_none(
    tmp_path: Path, picture: Write, text: Write, request: pytest.FixtureRequest
) -> None:
    picture("images/val/a.png")
    picture(f"images/val/{CLOSED}.png")
    picture(f"images/val/{CLOSED}/b.png")
    text("labels/val/a.txt", "0 0.5 0.5 1 1")
    text(f"labels/val/{CLOSED}/b.txt", "0 0.5 0.5 1 1")
    text("list.txt", f"images/val/a.png\nimages/val/{CLOSED}/b.png\n")
    file = text("own.data", "valid = list.txt\n")
    assert len(open_detection(file).samples) == 2
    request.getfixturevalue("closed")
    with pytest.raises(DataError, match=r"cannot be read \(Permission denied\)"):
        open_detection(file)
    dataset = open_detection(file, on_bad="skip")
    assert [sample.image_id for sample in dataset.samples] == ["a"]


@pytest.mark.parametrize("name", ["n" * 300, "a\0", "loop", "\ud800"])
def test_names_that_no_system_takes(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    place = tmp_path / name
    assert (is_file(place), is_dir(place), exists(place)) == (False, False, False)
    for call in (open_detection, open_classification):
        with pytest.raises(DataError, match="no such"):
            call(place)
    with pytest.raises(DataError, match="no such folder; expected a folder of pictures"):
        open_unlabelled(place, "detection")
