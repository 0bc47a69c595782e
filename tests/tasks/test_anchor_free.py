"""Detectors without anchors: what their raw outputs mean."""

from __future__ import annotations

import math

import pytest
import torch

from sapwood.data import Placement
from sapwood.errors import ShapeError
from sapwood.tasks import decode, postprocess
from sapwood.types import AnchorFreeHead, TaskSpec

HEAD = AnchorFreeHead(2, strides=(8, 16), bins=4)
SIZE = (16, 32)  # maps of 2 x 4 and 1 x 2 places
PLACES = 10


def outputs(batch: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, channels, PLACES, generator=generator) for channels in (16, 2)]


def test_boxes_by_hand() -> None:
    distances, logits = outputs()
    boxes, scores = decode([distances, logits], (HEAD,), SIZE)
    place = 6  # of the first map: row 1, column 2
    sides = []
    for side in range(4):
        weights = [math.exp(distances[0, 4 * side + k, place].item()) for k in range(4)]
        sides.append(sum(k * weight for k, weight in enumerate(weights)) / sum(weights))
    wanted = [8 * (2.5 - sides[0]), 8 * (1.5 - sides[1]), 8 * (2.5 + sides[2]), 8 * (1.5 + sides[3])]
    assert boxes[0, place].tolist() == pytest.approx(wanted, rel=1e-5)
    last = 9  # of the second map: row 0, column 1
    assert boxes[0, last, :2].max() < 16 * 1.5
    assert scores[0, last].tolist() == pytest.approx([1 / (1 + math.exp(-logits[0, c, last].item())) for c in (0, 1)])


def found(head: AnchorFreeHead, scores: list[float]) -> list[float]:
    """The scores of what is found where two places beside each other see the same box."""
    distances = torch.zeros(1, 4, PLACES)
    distances[0, :, 0] = torch.tensor([0.4, 0.4, 0.6, 0.6])
    distances[0, :, 1] = torch.tensor([1.4, 0.4, -0.4, 0.6])  # the same box from one cell further
    logits = torch.full((1, 1, PLACES), -20.0)
    logits[0, 0, :2] = torch.tensor(scores).logit()
    task = TaskSpec("detection", SIZE, ("a",), heads=(head,))
    whole = Placement((1.0, 1.0), (0.0, 0.0), SIZE)
    (one,) = postprocess([distances, logits], task, [whole], score_threshold=0.1, iou_threshold=0.5)
    return one.scores.tolist()


def test_boxes_of_one_object_are_suppressed() -> None:
    assert found(AnchorFreeHead(1, (8, 16), bins=1), [0.6, 0.9]) == pytest.approx([0.9])


def test_where_a_head_finds_each_object_once_nothing_is_suppressed() -> None:
    head = AnchorFreeHead(1, (8, 16), bins=1, overlapping=False)
    assert found(head, [0.6, 0.9]) == pytest.approx([0.9, 0.6])


def test_the_head_says_how_many_are_kept() -> None:
    head = AnchorFreeHead(1, (8, 16), bins=1, overlapping=False, max_detections=1)
    assert found(head, [0.6, 0.9]) == pytest.approx([0.9])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (outputs()[:1], r"expected \(B, 16, 10\), distances of 10 places, and \(B, 2, 10\), classes"),
        ([outputs()[0][..., :9], outputs()[1]], r"shapes \[\(1, 16, 9\), \(1, 2, 10\)\]"),
        ([outputs()[1], outputs()[0]], r"shapes \[\(1, 2, 10\), \(1, 16, 10\)\]"),
    ],
)
def test_other_outputs_are_named(bad: list[torch.Tensor], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        decode(bad, (HEAD,), SIZE)
