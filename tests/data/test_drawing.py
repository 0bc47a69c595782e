"""Boxes and labels are drawn where they belong, on a copy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sapwood.data import class_color, draw_detections
from sapwood.errors import DataError
from sapwood.types import Detections

GREY = np.full((240, 320, 3), 127, np.uint8)


def found(box: list[float], label: int = 0) -> Detections:
    return Detections(torch.tensor([box]), torch.tensor([0.87]), torch.tensor([label]))


def test_outline_in_the_colour_of_the_class() -> None:
    drawn = draw_detections(GREY, found([100, 80, 200, 160], 1), ["cat", "dog"])
    assert drawn.shape == GREY.shape
    assert (GREY == 127).all()
    assert tuple(drawn[120, 100]) == tuple(drawn[159, 150]) == tuple(drawn[120, 199]) == class_color(1)
    assert (drawn[90:150, 110:190] == 127).all()


def test_label_stands_above_the_box_or_inside_at_the_edge() -> None:
    above = draw_detections(GREY, found([100, 80, 200, 160]), ["cat"])
    assert (above[60:78, 100:130] != 127).any()
    inside = draw_detections(GREY, found([300, 0, 320, 240]), ["a rather long name"])
    assert (inside[0:12, 200:320] != 127).any()


def test_labels_of_boxes_in_one_place_do_not_hide_each_other() -> None:
    box = [100.0, 80.0, 250.0, 200.0]
    both = Detections(torch.tensor([box, box]), torch.tensor([0.9, 0.4]), torch.tensor([0, 1]))
    drawn = draw_detections(GREY, both, ["cat", "dog"])
    rows = [np.flatnonzero((drawn[:, 104:130] == class_color(label)).all(-1).sum(1) > 10) for label in (0, 1)]
    first, second = (row[row < 190] for row in rows)  # the boxes' lower edges are at 199
    assert first.max() < second.min()


def test_every_picture_size_works() -> None:
    for size in ((1, 1), (8, 8), (12, 900), (2000, 1500)):
        picture = np.zeros((*size, 3), np.uint8)
        assert draw_detections(picture, found([0, 0, size[1], size[0]]), ["cat"]).any()


def test_nothing_found_changes_nothing() -> None:
    np.testing.assert_array_equal(draw_detections(GREY, Detections.none(), []), GREY)


def test_label_without_a_name() -> None:
    with pytest.raises(DataError, match="label 3 has no name; there are 2 class names"):
        draw_detections(GREY, found([0, 0, 9, 9], 3), ["cat", "dog"])


def test_colours_of_neighbouring_classes_are_apart() -> None:
    colors = np.array([class_color(label) for label in range(10)], float)
    apart = np.linalg.norm(colors[:, None] - colors[None], axis=-1)
    assert apart[~np.eye(10, dtype=bool)].min() > 40
