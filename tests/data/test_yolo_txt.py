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


def test_labels_without_a_picture_are_told(folder: Path, text: Write) -> None:
    text("labels/val/classes.txt", "cat\ndog\n")
    text("labels/train/z.txt", "0 0.5 0.5 0.2 0.4\n")
    assert open_detection(folder).skipped == ()
    text("labels/val/c.txt", "0 0.5 0.5 0.2 0.4\n")
    assert open_detection(folder).skipped == (f"{folder}/labels/val/c.txt: no picture of that name",)
    text("labels/val/sub/d.txt", "1 .5 .5 .2 .4\n")
    (told,) = open_detection(folder).skipped
    assert told == f"{folder}/labels/val/c.txt and 1 more label files: no picture of that name"


@pytest.mark.parametrize("suffix", [".heic", ".GIF", ".avif"])
def test_a_picture_of_a_format_that_is_not_read_is_not_left_out(folder: Path, suffix: str) -> None:
    renamed = (folder / "images/val/a.jpg").rename(folder / f"images/val/a{suffix}")
    assert len(open_detection(folder).samples) == 2, "a JPEG, whatever it is called"
    renamed.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0")
    with pytest.raises(ImageError, match=rf"images/val/a\{suffix}: cannot be read as a picture; expected one of JPEG"):
        open_detection(folder)
    dataset = open_detection(folder, on_bad="skip")
    assert [sample.image_id for sample in dataset.samples] == ["b"]
    assert len(dataset.skipped) == 1


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


@pytest.mark.parametrize("names", ["[cat, dog]", "{0: cat, 1: dog}", "{'0': cat, '1': dog}"])
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


def test_an_archive_that_was_unpacked_with_its_yaml(tmp_path: Path, picture: Write, text: Write) -> None:
    """Its places begin with ``../``, one folder above where they are, and Ultralytics reads it."""
    picture("valid/images/a.png")
    text("valid/labels/a.txt", "0 0.5 0.5 1 1")
    file = text("data.yaml", "train: ../train/images\nval: ../valid/images\nnames: [cat]\n")
    assert [sample.image_id for sample in open_detection(file).samples] == ["a"]
    with pytest.raises(DataError, match=r"\.\./train/images: no such file; expected a folder of pictures"):
        open_detection(file, split="train")


def test_a_place_that_is_not_there_says_where_it_was_looked_for(text: Write) -> None:
    file = text(
        "data.yaml", "path: ../sets/coco8\nval: images/val\nnames: [cat]\ndownload: https://example.org/a.zip\n"
    )
    said = (
        r"images/val: no such file; expected .* lists them; path: \.\./sets/coco8 of data\.yaml is not there, counted "
        r"from its folder \(Ultralytics looks in its datasets_dir as well\): write it whole; its download: is not foll"
    )
    with pytest.raises(DataError, match=said):
        open_detection(file)


def test_outlines_and_key_points_of_a_data_yaml_are_boxes(picture: Write, text: Write) -> None:
    picture("images/a.png")
    text("labels/a.txt", "1 0.1 0.2 0.5 0.2 0.3 0.6\n0 0.5 0.5 0.2 0.4\n")
    file = text("data.yaml", "validation: images\nnames: [cat, dog]\n")
    found = open_detection(file).samples[0]
    np.testing.assert_allclose(found.boxes, [[10, 10, 50, 30], [40, 15, 60, 35]], atol=1e-4)
    assert found.labels.tolist() == [1, 0]
    text("labels/a.txt", "1 0.5 0.5 0.2 0.4 0.5 0.5 2 0 0 0\n")
    with pytest.raises(DataError, match=r"\[0, 1\]"):
        open_detection(file)
    file = text("data.yaml", "val: images\nnames: [cat, dog]\nkpt_shape: [2, 3]\n")
    np.testing.assert_allclose(open_detection(file).samples[0].boxes, [[40, 15, 60, 35]], atol=1e-4)
    text("labels/a.txt", "1 0.1 0.2 0.5 0.2 0.3 0.6\n")
    with pytest.raises(DataError, match="7 fields; expected 5: class cx cy w h"):
        open_detection(file)


def test_classes_as_whole_fractions(folder: Path, text: Write) -> None:
    text("labels/val/a.txt", "1.0 0.5 0.5 0.2 0.4\n0.000000e+00 0.1 0.1 0.4 0.4\n")
    dataset = open_detection(folder)
    assert (dataset.class_names, dataset.samples[0].labels.tolist()) == (("class0", "class1"), [1, 0])


