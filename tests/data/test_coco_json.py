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


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"bbox": "1234"}, r"bbox '1234'; expected four numbers x, y, width, height"),
        ({"bbox": [True, True, 5, 5]}, r"bbox \[True, True, 5, 5\]; expected four numbers"),
        ({"bbox": ["1", "2", "3", "4"]}, r"bbox \['1', '2', '3', '4'\]; expected four numbers"),
        ({"bbox": {"a": 1, "b": 2, "c": 3, "d": 4}}, r"bbox \{'a': 1, .*; expected four numbers"),
        ({"bbox": [1, 2, 3, 4, 5]}, r"bbox \[1, 2, 3, 4, 5\]; expected four numbers"),
        ({"bbox": [1, 2, 10**400, 4]}, r"bbox \[1, 2, 1000.*; expected four numbers"),
        ({"bbox": [1, 2, float("inf"), 4]}, r"a box with edges 1, 2, inf, 6; expected finite numbers"),
        ({"bbox": None}, r"bbox None; expected four numbers"),
        ({"iscrowd": "0"}, r"iscrowd '0'; expected 0 or 1"),
        ({"iscrowd": "1"}, r"iscrowd '1'; expected 0 or 1"),
        ({"iscrowd": 2}, r"iscrowd 2; expected 0 or 1"),
        ({"iscrowd": [0]}, r"iscrowd \[0\]; expected 0 or 1"),
        ({"iscrowd": 0.5}, r"iscrowd 0.5; expected 0 or 1"),
        ({"image_id": True}, r"image_id True is no picture of the file"),
        ({"image_id": 3.5}, r"image_id 3.5 is no picture of the file"),
        ({"image_id": float("inf")}, r"image_id inf is no picture of the file"),
        ({"category_id": "90"}, r"category_id '90' is no category of the file"),
        ({"category_id": {}}, r"category_id \{\} is no category of the file"),
    ],
)
def test_values_of_another_kind_are_named_or_skipped(folder: Path, change: dict[str, Any], problem: str) -> None:
    value = record()
    value["images"][1]["id"] = value["annotations"][0]["image_id"] = 1  # which is True, to Python
    value["annotations"][0].update(change)
    save(folder, value)
    with pytest.raises(DataError, match=r"annotations\[0\]: " + problem):
        open_detection(folder)
    assert len(open_detection(folder, on_bad="skip").skipped) == 1


@pytest.mark.parametrize(
    ("said", "crowd"), [(0, False), (1, True), (1.0, True), (True, True), (False, False), (None, False)]
)
def test_what_iscrowd_may_be(folder: Path, said: object, crowd: bool) -> None:
    value = record()
    value["annotations"][0]["iscrowd"] = said
    save(folder, value)
    sample = open_detection(folder).samples[1]
    assert sample.difficult.tolist() == [crowd]
    assert sample.crowd


def test_whole_numbers_may_be_written_with_a_point(folder: Path) -> None:
    value = record()
    value["images"][0] |= {"id": 7.0, "height": 50.0, "width": 100.0}
    value["categories"][0]["id"] = 90.0
    value["annotations"][1]["image_id"] = 7.0
    save(folder, value)
    assert [sample.labels.tolist() for sample in open_detection(folder).samples] == [[0], [1]]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"height": 10**400}, "height 1000.*; expected positive sizes"),
        ({"height": float("inf")}, "height inf, .*; expected positive sizes"),
        ({"height": "50"}, "height '50', .*; expected positive sizes"),
        ({"height": True}, "height True, .*; expected positive sizes"),
        ({"width": 99.5}, "width 99.5; expected positive sizes"),
        ({"id": True}, "id True, .*; expected positive sizes, and a whole number or text as id"),
        ({"id": None}, "id None, .*; expected positive sizes, and a whole number or text as id"),
        ({"id": 1.5}, "id 1.5, .*; expected positive sizes, and a whole number or text as id"),
        ({"file_name": None}, "file_name None; expected text"),
        ({"file_name": ["a.jpg"]}, r"file_name \['a.jpg'\]; expected text"),
    ],
)
def test_bad_values_of_pictures_are_named_or_skipped(folder: Path, change: dict[str, Any], problem: str) -> None:
    value = record()
    value["images"][0].update(change)
    save(folder, value)
    with pytest.raises(DataError, match=r"images\[0\]: .*" + problem):
        open_detection(folder)
    assert [sample.image_id for sample in open_detection(folder, on_bad="skip").samples] == ["b"]


