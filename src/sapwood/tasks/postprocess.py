"""From raw maps to detections in the pixels of the original pictures: threshold, class-wise NMS, the best few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sapwood.data import Placement
from sapwood.errors import ConfigError, ShapeError
from sapwood.tasks import anchor_free
from sapwood.tasks.decode import check_maps, decode_rows, objectness, split_anchors, yolo_heads
from sapwood.types import Detections, TaskSpec

MAX_DETECTIONS = 100
"""Detections a picture may have: COCO's limit."""

MAX_CANDIDATES = 3000
"""Candidates of one picture that enter NMS, the best scores first: bounds its time at very low thresholds."""

_FEW = 4
"""Candidates that are tried first, in units of the detections wanted."""

_FARTHEST = 1e7
"""Pixels. Class-wise NMS shifts each class by the largest coordinate; in float64 boxes stay exact up to here."""


def postprocess(
    maps: Sequence[Tensor],
    task: TaskSpec,
    placements: Sequence[Placement],
    *,
    score_threshold: float,
    iou_threshold: float,
    max_detections: int | None = None,
    clipped: bool = True,
) -> list[Detections]:
    """Turns a detector's raw maps into detections, a picture each.

    As in Darknet every class whose score passes the threshold is a detection of its own, and boxes of different classes
    do not suppress each other.

    Args:
        maps: Raw maps of a batch, shape of each (B, A * (5 + classes), H_i, W_i).
        task: ``heads`` and ``input_size`` are used.
        placements: Where each picture of the batch lies in the input.
        score_threshold: Detections with a score of at most this are left out, in [0, 1].
        iou_threshold: A box that overlaps a better one of its class by more than this is dropped, in [0, 1].
        max_detections: The best so many are kept; where None, as many as the head says, 100 for those of Darknet.
        clipped: Whether boxes end where the picture does.

    Returns:
        One entry a picture, on the CPU, best score first, boxes in pixels of the picture.

    Raises:
        ShapeError: If maps, heads and placements do not fit.
        ConfigError: If a threshold is outside [0, 1] or ``max_detections`` below 1.
    """
    head = anchor_free.head_of(task.heads)
    most = MAX_DETECTIONS if head is None else head.max_detections
    limits = _DetectionLimits(
        score_threshold,
        iou_threshold,
        most if max_detections is None else max_detections,
        head is None or head.overlapping,
        clipped,
    )
    if head is None:
        check_maps(maps, yolo_heads(task.heads))
    else:
        anchor_free.check(maps, head, task.input_size)
    if any(len(raw) != len(placements) for raw in maps):
        raise ShapeError(f"maps of {[len(raw) for raw in maps]} pictures; expected {len(placements)}, one a placement")
    find = _places_with_object if head is None else _places_with_class
    picture, boxes, scores = find(maps, task, score_threshold)
    return [
        _best(boxes[picture == number], scores[picture == number], placement, limits)
        for number, placement in enumerate(placements)
    ]


@dataclass(frozen=True)
class _DetectionLimits:
    score_threshold: float
    iou_threshold: float
    max_detections: int
    overlapping: bool
    clipped: bool

    def __post_init__(self) -> None:
        for name in ("score_threshold", "iou_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is in [0, 1]; got {getattr(self, name)}")
        if self.max_detections < 1:
            raise ConfigError(f"max_detections is at least 1; got {self.max_detections}")


def _places_with_object(
    maps: Sequence[Tensor], task: TaskSpec, score_threshold: float
) -> tuple[Tensor, Tensor, Tensor]:  # shapes: (M,), (M, 4), (M, classes)
    """Picture number, box and class scores of each place whose objectness alone passes the threshold.

    A class score is at most the objectness, so no detection is lost, and only a few of the places are decoded.
    """
    pictures, boxes, scores = [], [], []
    for raw, head in zip(maps, yolo_heads(task.heads), strict=True):
        picture, anchor, row, column = torch.nonzero(objectness(raw, head) > score_threshold, as_tuple=True)
        rows = split_anchors(raw, head)[picture, anchor, :, row, column]
        map_size = (raw.shape[2], raw.shape[3])
        head_boxes, head_scores = decode_rows(rows, head, (anchor, row, column), map_size, task.input_size)
        pictures.append(picture)
        boxes.append(head_boxes)
        scores.append(head_scores)
    return torch.cat(pictures).cpu(), torch.cat(boxes).float().cpu(), torch.cat(scores).float().cpu()


def _places_with_class(
    maps: Sequence[Tensor], task: TaskSpec, score_threshold: float
) -> tuple[Tensor, Tensor, Tensor]:  # shapes: (M,), (M, 4), (M, classes)
    """The same of a detector without anchors: each place where a class passes the threshold."""
    head = anchor_free.head_of(task.heads)
    assert head is not None
    distances, scores = maps[0].transpose(1, 2), maps[1].transpose(1, 2).sigmoid()
    picture, place = torch.nonzero(scores.amax(-1) > score_threshold, as_tuple=True)
    boxes = anchor_free.boxes_at(distances[picture, place], place, head, task.input_size)
    return picture.cpu(), boxes.float().cpu(), scores[picture, place].float().cpu()


def _best(
    boxes: Tensor,  # shape: (M, 4)
    scores: Tensor,  # shape: (M, classes)
    placement: Placement,
    limits: _DetectionLimits,
) -> Detections:
    place, label = torch.nonzero(scores > limits.score_threshold, as_tuple=True)
    score = scores[place, label]
    score, strongest = score.topk(min(len(score), MAX_CANDIDATES))
    place, label = place[strongest], label[strongest]
    candidates = boxes[place].double().clamp(-_FARTHEST, _FARTHEST)
    kept = _suppress(candidates, score.double(), label, limits)
    return Detections(placement.to_picture(boxes[place[kept]], clipped=limits.clipped), score[kept], label[kept])


def _suppress(boxes: Tensor, scores: Tensor, labels: Tensor, limits: _DetectionLimits) -> Tensor:  # shape: (kept,)
    """Indices of the best boxes that remain; the arguments come best first.

    What a box does depends on better ones only, so a few are tried first, and all only where too few of those remain.
    """
    if not limits.overlapping:
        return torch.arange(min(len(boxes), limits.max_detections))
    from torchvision.ops import batched_nms  # imports for seconds

    few = _FEW * limits.max_detections
    kept: Tensor = batched_nms(boxes[:few], scores[:few], labels[:few], limits.iou_threshold)
    if len(kept) < limits.max_detections and len(boxes) > few:
        kept = batched_nms(boxes, scores, labels, limits.iou_threshold)
    return kept[: limits.max_detections]
