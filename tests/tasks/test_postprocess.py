"""Threshold, class-wise NMS and the best few, against a plain loop over decoded boxes."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import batched_nms

from sapwood.data import Placement
from sapwood.errors import ConfigError, ShapeError
from sapwood.tasks import decode, postprocess
from sapwood.tasks.postprocess import MAX_CANDIDATES
from sapwood.types import TaskSpec, YoloHead

HEADS = (YoloHead("yolo", ((20, 30), (40, 40)), 3), YoloHead("yolo", ((60, 50),), 3, scale_x_y=1.1))
TASK = TaskSpec("detection", (96, 128), ("a", "b", "c"), heads=HEADS)
WHOLE = Placement((1.0, 1.0), (0.0, 0.0), (96, 128))


def overlap(first: list[float], second: list[float]) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return shared / (sum(areas) - shared)


def by_loop(boxes: Tensor, scores: Tensor, score_threshold: float, iou_threshold: float) -> list[tuple[float, int]]:
    """The slow, obvious way, for one picture: (score, label) of what is kept, best first."""
    rows = [
        (score, label, box)
        for box, row in zip(boxes.tolist(), scores.tolist(), strict=True)
        for label, score in enumerate(row)
        if score > score_threshold
    ]
    kept: list[tuple[float, int, list[float]]] = []
    for row in sorted(rows, key=lambda row: -row[0]):
        if all(row[1] != other[1] or overlap(row[2], other[2]) <= iou_threshold for other in kept):
            kept.append(row)
    return [(score, label) for score, label, _ in kept]


@given(st.integers(0, 1000), st.sampled_from([0.05, 0.25, 0.5]), st.sampled_from([0.0, 0.45, 0.9]))
@settings(max_examples=25, deadline=None)
def test_agrees_with_the_loop(seed: int, score_threshold: float, iou_threshold: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    maps = [torch.randn(2, 16, 3, 4, generator=generator), torch.randn(2, 8, 2, 2, generator=generator)]
    found = postprocess(
        maps,
        TASK,
        [WHOLE, WHOLE],
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        max_detections=1000,
    )
    boxes, scores = decode(maps, HEADS, TASK.input_size)
    for number, detections in enumerate(found):
        expected = by_loop(boxes[number], scores[number], score_threshold, iou_threshold)
        assert detections.labels.tolist() == [label for _, label in expected]
        assert detections.scores.tolist() == pytest.approx([score for score, _ in expected], abs=1e-6)


def single(channels: list[list[float]]) -> list[Tensor]:
    """Maps of one head and one row, a column for each list of channels."""
    return [torch.tensor(channels).T.reshape(1, 7, 1, len(channels))]


ONE = TaskSpec("detection", (32, 64), ("a", "b"), heads=(YoloHead("yolo", ((40.0, 20.0),), 2),))
SURE = 20.0


def run(maps: list[Tensor], **limits: float | int) -> list[tuple[float, int]]:
    options = {"score_threshold": 0.1, "iou_threshold": 0.45, **limits}
    (found,) = postprocess(maps, ONE, [Placement((1.0, 1.0), (0.0, 0.0), (32, 64))], **options)  # type: ignore[arg-type]
    return [(round(score, 3), label) for score, label in zip(found.scores.tolist(), found.labels.tolist(), strict=True)]


def test_every_class_above_the_threshold_is_a_detection() -> None:
    assert run(single([[0, 0, 0, 0, SURE, 1.0986, 0.0]])) == [(0.75, 0), (0.5, 1)]
    assert run(single([[0, 0, 0, 0, SURE, 1.0986, 0.0]]), score_threshold=0.6) == [(0.75, 0)]


def test_suppression_is_within_a_class() -> None:
    """Centres 32 pixels apart less 2 * 0.4 cells: 6.4 pixels, an overlap of 33.6 / 46.4 = 0.72."""
    near, far = 1.3863 + 0.8109, -1.3863 - 0.8109  # logistic 0.9 and 0.1
    same = single([[near, 0, 0, 0, SURE, SURE, -SURE], [far, 0, 0, 0, SURE, 0.0, -SURE]])
    assert run(same) == [(1.0, 0)]
    assert run(same, iou_threshold=0.8) == [(1.0, 0), (0.5, 0)]
    other = single([[near, 0, 0, 0, SURE, SURE, -SURE], [far, 0, 0, 0, SURE, -SURE, 0.0]])
    assert run(other) == [(1.0, 0), (0.5, 1)]


def test_only_the_best_are_kept() -> None:
    assert run(single([[0, 0, 0, 0, SURE, 1.0986, 0.0]]), max_detections=1) == [(0.75, 0)]


def test_boxes_are_in_pixels_of_each_picture_and_clipped() -> None:
    maps = [single([[0, 0, 0, 0, SURE, SURE, -SURE]])[0].repeat(2, 1, 1, 1)]
    placements = [Placement((0.5, 0.5), (0.0, 0.0), (64, 128)), Placement((2.0, 1.0), (10.0, 0.0), (32, 20))]
    first, second = postprocess(maps, ONE, placements, score_threshold=0.1, iou_threshold=0.45)
    assert first.boxes.tolist() == [[24.0, 12.0, 104.0, 52.0]]
    assert second.boxes.tolist() == [[1.0, 6.0, 20.0, 26.0]]


def test_a_wild_box_does_not_disturb_other_classes() -> None:
    """Class-wise NMS shifts classes apart by the largest coordinate; float32 has no digits left beyond 2^24."""
    wild = [0, 0, 60.0, 60.0, SURE, 0.0, -SURE]
    maps = single([wild, [0, 0, -3, -3, SURE, -SURE, SURE], [0, 0, -3, -3, SURE, -SURE, 0.0]])
    assert run(maps) == [(1.0, 1), (0.5, 0), (0.5, 1)]


def test_nothing_found() -> None:
    (found,) = postprocess(single([[0, 0, 0, 0, -SURE, 0, 0]]), ONE, [WHOLE], score_threshold=0.1, iou_threshold=0.45)
    assert (found.boxes.shape, found.scores.shape, found.labels.dtype) == ((0, 4), (0,), torch.int64)


def test_more_candidates_than_the_limit() -> None:
    """At threshold 0 every place is a candidate of every class; the best of them are found all the same."""
    maps = [torch.randn(1, 2 * (5 + 80), 20, 20)]
    task = TaskSpec("detection", (640, 640), heads=(YoloHead("yolo", ((9, 9), (12, 12)), 80),))
    assert MAX_CANDIDATES < 2 * 80 * 400
    (found,) = postprocess(maps, task, [WHOLE], score_threshold=0.0, iou_threshold=0.45)
    assert len(found.scores) == 100
    assert found.scores[0] == decode(maps, task.heads, (640, 640))[1].max()
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)


@pytest.mark.parametrize(("iou_threshold", "passes"), [(0.0, 2), (0.45, 1)])
def test_trying_a_few_first_changes_nothing(iou_threshold: float, passes: int) -> None:
    """Where no overlap is allowed the few do not yield enough, and all are taken in a second pass."""
    maps = [torch.randn(1, 16, 12, 16), torch.randn(1, 8, 6, 8)]
    limits = {"score_threshold": 0.05, "iou_threshold": iou_threshold}
    with patch("torchvision.ops.batched_nms", wraps=batched_nms) as counted:
        (few,) = postprocess(maps, TASK, [WHOLE], max_detections=40, **limits)
    assert counted.call_count == passes
    (every,) = postprocess(maps, TASK, [WHOLE], max_detections=5000, **limits)
    assert len(few.scores) == min(40, len(every.scores))
    assert torch.equal(few.boxes, every.boxes[:40])
    assert torch.equal(few.labels, every.labels[:40])


def test_bad_arguments() -> None:
    maps = single([[0.0] * 7])
    for name, value in (("score_threshold", -0.1), ("iou_threshold", 1.5), ("score_threshold", float("nan"))):
        with pytest.raises(ConfigError, match=rf"{name} is in \[0, 1\]; got {value}"):
            run(maps, **{name: value})
    with pytest.raises(ConfigError, match="max_detections is at least 1; got 0"):
        run(maps, max_detections=0)
    with pytest.raises(ShapeError, match=r"maps of \[1\] pictures; expected 2, one a placement"):
        postprocess(maps, ONE, [WHOLE, WHOLE], score_threshold=0.1, iou_threshold=0.5)