@pytest.mark.parametrize(
    ("category", "problem"),
    [
        ({"id": True, "name": "cat"}, r"categories\[0\]: .* id True"),
        ({"id": 1.5, "name": "cat"}, r"categories\[0\]: .* id 1.5"),
        ({"id": float("inf"), "name": "cat"}, r"categories\[0\]: .* id inf"),
        ({"id": 1, "name": None}, r"categories\[0\]: .* name None"),
        ({"id": 1, "name": 5}, r"categories\[0\]: .* name 5"),
        ({"id": 17, "name": "dog"}, r"categories\[1\]: id 17 is there twice"),
        ({"id": 1, "name": "a\x1b[2J"}, r"class 'a\\x1b\[2J': expected a name without control characters"),
        ({"id": 1, "name": "\ud800"}, r"class '\\ud800': expected a name without control characters"),
    ],
)
def test_bad_categories(folder: Path, category: dict[str, Any], problem: str) -> None:
    value = record()
    value["categories"][0] = category
    save(folder, value)
    with pytest.raises(DataError, match=problem):
        open_detection(folder)


@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"images": ' + "9" * 5000 + "}", '{"images": [1e400]', "\0", "nul"]
)
def test_damaged_json_is_an_error_of_ours(folder: Path, content: str) -> None:
    (folder / "annotations/instances_val2017.json").write_text(content)
    with pytest.raises(DataError, match=r"instances_val2017\.json:?.*; expected COCO annotations in JSON"):
        open_detection(folder)


def test_a_stated_size_is_checked_when_the_picture_is_read(folder: Path) -> None:
    value = record()
    value["images"][0]["height"] = 10**9
    save(folder, value)
    first, second = open_detection(folder).samples
    with pytest.raises(ImageError, match=r"a\.jpg: has 100 x 50 pixels; instances_val2017\.json says 100 x 1000000000"):
        first.load()
    assert second.load().shape == (50, 100, 3)


@pytest.mark.parametrize("name", ["n" * 300 + ".jpg", "a\0.jpg", "loop.jpg", "\ud800.jpg"])
def test_names_that_no_system_takes_are_skipped(folder: Path, name: str) -> None:
    (folder / "images/val2017/loop.jpg").symlink_to("loop.jpg")
    value = record()
    value["images"][0]["file_name"] = name
    save(folder, value)
    with pytest.raises(ImageError, match=r"no such file; instances_val2017\.json lists it as a picture"):
        open_detection(folder)
    assert [sample.image_id for sample in open_detection(folder, on_bad="skip").samples] == ["b"]


@pytest.mark.parametrize("name", ["../../../outside.jpg", "{root}/outside.jpg"])
def test_a_picture_outside_of_the_data_set_is_not_read(tmp_path: Path, picture: Write, text: Write, name: str) -> None:
    picture("outside.jpg")
    picture("set/images/val2017/b.jpg")
    value = record()
    value["images"][0]["file_name"] = name.format(root=tmp_path)
    file = text("set/annotations/instances_val2017.json", json.dumps(value))
    with pytest.raises(
        DataError, match=r"picture '.*outside\.jpg' leads out of the data set; expected one in .*val2017"
    ):
        open_detection(file)
    assert [sample.image_id for sample in open_detection(file, on_bad="skip").samples] == ["b"]


def test_names_that_lead_about_inside_the_data_set(tmp_path: Path, picture: Write, text: Write) -> None:
    picture("set/pictures/a.jpg")
    picture("set/labels/b.jpg")
    value = record()
    value["images"][0]["file_name"] = "../pictures/a.jpg"
    value["images"][1]["file_name"] = str(tmp_path / "set/labels/b.jpg")
    file = text("set/labels/own.json", json.dumps(value))
    assert [sample.image_id for sample in open_detection(file).samples] == ["a", "b"]