def test_a_data_set_of_the_working_folder_has_its_name(
    folder: Path, text: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    text("data.yaml", "val: images/val\nnames: [cat, dog]\n")
    monkeypatch.chdir(folder)
    assert open_detection("data.yaml").name == open_detection(".").name == f"{folder.name} val"


def test_bad_yaml(text: Write) -> None:
    with pytest.raises(DataError, match=r"data\.yaml:1: is not YAML"):
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


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("1000000000 0.5 0.5 0.1 0.1", r"b\.txt:1: asks for 1,000,000,001 classes .*SAPWOOD_MAX_CLASSES"),
        ("9" * 5000 + " 0.5 0.5 0.1 0.1", r"b\.txt:1: asks for [\d,]+ classes .*SAPWOOD_MAX_CLASSES"),
        ("1.5 0.5 0.5 0.1 0.1", r"b\.txt:1: '1\.5 0\.5 .*; expected a class number and four numbers"),
        ("1_0 0.5 0.5 0.1 0.1", r"b\.txt:1: '1_0 0\.5 .*; expected a class number and four numbers"),
        ("\u0661 0.5 0.5 0.1 0.1", r"b\.txt:1: '\u0661 0\.5 .*; expected a class number and four numbers"),
        ("1 0.5 0.5 0.1 0_1", r"b\.txt:1: '1 0\.5 .*; expected a class number and four numbers"),
        ("1 inf 0.5 0.1 0.1", r"b\.txt:1: cx cy w h = inf .*; expected fractions"),
        ("1 0.5 0.5 1e400 0.1", r"b\.txt:1: cx cy w h = .*1e400.*; expected fractions"),
    ],
)
def test_bad_lines_without_names_are_named_or_skipped(folder: Path, text: Write, line: str, problem: str) -> None:
    text("labels/val/b.txt", f"{line}\n2 0.5 0.5 0.5 0.5\n")
    with pytest.raises(DataError, match=problem):
        open_detection(folder)
    dataset = open_detection(folder, on_bad="skip")
    assert dataset.class_names == ("class0", "class1", "class2")
    assert [len(sample.labels) for sample in dataset.samples] == [2, 1]
    assert len(dataset.skipped) == 1


def test_classes_without_names_up_to_the_limit(folder: Path, text: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    text("labels/val/b.txt", "9 0.5 0.5 0.1 0.1\n")
    monkeypatch.setenv("SAPWOOD_MAX_CLASSES", "10")
    assert len(open_detection(folder).class_names) == 10
    monkeypatch.setenv("SAPWOOD_MAX_CLASSES", "9")
    with pytest.raises(DataError, match=r"b\.txt:1: asks for 10 classes .*; expected at most 9"):
        open_detection(folder)


def test_a_label_file_that_is_no_text_without_names(folder: Path) -> None:
    (folder / "labels/val/b.txt").write_bytes(b"0 0.5 \xff")
    with pytest.raises(DataError, match=r"b\.txt: is not UTF-8 text"):
        open_detection(folder)
    assert [sample.image_id for sample in open_detection(folder, on_bad="skip").samples] == ["a"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("train: 5", "train: 5; expected a folder, a file that lists pictures, or a list of them"),
        ("val: true", "val: True; expected a folder"),
        ("val: [images, 5]", r"val: \['images', 5\]; expected a folder"),
        ("val: {a: b}", r"val: \{'a': 'b'\}; expected a folder"),
        ("names: 5", "names is a list, or a mapping from 0, 1, ... to names; got 5"),
        ("names: [cat, yes]", r"names\[1\]: True; expected text, in quotes if YAML takes it for else"),
        ("names: {0: cat, 1: null}", r"names\[1\]: None; expected text"),
        ("names: {0: cat, 1: [dog]}", r"names\[1\]: \['dog'\]; expected text"),
        ("kpt_shape: 17", r"kpt_shape: 17; expected \[how many, 2 or 3\]"),
        ("kpt_shape: [17, 4]", r"kpt_shape: \[17, 4\]; expected"),
        ("names: {'1': cat}", "names is a list, or a mapping from 0, 1, ... to names"),
        ("names: {1: cat}", "names is a list, or a mapping from 0, 1, ... to names"),
        ("names: {[a]: cat}", "is not YAML"),
        ("nc: -1", "nc: -1; expected a positive whole number, of classes"),
        ("nc: many", "nc: 'many'; expected a positive whole number, of classes"),
        ("nc: true", "nc: True; expected a positive whole number, of classes"),
        ("nc: .inf", "nc: inf; expected a positive whole number, of classes"),
        ("nc: 1000000000", "nc: asks for 1,000,000,000 classes .*SAPWOOD_MAX_CLASSES"),
        (f"nc: 0x{'f' * 9000}", "nc: a number of thousands of digits; expected a positive whole number"),
        ("nc: 3\nnames: [cat, dog]", "nc: 3 and 2 names; expected as many"),
        ("path: [..]", r"path: \['..'\]; expected the name of a folder"),
        ("path: 5", "path: 5; expected the name of a folder, in quotes if it is a number"),
        ("val: images\nval: other", "the key 'val' is there twice"),
        ("a: !!python/object/apply:os.getcwd []", "is not YAML"),
        ("a: !!timestamp nonsense", "is damaged, or something else"),
        ("a: !!int nonsense", "is damaged, or something else"),
        ("[" * 5000, "is nested too deeply"),
        ("&a [*a]", "holds itself through an alias"),
    ],
)
def test_data_yaml_is_checked_key_by_key(picture: Write, text: Write, content: str, problem: str) -> None:
    picture("images/a.png")
    text("labels/a.txt", "0 0.5 0.5 1 1")
    with pytest.raises(DataError, match=r"data\.yaml:.*" + problem):
        open_detection(text("data.yaml", content))


