"""YOLO txt: three layouts, each good case by hand and each bad one with its message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sapwood.data import open_detection
from sapwood.errors import DataError, ImageError

Write = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, picture: Write, text: Write) -> Path:
    """Two pictures of 100 x 50, the first with two boxes, the second without a label file."""
    picture("images/val/a.jpg")
    picture("images/val/b.jpg")
    text("labels/val/a.txt", "1 0.5 0.5 0.2 0.4\n\n0 0.1 0.1 0.4 0.4\n")
    return tmp_path


def test_boxes_are_in_pixels_and_clipped(folder: Path) -> None:
    dataset = open_detection(folder, class_names=["cat", "dog"])
    first, second = dataset.samples
    np.testing.assert_allclose(first.boxes, [[40, 15, 60, 35], [0, 0, 30, 15]], atol=1e-5)
    assert first.labels.tolist() == [1, 0]
    assert first.difficult.tolist() == [False, False]
    assert (first.image_id, second.image_id) == ("a", "b")
    assert second.boxes.shape == (0, 4)
    assert dataset.class_names == ("cat", "dog")
    assert first.load().shape == (50, 100, 3)


def test_classes_without_names_are_counted(folder: Path) -> None:
    assert open_detection(folder).class_names == ("class0", "class1")


def test_own_names_map_to_the_models(folder: Path, text: Write) -> None:
    text("classes.txt", "dog\ncat\n")
    dataset = open_detection(folder, class_names=["bird", "cat", "dog"])
    assert dataset.samples[0].labels.tolist() == [1, 2]
    assert dataset.class_names == ("bird", "cat", "dog")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("2 0.5 0.5 0.1 0.1", "class 2 is out of range; the data set has 2 classes"),
        ("-1 0.5 0.5 0.1 0.1", "class -1 is out of range; the data set has 2 classes"),
        ("0 0.5 0.5 0.1", "4 fields; expected 5: class cx cy w h"),
        ("0 0.5 0.5 0.1 0.1 0.9", "6 fields; expected 5: class cx cy w h"),
        ("cat 0.5 0.5 0.1 0.1", "'cat 0.5 0.5 0.1 0.1'; expected a class number and four numbers cx cy w h"),
        ("0.5 0.5 0.5 0.1 0.1", "expected a class number and four numbers cx cy w h"),
        ("0 nan 0.5 0.1 0.1", "cx cy w h = nan 0.5 0.1 0.1; expected fractions of the picture in [0, 1]"),
        ("0 320 240 64 64", "cx cy w h = 320 240 64 64; expected fractions of the picture in [0, 1]"),
        ("0 0.5 0.5 0 0.1", "a box of width 0 and height 5; expected positive sizes"),
    ],
)
def test_bad_lines_are_named_or_skipped(folder: Path, text: Write, line: str, problem: str) -> None:
    file = text("labels/val/b.txt", f"0 0.5 0.5 0.5 0.5\n{line}\n")
    with pytest.raises(DataError) as raised:
        open_detection(folder, class_names=["cat", "dog"])
    assert str(raised.value) == f"{file}:2: {problem}" or str(raised.value).endswith(problem)
    assert str(raised.value).startswith(f"{file}:2: ")
    dataset = open_detection(folder, class_names=["cat", "dog"], on_bad="skip")
    assert [len(sample.labels) for sample in dataset.samples] == [2, 1]
    assert dataset.skipped == (str(raised.value),)


def test_class_the_model_lacks(folder: Path, text: Write) -> None:
    text("classes.txt", "dog\nzebra\n")
    with pytest.raises(DataError, match=r"a\.txt:1: class 'zebra' is not one of the 2 known: cat, dog"):
        open_detection(folder, class_names=["cat", "dog"])


def test_broken_picture_is_named_or_skipped(folder: Path, text: Write) -> None:
    text("images/val/b.jpg", "no picture")
    with pytest.raises(ImageError, match=r"b\.jpg: cannot be read as a picture"):
        open_detection(folder)
    dataset = open_detection(folder, on_bad="skip")
    assert [sample.image_id for sample in dataset.samples] == ["a"]
    assert "b.jpg" in dataset.skipped[0]


def test_label_file_that_is_no_text(folder: Path) -> None:
    (folder / "labels/val/b.txt").write_bytes(b"0 0.5 \xff")
    with pytest.raises(DataError, match=r"b\.txt: is not UTF-8 text"):
        open_detection(folder, class_names=["cat", "dog"])
    skipping = open_detection(folder, class_names=["cat", "dog"], on_bad="skip")
    assert [sample.image_id for sample in skipping.samples] == ["a"]


def test_no_labels_at_all(folder: Path) -> None:
    (folder / "labels/val/a.txt").unlink()
    with pytest.raises(DataError, match=r"val: none of its 2 pictures has labels; expected .*labels/val/a\.txt"):
        open_detection(folder)


def test_empty_labels_and_no_names(folder: Path, text: Write) -> None:
    text("labels/val/a.txt", "\n")
    with pytest.raises(DataError, match="its label files hold no boxes and nothing names its classes"):
        open_detection(folder)


def test_missing_split_lists_those_there(folder: Path) -> None:
    with pytest.raises(DataError, match=r"no split 'train'; it has the splits: val"):
        open_detection(folder, split="train")


def test_split_without_pictures(folder: Path) -> None:
    (folder / "images/test").mkdir()
    with pytest.raises(DataError, match=r"images/test: holds no pictures"):
        open_detection(folder, split="test")


def test_a_folder_a_split(tmp_path: Path, picture: Write, text: Write) -> None:
    picture("valid/images/a.png")
    text("valid/labels/a.txt", "0 0.5 0.5 1 1")
    dataset = open_detection(tmp_path, split="val")
    np.testing.assert_allclose(dataset.samples[0].boxes, [[0, 0, 100, 50]])


@pytest.mark.parametrize("names", ["[cat, dog]", "{0: cat, 1: dog}"])
def test_data_yaml(tmp_path: Path, picture: Write, text: Write, names: str) -> None:
    picture("set/images/holdout/a.png")
    text("set/labels/holdout/a.txt", "1 0.5 0.5 1 1")
    file = text("data.yaml", f"path: set\ntrain: images/train\nval: images/holdout\nnames: {names}\n")
    by_file, by_folder = open_detection(file), open_detection(tmp_path)
    assert by_file.class_names == by_folder.class_names == ("cat", "dog")
    assert by_file.samples[0].labels.tolist() == by_folder.samples[0].labels.tolist() == [1]


def test_data_yaml_with_lists(picture: Write, text: Write) -> None:
    picture("images/a.png")
    picture("images/b.png")
    text("labels/b.txt", "0 0.5 0.5 1 1")
    text("val.txt", "images/b.png\n")
    file = text("data.yaml", "val: [val.txt]\nnames: [cat]\n")
    assert [sample.image_id for sample in open_detection(file).samples] == ["b"]


def test_bad_yaml(text: Write) -> None:
    with pytest.raises(DataError, match=r"data\.yaml: is not YAML"):
        open_detection(text("data.yaml", "names: [cat"))
    with pytest.raises(DataError, match=r"data\.yaml: expected a mapping with train, val and names"):
        open_detection(text("data.yaml", "- cat"))
    with pytest.raises(DataError, match=r"names is a list, or a mapping from 0, 1, \.\.\. to names; got 'cat'"):
        open_detection(text("data.yaml", "val: images\nnames: cat"))
    with pytest.raises(
        DataError, match=r"gone: no such file; expected a folder of pictures, or a file that lists them"
    ):
        open_detection(text("data.yaml", "val: gone\nnames: [cat]"))


def test_darknet_data_file(picture: Write, text: Write) -> None:
    picture("images/a.png")
    picture("elsewhere/b.png")
    text("labels/a.txt", "0 0.5 0.5 1 1")
    text("elsewhere/b.txt", "1 0.5 0.5 0.5 0.5\n1 0.2 0.2 0.1 0.1")
    text("list.txt", "images/a.png\nelsewhere/b.png\n")
    text("own.names", "cat\ndog\n")
    file = text("own.data", "classes = 2\n# a comment\nvalid = list.txt\nnames = own.names\nbackup = b\n")
    dataset = open_detection(file)
    assert [sample.labels.tolist() for sample in dataset.samples] == [[0], [1, 1]]
    assert dataset.class_names == ("cat", "dog")
    with pytest.raises(DataError, match=r"own: no split 'train'; it has the splits: valid"):
        open_detection(file, split="train")


def test_bad_darknet_data_file(text: Write) -> None:
    with pytest.raises(DataError, match=r"own\.data:2: 'valid list\.txt'; expected key = value"):
        open_detection(text("own.data", "classes = 2\nvalid list.txt\n"))


def test_listed_picture_that_is_missing(picture: Write, text: Write) -> None:
    picture("images/a.png")
    text("labels/a.txt", "0 0.5 0.5 1 1")
    text("list.txt", "images/a.png\nimages/gone.png\n")
    file = text("own.data", "valid = list.txt\n")
    with pytest.raises(ImageError, match=r"gone\.png: no such file; expected a picture"):
        open_detection(file)
    assert len(open_detection(file, on_bad="skip").skipped) == 1
