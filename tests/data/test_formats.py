"""A data format is one entry: what recognises it, opens it and names it in messages follows from that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sapwood.data import BUILT_IN, FORMATS, FileForm, FolderForm, Format, open_detection
from sapwood.data.checks import OnBad
from sapwood.data.formats import Opener, folder_forms
from sapwood.errors import DataError, NoDataSetError
from sapwood.types import DetectionDataset, DetectionSample

Write = Callable[..., Path]
ROOT = Path(__file__).resolve().parents[2]


def _opened(path: Path) -> Opener:
    def opened(split: str, class_names: object, on_bad: OnBad) -> DetectionDataset:
        empty = np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_)
        sample = DetectionSample("one", *empty, lambda: np.zeros((1, 1, 3), np.uint8))
        return DetectionDataset(f"{path.name} {split} {on_bad}", (sample,), ("a",))

    return opened


@pytest.fixture
def dots(monkeypatch: pytest.MonkeyPatch) -> str:
    """A new format: folders with a ``dots.csv``, files ``.dots`` without splits."""
    entry = Format(
        title="dots",
        layout="dots.csv (dots)",
        folders=(FolderForm(25, lambda root: _opened(root) if (root / "dots.csv").is_file() else None),),
        files=(FileForm("a .dots", (".dots",), _opened, parted=False),),
    )
    monkeypatch.setattr(FORMATS, "_entries", {**FORMATS._entries, "dots": entry})
    return "dots"


@pytest.mark.usefixtures("dots")
def test_a_format_that_was_registered_is_opened(tmp_path: Path, text: Write) -> None:
    file = text("dots.csv", "")
    assert open_detection(file.parent, split="train", on_bad="skip").name == f"{tmp_path.name} train skip"
    assert open_detection(text("net.DOTS", ""), split="train+val").name == "net.DOTS train error"


@pytest.mark.usefixtures("dots")
def test_messages_name_the_formats_that_are_registered(tmp_path: Path, text: Write) -> None:
    with pytest.raises(NoDataSetError, match=r"annotations/.* \(COCO\); dots\.csv \(dots\); Annotations/.* \(Pasc"):
        open_detection(tmp_path)
    expected = r"expected a folder, a \.json, a \.dots, a data\.yaml or a \.data file$"
    with pytest.raises(DataError, match=expected):
        open_detection(text("boxes.csv", ""))


def test_messages_name_the_built_in_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made(split: str) -> DetectionDataset:
        return _opened(Path())(split, (), "error")

    monkeypatch.setattr(BUILT_IN, "_entries", {**BUILT_IN._entries, "none": made})
    assert open_detection("none", split="all").name == " all error"
    with pytest.raises(DataError, match=r"gone: no such .*, or 'digits' or 'none' for the built-in one"):
        open_detection(tmp_path / "gone")


def test_the_order_of_recognition(tmp_path: Path, text: Write, picture: Write) -> None:
    """Of a folder that is everything at once: ``data.yaml``, then COCO, then VOC, then YOLO's folders."""
    picture("images/val/a.png")
    text("labels/val/a.txt", "0 0.5 0.5 1 1")
    assert len(open_detection(tmp_path).samples) == 1
    text("Annotations/b.xml", "")
    (tmp_path / "JPEGImages").mkdir()
    with pytest.raises(DataError, match=r"no split 'val'; ImageSets holds no lists"):
        open_detection(tmp_path)
    text("annotations/instances_train.json", "{}")
    with pytest.raises(DataError, match=r"no split 'val'; annotations/ holds the splits train"):
        open_detection(tmp_path)
    text("data.yaml", "train: images/val\nnames: [a]\n")
    with pytest.raises(DataError, match=r"no split 'val'.*train"):
        open_detection(tmp_path)


def test_no_two_forms_have_one_rank_or_suffix() -> None:
    ranks = [form.rank for form in folder_forms()]
    suffixes = [suffix for name in FORMATS for form in FORMATS[name].files for suffix in form.suffixes]
    assert len(ranks) == len(set(ranks)) >= 4
    assert len(suffixes) == len(set(suffixes)) >= 4


@pytest.mark.parametrize("name", list(FORMATS))
def test_every_format_is_named_where_users_look(name: str) -> None:
    for place in ("docs/data.md", "src/sapwood/cli/common.py", "src/sapwood/data/open.py"):
        assert FORMATS[name].title.split()[0] in (ROOT / place).read_text(), f"{place} does not name {name}"
