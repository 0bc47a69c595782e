"""Which data set a path holds; what is said where none is recognised."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sapwood.data import open_classification, open_detection
from sapwood.errors import ConfigError, DataError

Write = Callable[..., Path]


def test_digits_is_the_built_in_data_set() -> None:
    dataset = open_detection("digits", split="test")
    assert len(dataset.samples) == 200
    assert dataset.class_names == tuple("0123456789")


def test_the_built_in_data_set_has_the_name_that_its_network_has_too() -> None:
    same, dataset = open_detection("digits", split="val"), open_detection("builtin:digits", split="val")
    assert dataset.name == same.name
    assert [sample.image_id for sample in dataset.samples] == [sample.image_id for sample in same.samples]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone: no such file or folder; expected a data set, or 'digits'"):
        open_detection(tmp_path / "gone")


def test_nothing_recognised_says_what_was_found_and_what_is_expected(tmp_path: Path, text: Write) -> None:
    with pytest.raises(DataError, match=r"no data set recognised\. It holds nothing; expected one of: annotations/"):
        open_detection(tmp_path)
    for number in range(10):
        text(f"{number}.csv", "")
    (tmp_path / "pictures").mkdir()
    with pytest.raises(DataError) as raised:
        open_detection(tmp_path)
    message = str(raised.value)
    assert "It holds 0.csv, 1.csv, 2.csv, 3.csv, 4.csv, 5.csv, 6.csv, 7.csv and 3 more" in message
    for layout in ("(COCO)", "(Pascal VOC)", "(YOLO)"):
        assert layout in message


def test_unknown_file(text: Write) -> None:
    with pytest.raises(DataError, match=r"boxes\.csv: not a data set; expected a folder, a \.json, a data\.yaml or"):
        open_detection(text("boxes.csv", ""))


def test_nothing_left_after_skipping(tmp_path: Path, text: Write) -> None:
    text("images/val/a.jpg", "no picture")
    text("labels/val/a.txt", "0 0.5 0.5 1 1")
    with pytest.raises(DataError, match=r"no picture is left in split 'val'; the first of 1 reasons: .*a\.jpg: cannot"):
        open_detection(tmp_path, on_bad="skip")


def test_on_bad_is_checked_even_for_digits() -> None:
    with pytest.raises(ConfigError, match="on_bad is 'error' or 'skip'; got 'stop'"):
        open_detection("digits", on_bad="stop")  # type: ignore[arg-type]


def test_parts_are_joined(tmp_path: Path, text: Write, picture: Write) -> None:
    for split, label in (("train", "1 0.5 0.5 1 1"), ("val", "0 0.5 0.5 1 1")):
        picture(f"images/{split}/a.png")
        text(f"labels/{split}/a.txt", label)
    whole = open_detection(tmp_path, split="train+val", class_names=("cat", "dog"))
    assert [sample.image_id for sample in whole.samples] == ["train/a", "val/a"]
    assert [sample.labels.tolist() for sample in whole.samples] == [[1], [0]]
    assert [sample.image_id for sample in open_detection(tmp_path, split="train+train").samples] == ["a"]
    with pytest.raises(DataError, match="'tset'"):
        open_detection(tmp_path, split="train+tset")


def test_a_folder_without_parts_is_the_whole(tmp_path: Path, picture: Write) -> None:
    for name in ("dark", "light"):
        picture(f"{name}/a.png")
    assert len(open_classification(tmp_path, split="train+val").samples) == 2
