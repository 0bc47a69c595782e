"""Average precision of toy sets whose value is known by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sapwood.errors import DataError
from sapwood.tasks import mean_average_precision
from sapwood.types import DetectionDataset, Detections, DetectionSample

Box = tuple[float, float, float, float]
A: Box = (0, 0, 10, 10)
B: Box = (50, 50, 90, 90)
C: Box = (100, 0, 130, 30)


def truth(*rows: tuple[Box, int] | tuple[Box, int, bool]) -> DetectionSample:
    return DetectionSample(
        "picture",
        np.array([row[0] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[1] for row in rows], np.int64),
        np.array([len(row) == 3 for row in rows], np.bool_),
        lambda: np.zeros((100, 200, 3), np.uint8),
    )


def found(*rows: tuple[Box, int, float]) -> Detections:
    ordered = sorted(rows, key=lambda row: -row[2])
    return Detections(
        torch.tensor([row[0] for row in ordered]).reshape(-1, 4).float(),
        torch.tensor([row[2] for row in ordered]),
        torch.tensor([row[1] for row in ordered], dtype=torch.int64),
    )


def dataset(*samples: DetectionSample) -> DetectionDataset:
    return DetectionDataset("toy", samples, ("cat", "dog", "cow"))


def test_everything_found_is_one() -> None:
    samples = dataset(truth((A, 0), (B, 1)), truth((C, 0)))
    precision = mean_average_precision([found((A, 0, 0.9), (B, 1, 0.3)), found((C, 0, 0.2))], samples)
    assert (precision.map_50, precision.map_50_95) == (1.0, 1.0)
    assert precision.per_class == {"cat": 1.0, "dog": 1.0}


def test_half_found_is_the_share_of_the_101_recalls() -> None:
    """One of two boxes: precision 1 up to recall 0.5, that is at 51 of the 101 recalls 0, 0.01, ..., 1."""
    precision = mean_average_precision([found((A, 0, 0.9))], dataset(truth((A, 0), (B, 0))))
    assert precision.map_50 == pytest.approx(51 / 101)


def test_a_false_alarm_before_the_second_box() -> None:
    """Right, wrong, right: precision 1 up to recall 0.5, then 2/3."""
    detections = found((A, 0, 0.9), (C, 0, 0.8), (B, 0, 0.7))
    precision = mean_average_precision([detections], dataset(truth((A, 0), (B, 0))))
    assert precision.map_50 == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_the_best_of_two_on_one_box_is_right_the_other_wrong() -> None:
    detections = found((A, 0, 0.9), (A, 0, 0.8), (B, 0, 0.7))
    precision = mean_average_precision([detections], dataset(truth((A, 0), (B, 0))))
    assert precision.map_50 == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_stricter_overlaps() -> None:
    """An overlap of 0.72 is right at 0.5, 0.55, 0.6, 0.65 and 0.7, five of the ten."""
    precision = mean_average_precision([found(((0, 0, 10, 7.2), 0, 0.9))], dataset(truth((A, 0))))
    assert precision.map_50 == 1.0
    assert precision.map_50_95 == pytest.approx(0.5)


def test_classes_without_boxes_are_left_out_of_the_mean() -> None:
    precision = mean_average_precision([found((A, 0, 0.9), (B, 2, 0.95))], dataset(truth((A, 0), (B, 1))))
    assert precision.per_class == {"cat": 1.0, "dog": 0.0}
    assert precision.map_50 == 0.5


def test_difficult_boxes_count_neither_way() -> None:
    samples = dataset(truth((A, 0), (B, 0, True), (C, 1, True)))
    for detections in (found((A, 0, 0.9)), found((A, 0, 0.8), (B, 0, 0.9))):
        precision = mean_average_precision([detections], samples)
        assert precision.per_class == {"cat": 1.0}


def test_nothing_found_is_zero() -> None:
    precision = mean_average_precision([Detections.none()], dataset(truth((A, 0))))
    assert (precision.map_50, precision.map_50_95) == (0.0, 0.0)


def test_the_first_picture_and_box_count_like_all() -> None:
    """COCO's evaluation takes id 0 for "no match": ids must start at 1."""
    samples = dataset(truth((A, 0)), truth((A, 0)))
    assert mean_average_precision([found((A, 0, 0.9)), Detections.none()], samples).map_50 == pytest.approx(51 / 101)


def test_same_names_stay_apart() -> None:
    samples = DetectionDataset("birds", (truth((A, 0), (B, 2)),), ("crane", "dog", "crane"))
    precision = mean_average_precision([found((A, 0, 0.9))], samples)
    assert precision.per_class == {"crane (0)": 1.0, "crane (2)": 0.0}


def test_it_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    mean_average_precision([found((A, 0, 0.9))], dataset(truth((A, 0))))
    assert capfd.readouterr() == ("", "")


def test_bad_input() -> None:
    samples = dataset(truth((A, 0)))
    with pytest.raises(DataError, match="detections for 2 pictures; toy has 1"):
        mean_average_precision([Detections.none()] * 2, samples)
    with pytest.raises(DataError, match="toy: holds no box to find"):
        mean_average_precision([Detections.none()], dataset(truth((A, 0, True))))
    with pytest.raises(DataError, match="label 3 is out of range; toy has 3 classes"):
        mean_average_precision([found((A, 3, 0.9))], samples)
