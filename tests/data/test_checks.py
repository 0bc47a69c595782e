"""What the readers of annotations share."""

from __future__ import annotations

from pathlib import Path

import pytest

from sapwood.data.checks import Findings, box_problem, check_same_classes, image_ids, map_classes, read_text
from sapwood.errors import ConfigError, DataError

COCO = ["person", "airplane", "dining table", "tv", "dog"]


def test_findings_stop_or_note() -> None:
    with pytest.raises(DataError, match="broken"):
        Findings("error").bad("broken")
    findings = Findings("skip")
    findings.bad("broken")
    assert findings.skipped == ["broken"]
    with pytest.raises(ConfigError, match="on_bad is 'error' or 'skip'; got 'ignore'"):
        Findings("ignore")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("box", "problem"),
    [
        ((0, 0, 10, 10), None),
        ((-5, -5, 10, 10), None),
        ((float("nan"), 0, 1, 1), "expected finite numbers"),
        ((0, 0, float("inf"), 1), "expected finite numbers"),
        ((5, 5, 5, 9), "a box of width 0 and height 4; expected positive sizes"),
        ((5, 5, 9, 4), "a box of width 4 and height -1; expected positive sizes"),
        ((100, 0, 110, 10), "outside its picture of 100 x 50 pixels"),
        ((0, -9, 10, 0), "outside its picture of 100 x 50 pixels"),
    ],
)
def test_boxes(box: tuple[float, float, float, float], problem: str | None) -> None:
    found = box_problem(box, (50, 100))
    assert (found is None) if problem is None else problem in str(found)


def test_classes_map_by_name_whatever_the_spelling() -> None:
    classes = map_classes(["aeroplane", "Dog", "diningtable", "tvmonitor", "dining_table"], COCO)
    assert classes.label_of == (1, 4, 2, 3, 2)
    assert classes.class_names == tuple(COCO)


def test_classes_without_any_match_keep_their_order() -> None:
    classes = map_classes(["b", "a"], ["class0", "class1"])
    assert classes.class_names == ("b", "a")
    assert classes.label_of == (0, 1)


@pytest.mark.parametrize(
    ("own", "wanted"),
    [
        (["x", "y"], []),
        (["x", "y"], ["class0", "class1"]),
        (["x", "y"], ["LABEL_0", "LABEL_1"]),
        (["n01440764", "n01443537"], ["tench", "goldfish"]),
        (["0", "1"], ["tench", "goldfish"]),
        (["Traffic_Light", "sheep"], ["cat", "traffic light"]),
    ],
)
def test_classes_that_may_be_the_models(own: list[str], wanted: list[str]) -> None:
    assert check_same_classes("cells", own, wanted) is None  # type: ignore[func-returns-value]


def test_classes_of_which_none_is_the_models_are_named() -> None:
    wanted = "cells has the classes u, v, w, x, y, ..., and the model cat1, dog2: none is the other's; expected data of"
    with pytest.raises(DataError, match=wanted):
        check_same_classes("cells", list("uvwxyz"), ["cat1", "dog2"])


def test_a_class_the_model_lacks_has_no_label() -> None:
    assert map_classes(["dog", "zebra"], COCO).label_of == (4, None)


def test_a_name_of_two_classes_is_refused() -> None:
    with pytest.raises(DataError, match="class 'crane' stands for 2 of the model's classes"):
        map_classes(["crane"], ["crane", "dog", "crane"])


def test_ids_are_stems_and_longer_where_stems_repeat() -> None:
    files = [Path("x/a/1.jpg"), Path("x/b/1.jpg"), Path("y/a/1.jpg"), Path("y/a/2.jpg"), Path("y/a/2.png")]
    ids = image_ids(files)
    assert ids[:3] == ["x/a/1", "b/1", "y/a/1"]
    assert len(set(ids)) == len(ids)


def test_text_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file; expected labels"):
        read_text(tmp_path / "none.txt", "labels")
    with pytest.raises(DataError, match="is a directory; expected labels"):
        read_text(tmp_path, "labels")
    (tmp_path / "latin.txt").write_bytes("0 caf\xe9".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin\.txt: is not UTF-8 text \(byte 5\); expected labels"):
        read_text(tmp_path / "latin.txt", "labels")