def test_aliases_in_each_other_are_refused(text: Write) -> None:
    bomb = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 20))
    with pytest.raises(DataError, match=r"data\.yaml: asks for .*SAPWOOD_MAX_YAML_NODES"):
        open_detection(text("data.yaml", f"a0: &a0 [x]\n{bomb}"))


def test_names_that_are_numbers_and_splits_that_are_empty(picture: Write, text: Write) -> None:
    picture("images/a.png")
    text("labels/a.txt", "1 0.5 0.5 1 1")
    file = text("data.yaml", "train:\nval: images\ntest: []\nnc: 2\nnames: [7, '08']\n")
    assert open_detection(file).class_names == ("7", "08")
    with pytest.raises(DataError, match="no split 'train'; it has the splits: val"):
        open_detection(file, split="train")


@pytest.mark.parametrize("count", ["-1", "0", "many", "1000000000", "9" * 5000])
def test_darknet_counts_of_classes(text: Write, count: str) -> None:
    with pytest.raises(DataError, match=r"own\.data: classes: "):
        open_detection(text("own.data", f"classes = {count}\nvalid = list.txt\n"))


@pytest.mark.parametrize(
    "name", ["images/" + "n" * 300 + ".png", "images/b\0.png", "loop.png", "~nobody-of-this-name/b.png"]
)
def test_listed_names_that_no_system_takes_are_skipped(tmp_path: Path, picture: Write, text: Write, name: str) -> None:
    picture("images/a.png")
    text("labels/a.txt", "0 0.5 0.5 1 1")
    (tmp_path / "loop.png").symlink_to("loop.png")
    text("list.txt", f"images/a.png\n{name}\n")
    file = text("own.data", "valid = list.txt\n")
    with pytest.raises(ImageError, match="expected a picture"):
        open_detection(file)
    dataset = open_detection(file, on_bad="skip")
    assert [sample.image_id for sample in dataset.samples] == ["a"]
    assert len(dataset.skipped) == 1


@pytest.mark.parametrize("line", [".", "..", "/"])
def test_listed_folders_are_no_pictures(picture: Write, text: Write, line: str) -> None:
    picture("images/a.png")
    text("labels/a.txt", "0 0.5 0.5 1 1")
    text("list.txt", f"images/a.png\n{line}\n{line}\n")
    with pytest.raises(ImageError, match="is a directory; expected a picture"):
        open_detection(text("own.data", "valid = list.txt\n"))


def test_lists_and_yaml_may_name_pictures_anywhere(tmp_path: Path, picture: Write, text: Write) -> None:
    """Darknet writes absolute names, and `path: ../datasets/x` is what ultralytics writes."""
    picture("elsewhere/images/a.png")
    text("elsewhere/labels/a.txt", "0 0.5 0.5 1 1")
    text("set/list.txt", f"{tmp_path}/elsewhere/images/a.png\n../elsewhere/images/a.png\n")
    assert len(open_detection(text("set/own.data", "valid = list.txt\n")).samples) == 2
    file = text("set/data.yaml", "path: ../elsewhere\nval: images\nnames: [cat]\n")
    assert len(open_detection(file).samples) == 1
