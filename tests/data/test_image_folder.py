"""A folder a class, with and without splits."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from sapwood.data import open_classification
from sapwood.errors import DataError

Write = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, picture: Write) -> Path:
    for name in ("dog/1.png", "cat/1.png", "cat/2.jpg"):
        picture(f"val/{name}")
    picture("train/cat/9.png")
    return tmp_path


def test_classes_are_the_sorted_folders(folder: Path) -> None:
    dataset = open_classification(folder)
    assert dataset.class_names == ("cat", "dog")
    assert [(sample.image_id, sample.label) for sample in dataset.samples] == [("cat/1", 0), ("2", 0), ("dog/1", 1)]
    assert dataset.samples[0].load().shape == (50, 100, 3)
    assert dataset.name.endswith(" val")


def test_classes_map_to_the_models(folder: Path) -> None:
    dataset = open_classification(folder, class_names=["dog", "bird", "Cat"])
    assert dataset.class_names == ("dog", "bird", "Cat")
    assert [sample.label for sample in dataset.samples] == [2, 2, 0]


def test_without_splits(folder: Path) -> None:
    assert len(open_classification(folder / "val", split="val").samples) == 3


def test_missing_split(folder: Path) -> None:
    with pytest.raises(DataError, match=r"no split 'test'; it has the splits: train, val"):
        open_classification(folder, split="test")


def test_what_is_no_folder_of_classes(folder: Path, text: Write) -> None:
    with pytest.raises(DataError, match=r"gone: no such folder; expected a folder of classes"):
        open_classification(folder / "gone")
    with pytest.raises(DataError, match=rf"; did you mean {re.escape(str(folder))}\?$"):
        open_classification(folder.with_name(folder.name + "z"))
    with pytest.raises(DataError, match=r"file\.txt: is a file; expected a folder of classes"):
        open_classification(text("file.txt", ""))
    with pytest.raises(DataError, match=r"val/cat: holds no folders; expected one a class, with pictures in it"):
        open_classification(folder / "val/cat")
    (folder / "test/cat").mkdir(parents=True)
    with pytest.raises(DataError, match=r"test: its 1 class folders hold no pictures"):
        open_classification(folder, split="test")


def test_folder_that_is_none_of_the_models_classes(folder: Path) -> None:
    with pytest.raises(DataError, match=r"val/dog: class 'dog' is not one of the 2 known: cat, bird"):
        open_classification(folder, class_names=["cat", "bird"])
    dataset = open_classification(folder, class_names=["cat", "bird"], on_bad="skip")
    assert len(dataset.samples) == 2
    assert "dog" in dataset.skipped[0]
