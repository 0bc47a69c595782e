"""COCO json: category ids with gaps, crowds, where pictures are looked for, each bad case with its message."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sapwood.data import open_detection
from sapwood.errors import DataError, ImageError

Write = Callable[..., Path]


def record() -> dict[str, Any]:
    """Two pictures of 100 x 50; the categories are 90 and 17, in this order."""
    return {
        "images": [
            {"id": 7, "file_name": "a.jpg", "height": 50, "width": 100},
            {"id": 3, "file_name": "b.jpg", "height": 50, "width": 100},
        ],
        "categories": [{"id": 90, "name": "airplane"}, {"id": 17, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 3, "category_id": 90, "bbox": [10, 20, 30, 10], "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 17, "bbox": [0, 0, 100, 60], "iscrowd": 1},
        ],
    }


@pytest.fixture
def folder(tmp_path: Path, picture: Write, text: Write) -> Path:
    picture("images/val2017/a.jpg")
    picture("images/val2017/b.jpg")
    text("annotations/instances_val2017.json", json.dumps(record()))
    return tmp_path


def save(folder: Path, value: Any) -> Path:
    file = folder / "annotations/instances_val2017.json"
    file.write_text(json.dumps(value))
    return file


def test_category_ids_become_labels_in_order(folder: Path) -> None:
    dataset = open_detection(folder)
    first, second = dataset.samples
    assert dataset.class_names == ("cat", "airplane")
    assert (first.labels.tolist(), second.labels.tolist()) == ([0], [1])
    assert (first.image_id, second.image_id) == ("a", "b")
    np.testing.assert_array_equal(first.boxes, [[0, 0, 100, 50]])
    np.testing.assert_array_equal(second.boxes, [[10, 20, 40, 30]])
    assert (first.difficult.tolist(), second.difficult.tolist()) == ([True], [False])
    assert first.load().shape == (50, 100, 3)


def test_categories_map_to_darknets_names(folder: Path) -> None:
    dataset = open_detection(folder, class_names=["aeroplane", "dog", "cat"])
    assert [sample.labels.tolist() for sample in dataset.samples] == [[2], [0]]


@pytest.mark.parametrize("place", ["val2017", "images", "."])
def test_pictures_are_found_where_they_are_usually_put(tmp_path: Path, picture: Write, text: Write, place: str) -> None:
    picture(f"{place}/a.jpg")
    picture(f"{place}/b.jpg")
    file = text("annotations/instances_val2017.json", json.dumps(record()))
    assert len(open_detection(file).samples) == len(open_detection(tmp_path).samples) == 2


def test_missing_split(folder: Path) -> None:
    with pytest.raises(DataError, match=r"no split 'train'; annotations/ holds the splits val2017"):
        open_detection(folder, split="train")


def test_two_years_of_a_split(folder: Path, text: Write) -> None:
    text("annotations/instances_val2014.json", json.dumps(record()))
    with pytest.raises(DataError, match=r"split 'val' may be any of val2014, val2017; name one of them"):
        open_detection(folder)
    assert len(open_detection(folder, split="val2017").samples) == 2


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", r"instances_val2017\.json:1: is not JSON"),
        ("[]", "expected a JSON object with the lists images, annotations, categories"),
        ('{"images": [], "annotations": []}', "expected a JSON object with the lists"),
        ('{"images": [1], "annotations": [], "categories": []}', "images holds something that is not an object"),
        ('{"images": [], "annotations": [], "categories": []}', "holds no categories"),
        ('{"images": [], "annotations": [], "categories": [{"id": "x"}]}', "a category without a whole-number id"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "cat"}]}', "holds no pictures"),
    ],
)
def test_files_that_are_not_coco(folder: Path, content: str, problem: str) -> None:
    (folder / "annotations/instances_val2017.json").write_text(content)
    with pytest.raises(DataError, match=problem):
        open_detection(folder)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"image_id": 99}, r"annotations\[0\]: image_id 99 is no picture of the file"),
        ({"image_id": [3]}, r"annotations\[0\]: image_id \[3\] is no picture of the file"),
        ({"category_id": 1}, r"annotations\[0\]: category_id 1 is no category of the file"),
        ({"bbox": [1, 2, 3]}, r"annotations\[0\]: bbox \[1, 2, 3\]; expected four numbers x, y, width, height"),
        ({"bbox": "none"}, r"annotations\[0\]: bbox 'none'; expected four numbers"),
        ({"bbox": [1, 2, 0, 4]}, r"annotations\[0\]: a box of width 0 and height 4; expected positive sizes"),
        ({"bbox": [1, 2, float("nan"), 4]}, r"annotations\[0\]: a box with edges 1, 2, nan, 6"),
        ({"bbox": [101, 2, 5, 5]}, r"annotations\[0\]: a box .* outside its picture of 100 x 50 pixels"),
    ],
)
def test_bad_annotations_are_named_or_skipped(folder: Path, change: dict[str, Any], problem: str) -> None:
    value = record()
    value["annotations"][0].update(change)
    save(folder, value)
    with pytest.raises(DataError, match=problem):
        open_detection(folder)
    dataset = open_detection(folder, on_bad="skip")
    assert sum(len(sample.labels) for sample in dataset.samples) == 1
    assert len(dataset.skipped) == 1


def test_bad_picture_entries(folder: Path) -> None:
    value = record()
    del value["images"][0]["height"]
    save(folder, value)
    with pytest.raises(DataError, match=r"images\[0\]: needs id, file_name, height and width"):
        open_detection(folder)
    value["images"][0]["height"] = 0
    save(folder, value)
    with pytest.raises(DataError, match=r"images\[0\]: id 7, height 0, width 100; expected positive sizes"):
        open_detection(folder)
    assert [sample.image_id for sample in open_detection(folder, on_bad="skip").samples] == ["b"]
    value["images"][0] = value["images"][1]
    save(folder, value)
    with pytest.raises(DataError, match=r"images\[1\]: id 3 is there twice"):
        open_detection(folder)


def test_missing_pictures(folder: Path) -> None:
    (folder / "images/val2017/b.jpg").unlink()
    with pytest.raises(ImageError, match=r"b\.jpg: no such file; instances_val2017\.json lists it as a picture"):
        open_detection(folder)
    dataset = open_detection(folder, on_bad="skip")
    assert [sample.image_id for sample in dataset.samples] == ["a"]
    assert len(dataset.skipped) == 1
    (folder / "images/val2017/a.jpg").unlink()
    with pytest.raises(DataError, match=r"none of its 2 pictures is there; looked in .*images/val2017"):
        open_detection(folder, on_bad="skip")


def test_category_the_model_lacks(folder: Path) -> None:
    with pytest.raises(DataError, match=r"class 'airplane' is not one of the 2 known: cat, dog"):
        open_detection(folder, class_names=["cat", "dog"])
    assert len(open_detection(folder, class_names=["cat", "dog"], on_bad="skip").skipped) == 1
