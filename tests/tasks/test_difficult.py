"""Difficult boxes: VOC's rule by hand and against the devkit's loop, COCO's crowds as they were."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from sapwood.tasks import mean_average_precision
from sapwood.types import DetectionDataset, Detections, DetectionSample

Box = tuple[float, float, float, float]
A: Box = (0, 0, 10, 10)
B: Box = (50, 50, 90, 90)
HALF: Box = (50, 50, 90, 70)
"""Overlaps B by exactly one half."""
LESS: Box = (50, 50, 90, 69)
"""Lies inside B, and overlaps it by 19 / 40."""


def sample(*rows: tuple[Box, bool], crowd: bool = False) -> DetectionSample:
    return DetectionSample(
        "picture",
        np.array([box for box, _ in rows], np.float32).reshape(-1, 4),
        np.zeros(len(rows), np.int64),
        np.array([difficult for _, difficult in rows], np.bool_),
        lambda: np.zeros((100, 200, 3), np.uint8),
        crowd,
    )


def found(*rows: tuple[Box, float]) -> Detections:
    boxes, scores = torch.tensor([row[0] for row in rows]), torch.tensor([row[1] for row in rows])
    return Detections(boxes.reshape(-1, 4).float(), scores, torch.zeros(len(rows), dtype=torch.int64))


def precision(detections: Detections, *truth: DetectionSample) -> float:
    rest = [Detections.none()] * (len(truth) - 1)
    return mean_average_precision([detections, *rest], DetectionDataset("toy", truth, ("cat",))).map_50


@pytest.mark.parametrize("crowd", [False, True])
def test_a_detection_right_on_it_counts_neither_way(crowd: bool) -> None:
    assert precision(found((B, 0.9), (A, 0.8)), sample((A, False), (B, True), crowd=crowd)) == 1.0


def test_a_detection_that_overlaps_by_less_than_half_is_wrong_by_vocs_rule_only() -> None:
    """Wrong, then right: precision 1/2 at every recall. Inside of a crowd it would count neither way."""
    detections = found((LESS, 0.9), (A, 0.8))
    assert precision(detections, sample((A, False), (B, True))) == pytest.approx(0.5)
    assert precision(detections, sample((A, False), (B, True), crowd=True)) == 1.0


def test_a_detection_that_overlaps_by_half_counts_neither_way() -> None:
    assert precision(found((HALF, 0.9), (A, 0.8)), sample((A, False), (B, True))) == 1.0


def test_every_detection_on_it_counts_neither_way() -> None:
    detections = found((B, 0.9), (B, 0.85), (HALF, 0.84), (A, 0.8))
    assert precision(detections, sample((A, False), (B, True))) == 1.0


def test_a_detection_belongs_to_the_box_that_it_overlaps_most() -> None:
    """(50, 50, 90, 88) overlaps the difficult B by 38/40 and the ordinary (50, 50, 90, 80) by 30/38, which is enough.

    It belongs to B, so the ordinary box is not found. Where the ordinary box is the nearer one, it is.
    """
    truth = sample(((50, 50, 90, 80), False), (B, True))
    assert precision(found(((50, 50, 90, 88), 0.9)), truth) == 0.0
    assert precision(found(((50, 50, 90, 81), 0.9)), truth) == 1.0


def test_a_second_detection_on_an_ordinary_box_is_wrong_though_a_difficult_one_is_near() -> None:
    """Right, wrong, right: the second belongs to the ordinary box, as the first does, and not to B behind it."""
    near: Box = (50, 50, 90, 80)
    detections = found((near, 0.9), ((50, 50, 90, 81), 0.8), (A, 0.7))
    truth = sample((A, False), (near, False), (B, True))
    assert precision(detections, truth) == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_stricter_overlaps_judge_for_themselves() -> None:
    """An overlap of 29/40 = 0.725 counts neither way up to 0.7, and is wrong, before the right one, from 0.75 on."""
    truth = DetectionDataset("toy", (sample((A, False), (B, True)),), ("cat",))
    result = mean_average_precision([found(((50, 50, 90, 79), 0.9), (A, 0.8))], truth)
    assert result.map_50 == 1.0
    assert result.map_50_95 == pytest.approx((5 * 1.0 + 5 * 0.5) / 10)


def test_a_difficult_box_of_another_class_is_none() -> None:
    truth = replace(sample((A, False), (B, True)), labels=np.array([0, 1]))
    result = mean_average_precision([found((B, 0.9), (A, 0.8))], DetectionDataset("toy", (truth,), ("cat", "dog")))
    assert result.per_class == {"cat": pytest.approx(0.5)}


def test_beyond_the_best_hundred_none_counts() -> None:
    """A hundred detections on the difficult box come first; the one on the ordinary box is the 101st."""
    truth = sample((A, False), (B, True))
    assert precision(found(*[(B, 0.9)] * 99, (A, 0.8)), truth) == 1.0
    assert precision(found(*[(B, 0.9)] * 100, (A, 0.8)), truth) == 0.0


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def devkit(detections: list[Detections], truth: list[DetectionSample], threshold: float) -> float:
    """The loop of VOCevaldet.m, with the mean over 101 recalls that COCO takes."""
    rows = [
        (score, picture, box)
        for picture, one in enumerate(detections)
        for box, score in zip(one.boxes.double().numpy(), one.scores.tolist(), strict=True)
    ]
    taken = [np.zeros(len(one.boxes), bool) for one in truth]
    right, wrong, curve = 0, 0, []
    num_ordinary = sum(int((~one.difficult).sum()) for one in truth)
    for _, picture, box in sorted(rows, key=lambda row: -row[0]):
        best, most = -1, -np.inf
        for number, other in enumerate(truth[picture].boxes.astype(np.float64)):
            if overlap(box, other) > most:
                best, most = number, overlap(box, other)
        if most >= threshold:
            if truth[picture].difficult[best]:
                continue
            right, wrong = right + int(not taken[picture][best]), wrong + int(taken[picture][best])
            taken[picture][best] = True
        else:
            wrong += 1
        curve.append((right / num_ordinary, right / (right + wrong)))
    recalls = np.linspace(0, 1, 101)
    return float(np.mean([max((p for r, p in curve if r >= recall), default=0.0) for recall in recalls]))


@pytest.mark.parametrize("seed", range(8))
def test_it_agrees_with_the_devkit(seed: int) -> None:
    """Ordinary boxes lie apart, so that no detection overlaps two of them by half; difficult ones lie anywhere."""
    random = np.random.default_rng(seed)
    truth, detections = [], []
    for _ in range(6):
        corners = np.array([(x, y) for x in (0, 40, 80) for y in (0, 40)])[random.random(6) < 0.6]
        ordinary = np.concatenate([corners, corners + random.integers(20, 40, corners.shape)], axis=1)
        corner = random.integers(0, 90, (4, 2))
        difficult = np.concatenate([corner, corner + random.integers(20, 45, corner.shape)], axis=1)
        boxes = np.concatenate([ordinary, difficult]).astype(np.float32)
        flags = np.arange(len(boxes)) >= len(ordinary)
        truth.append(replace(sample(), boxes=boxes, labels=np.zeros(len(boxes), np.int64), difficult=flags))
        near = boxes[random.integers(0, len(boxes), 40)] + random.integers(-6, 7, (40, 4))
        scores = torch.from_numpy(random.permutation(10**6)[:40] / 10**6)
        detections.append(
            Detections(torch.from_numpy(near).float(), scores.double(), torch.zeros(40, dtype=torch.int64))
        )
    result = mean_average_precision(detections, DetectionDataset("toy", tuple(truth), ("cat",)))
    thresholds = np.arange(50, 100, 5) / 100
    assert result.map_50 == pytest.approx(devkit(detections, truth, 0.5), abs=1e-9)
    assert result.map_50_95 == pytest.approx(np.mean([devkit(detections, truth, t) for t in thresholds]), abs=1e-9)
    crowded = [replace(one, crowd=True) for one in truth]
    other = mean_average_precision(detections, DetectionDataset("toy", tuple(crowded), ("cat",)))
    assert other.map_50 != pytest.approx(result.map_50, abs=1e-6)
