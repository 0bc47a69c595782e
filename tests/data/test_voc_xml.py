"""Pascal VOC xml: counts from 1, class lists from the names used, each bad case with its message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sapwood.data import open_detection
from sapwood.errors import DataError, ImageError

Write = Callable[..., Path]


def annotation(*objects: tuple[str, tuple[object, object, object, object], int]) -> str:
    rows = []
    for name, (x1, y1, x2, y2), difficult in objects:
        edges = f"<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
        rows.append(
            f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{edges}</bndbox>{part}</object>"
        )
    return f"<annotation>{''.join(rows)}</annotation>"


@pytest.fixture
def folder(tmp_path: Path, picture: Write, text: Write) -> Path:
    """Three pictures of 100 x 50: a and b in val, c (the only dog) in train."""
    for name in "abc":
        picture(f"JPEGImages/{name}.jpg")
    text("Annotations/a.xml", annotation(("cat", (1, 1, 100, 50), 0), ("bird", (11, 21, 20, 40), 1)))
    text("Annotations/b.xml", annotation())
    text("Annotations/c.xml", annotation(("dog", (1, 1, 9, 9), 0)))
    text("ImageSets/val.txt", "a\nb\n")
    text("ImageSets/train.txt", "c\n")
    return tmp_path


def test_pixels_count_from_one_and_include_the_last(folder: Path) -> None:
    dataset = open_detection(folder)
    first, second = dataset.samples
    np.testing.assert_array_equal(first.boxes, [[0, 0, 100, 50], [10, 20, 20, 40]])
    assert first.difficult.tolist() == [False, True]
    assert second.boxes.shape == (0, 4)
    assert first.load().shape == (50, 100, 3)


def test_classes_are_the_same_for_every_split(folder: Path) -> None:
    val, train = open_detection(folder), open_detection(folder, split="train")
    assert val.class_names == train.class_names == ("bird", "cat", "dog")
    assert val.samples[0].labels.tolist() == [1, 0]
    assert train.samples[0].labels.tolist() == [2]


def test_classes_map_to_the_models(folder: Path) -> None:
    dataset = open_detection(folder, class_names=["dog", "cat", "bird"])
    assert dataset.samples[0].labels.tolist() == [1, 2]
    assert dataset.class_names == ("dog", "cat", "bird")


def test_class_list_of_the_data_set(folder: Path, text: Write) -> None:
    text("classes.txt", "dog\nbird\ncat\n")
    assert open_detection(folder).samples[0].labels.tolist() == [2, 1]
    text("classes.txt", "dog\nbird\n")
    with pytest.raises(DataError, match=r"a\.xml: object 1 \(cat\): class 'cat' is not one of the 2 known: dog, bird"):
        open_detection(folder)


def test_main_is_preferred_and_class_lists_are_no_splits(folder: Path, text: Write) -> None:
    text("ImageSets/Main/val.txt", "c 1\n")
    text("ImageSets/Main/cat_val.txt", "a 1\n")
    assert [sample.image_id for sample in open_detection(folder).samples] == ["c"]
    with pytest.raises(DataError, match=r"no split 'cat_val'; ImageSets holds val$"):
        open_detection(folder, split="cat_val")


def test_missing_split(folder: Path) -> None:
    with pytest.raises(DataError, match=r"no split 'test'; ImageSets holds train, val"):
        open_detection(folder, split="test")


def test_empty_split(folder: Path, text: Write) -> None:
    text("ImageSets/test.txt", "\n")
    with pytest.raises(DataError, match=r"test\.txt: is empty; expected picture names, one a line"):
        open_detection(folder, split="test")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (annotation(("cat", (5, 5, 4, 9), 0)), r"b\.xml: object 1 \(cat\): a box of width 0 and height 5"),
        (annotation(("cat", (5, 5, "nan", 9), 0)), r"b\.xml: object 1 \(cat\): a box with edges 4, 4, nan, 9"),
        (annotation(("cat", (201, 5, 240, 9), 0)), r"object 1 \(cat\): a box .* outside its picture of 100 x 50"),
        (annotation(("cat", (5, 5, "x", 9), 0)), r"object 1 \(cat\) has no <bndbox> of four numbers"),
        (annotation((" ", (5, 5, 9, 9), 0)), r"b\.xml: object 1 has no <name>"),
    ],
)
def test_bad_objects_are_named_or_skipped(folder: Path, text: Write, content: str, problem: str) -> None:
    text("Annotations/b.xml", content)
    with pytest.raises(DataError, match=problem):
        open_detection(folder)
    dataset = open_detection(folder, on_bad="skip")
    assert [len(sample.labels) for sample in dataset.samples] == [2, 0]
    assert len(dataset.skipped) == 1


def test_bad_files_are_named_or_skipped(folder: Path, text: Write) -> None:
    text("Annotations/b.xml", "<annotation>\n<object>")
    with pytest.raises(DataError, match=r"b\.xml:2: is not XML"):
        open_detection(folder)
    (folder / "Annotations/b.xml").unlink()
    with pytest.raises(DataError, match=r"b\.xml: no such file; expected a VOC annotation"):
        open_detection(folder)
    assert [sample.image_id for sample in open_detection(folder, on_bad="skip").samples] == ["a"]


def test_missing_and_broken_pictures(folder: Path) -> None:
    (folder / "JPEGImages/b.jpg").write_text("no picture")
    with pytest.raises(ImageError, match=r"b\.jpg: cannot be read as a picture"):
        open_detection(folder)
    (folder / "JPEGImages/b.jpg").unlink()
    with pytest.raises(ImageError, match=r"JPEGImages/b: no such picture"):
        open_detection(folder)
    skipping = open_detection(folder, on_bad="skip")
    assert [sample.image_id for sample in skipping.samples] == ["a"]
    assert "no such picture" in skipping.skipped[0]


@pytest.mark.parametrize(
    ("said", "difficult"), [("1", True), (" 1\n", True), ("true", True), ("0", False), ("", False), ("False", False)]
)
def test_what_difficult_may_be(folder: Path, text: Write, said: str, difficult: bool) -> None:
    text("Annotations/b.xml", annotation(("cat", (1, 1, 9, 9), said)))
    sample = open_detection(folder).samples[1]
    assert sample.difficult.tolist() == [difficult]
    assert not sample.crowd


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (annotation(("cat", (1, 1, 9, 9), "2")), r"b\.xml: object 1 \(cat\): difficult '2'; expected 0 or 1"),
        (annotation(("cat", (1, 1, 9, 9), "no")), r"b\.xml: object 1 \(cat\): difficult 'no'; expected 0 or 1"),
        (annotation(("cat", (1, 1, "1e400", 9), 0)), r"b\.xml: object 1 \(cat\): a box with edges 0, 0, inf, 9"),
        (annotation(("cat", (1, 1, "-inf", 9), 0)), r"b\.xml: object 1 \(cat\): a box with edges 0, 0, -inf, 9"),
        (annotation(("cat", (1, 1, "1_0", 9), 0)), r"object 1 \(cat\) has no <bndbox> of four numbers"),
        (annotation(("cat", (1, 1, "\u0669", 9), 0)), r"object 1 \(cat\) has no <bndbox> of four numbers"),
        (annotation(("cat", (1, 1, "9" * 5000, 9), 0)), r"b\.xml: object 1 \(cat\): a box with edges 0, 0, inf, 9"),
    ],
)
def test_bad_values_are_named_or_skipped(folder: Path, text: Write, content: str, problem: str) -> None:
    text("Annotations/b.xml", content)
    with pytest.raises(DataError, match=problem):
        open_detection(folder)
    dataset = open_detection(folder, on_bad="skip")
    assert [len(sample.labels) for sample in dataset.samples] == [2, 0]
    assert len(dataset.skipped) == 1


def laughs(levels: int) -> str:
    lines = ["<!ENTITY a0 'ha'>"] + [f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, levels + 1)]
    return f"<!DOCTYPE annotation [{''.join(lines)}]><annotation>&a{levels};</annotation>"


@pytest.mark.parametrize(
    "content",
    [
        laughs(1),
        laughs(9),
        "<!DOCTYPE annotation [<!ENTITY a SYSTEM 'val.txt'>]><annotation>&a;</annotation>",
        "<!DOCTYPE annotation [<!ENTITY % a SYSTEM 'val.txt'> %a;]><annotation></annotation>",
    ],
)
def test_entities_are_refused(folder: Path, text: Write, content: str) -> None:
    text("Annotations/b.xml", content)
    with pytest.raises(DataError, match=r"b\.xml: declares entities; expected a VOC annotation, which has none"):
        open_detection(folder)
    assert [sample.image_id for sample in open_detection(folder, on_bad="skip").samples] == ["a"]


@pytest.mark.parametrize("content", ["<a>" * 100_000, "", "\0", "<a>&nothing;</a>", "<a b='1' b='2'/>"])
def test_damaged_xml_is_an_error_of_ours(folder: Path, text: Write, content: str) -> None:
    text("Annotations/b.xml", content)
    with pytest.raises(DataError, match=r"b\.xml:1: is not XML"):
        open_detection(folder)


@pytest.mark.parametrize("stem", ["../../outside", "{root}/outside"])
def test_a_name_that_leads_out_is_not_read(tmp_path: Path, picture: Write, text: Write, stem: str) -> None:
    picture("outside.jpg")
    picture("set/JPEGImages/a.jpg")
    text("outside.xml", annotation())
    text("set/Annotations/a.xml", annotation(("cat", (1, 1, 9, 9), 0)))
    text("set/ImageSets/val.txt", f"{stem.format(root=tmp_path)}\na\n")
    with pytest.raises(DataError, match=r"val\.txt: .* '.*outside' leads out of the data set; expected a name"):
        open_detection(tmp_path / "set")
    assert [sample.image_id for sample in open_detection(tmp_path / "set", on_bad="skip").samples] == ["a"]


@pytest.mark.parametrize("stem", ["n" * 300, "a\0"])
def test_names_that_no_system_takes_are_skipped(folder: Path, text: Write, stem: str) -> None:
    text("ImageSets/val.txt", f"a\n{stem}\n")
    with pytest.raises(DataError, match="expected a VOC annotation"):
        open_detection(folder)
    dataset = open_detection(folder, on_bad="skip")
    assert [sample.image_id for sample in dataset.samples] == ["a"]
    assert len(dataset.skipped) == 1
