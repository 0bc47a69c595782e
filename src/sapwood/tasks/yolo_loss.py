"""The loss a YOLO detector is trained with: objectness, class and box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sapwood.errors import ShapeError
from sapwood.tasks.decode import BOX_FIELDS, check_maps, decode_rows, split_anchors
from sapwood.tasks.yolo_assign import Assignment, DetectionTargets, assign
from sapwood.types import YoloHead

MIN_SIDE = 1e-3
"""Pixels that a box is wide and high at least while training: CIoU divides its sides by each other."""


@dataclass(frozen=True)
class YoloLoss:
    r"""Measures the raw maps of a detector against the true boxes.

    .. math::
        L = \frac{1}{P} \Big( g_{box} \sum_{p} (1 - \mathrm{CIoU}_p + \tau_p)
            + g_{obj} \sum_{c} \mathrm{BCE}(o_c, \hat o_c)
            + g_{cls} \sum_{p} \sum_{k} \mathrm{BCE}(c_{pk}, \hat c_{pk}) \Big)

    over the P places p that answer for a true box (see :func:`sapwood.tasks.yolo_assign.assign`) and all places c.
    CIoU hardly falls for a box many times too large, and its distance term even gains as such a box grows, so sizes can
    run away. The tether :math:`\tau = \sum_{w,h} \max(0, |\ln(\hat s / s)| - 1)` pulls sides back that are more than e
    times too long or too short, and is 0 for all others.

    A place that answers for none but whose box overlaps a true one by more than ``ignore_threshold`` is left out of the
    objectness. Dividing by P rather than by the number of places gives every head the weight of its positives, whatever
    the size of its map. Region heads with ``softmax`` score their classes by cross-entropy.

    Attributes:
        heads: How the maps are read, in the order of the maps.
        input_size: (height, width) in pixels.
        box_gain: Weight of the box term.
        objectness_gain: Weight of the objectness term.
        class_gain: Weight of the class term.
        ignore_threshold: Darknet's ``ignore_thresh``.
        assign_threshold: Darknet's ``iou_thresh``: shape overlap from which further anchors answer.
        iou_objectness: How far the objectness to learn goes from 1 (at 0) to the box's CIoU (at 1).
        label_smoothing: Class targets are half this far from 0 and from 1.
        mean: Of a number over the processes that share a batch, so that P is of all of it.

    References:
        Bochkovskiy et al., YOLOv4, 2020, arXiv:2004.10934; Zheng et al., Distance-IoU Loss, 2020, arXiv:1911.08287,
        eq. 10 (CIoU).
    """

    heads: tuple[YoloHead, ...]
    input_size: tuple[int, int]
    box_gain: float = 5.0
    objectness_gain: float = 1.0
    class_gain: float = 1.0
    ignore_threshold: float = 0.7
    assign_threshold: float = 0.213
    iou_objectness: float = 0.0
    label_smoothing: float = 0.0
    mean: Callable[[float], float] = float

    def __call__(self, maps: Sequence[Tensor], targets: DetectionTargets) -> dict[str, Tensor]:
        """Returns the loss of a batch.

        Args:
            maps: One raw map a head, each of shape (B, A * (5 + classes), H, W).
            targets: One (boxes, labels) pair a picture, boxes (N, 4) as x1, y1, x2, y2 in input pixels.

        Returns:
            Scalars ``"box"``, ``"objectness"``, ``"class"`` (weighted, per positive place) and ``"total"``, their sum.

        Raises:
            ShapeError: If the maps are not those of ``heads``, or the batch sizes differ.
            TrainingError: If a box has no area, or a label is out of range.
        """
        self._check(maps, targets)
        sizes = [(int(head_map.shape[2]), int(head_map.shape[3])) for head_map in maps]
        assignments = assign(targets, self.heads, sizes, self.input_size, threshold=self.assign_threshold)
        positives = self.mean(sum(len(assignment) for assignment in assignments)) or 1.0
        parts = [
            self._head_terms(_HeadMap.of(head_map, head, self.input_size), assignment, targets)
            for head_map, head, assignment in zip(maps, self.heads, assignments, strict=True)
        ]
        box, objectness, classes = (torch.stack(terms).sum() / positives for terms in zip(*parts, strict=True))
        loss = {
            "box": self.box_gain * box,
            "objectness": self.objectness_gain * objectness,
            "class": self.class_gain * classes,
        }
        return {**loss, "total": loss["box"] + loss["objectness"] + loss["class"]}

    def _check(self, maps: Sequence[Tensor], targets: DetectionTargets) -> None:
        check_maps(maps, self.heads)
        for number, head_map in enumerate(maps):
            if len(head_map) != len(targets):
                raise ShapeError(f"map {number} is of {len(head_map)} pictures; the targets are of {len(targets)}")

    def _head_terms(
        self, head_map: _HeadMap, assignment: Assignment, targets: DetectionTargets
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sums over one head: box, objectness, class."""
        from torchvision.ops import complete_box_iou_loss  # imports for seconds

        device = head_map.values.device
        place = tuple(
            index.to(device) for index in (assignment.image, assignment.anchor, assignment.row, assignment.column)
        )
        found = head_map.values[place]  # shape: (M, 5 + classes)
        boxes = head_map.boxes(found, *place[1:])
        truth = assignment.boxes.to(boxes)
        overlap_terms = complete_box_iou_loss(boxes, truth, reduction="none")
        objectness = torch.zeros_like(head_map.values[..., 4])
        fit = (1 - overlap_terms.detach()).clamp(min=0)
        objectness[place] = 1 - self.iou_objectness * (1 - fit)
        counted = ~self._ignored(head_map, targets)
        counted[place] = True
        terms = _cross_entropy(head_map.values[..., 4], objectness, logistic=head_map.head.new_coords)
        classes = self._class_terms(head_map.head, found[:, 5:], assignment.labels.to(device))
        return (overlap_terms + _tether(boxes, truth)).sum(), (terms * counted).sum(), classes

    def _class_terms(self, head: YoloHead, scores: Tensor, labels: Tensor) -> Tensor:
        if head.softmax:
            return F.cross_entropy(scores, labels, reduction="sum", label_smoothing=self.label_smoothing)
        truth = F.one_hot(labels, head.num_classes).to(scores)
        truth = truth * (1 - self.label_smoothing) + self.label_smoothing / 2
        return _cross_entropy(scores, truth, logistic=head.new_coords).sum()

    @torch.no_grad()
    def _ignored(self, head_map: _HeadMap, targets: DetectionTargets) -> Tensor:  # shape: (B, A, H, W), bool
        """The places whose box overlaps some true box by more than ``ignore_threshold``."""
        from torchvision.ops import box_iou

        ignored = torch.zeros_like(head_map.values[..., 4], dtype=torch.bool)
        boxes = head_map.all_boxes()
        for image, (truth, _) in enumerate(targets):
            if len(truth):
                best = box_iou(boxes[image], truth.to(boxes)).amax(dim=1)
                ignored[image] = (best > self.ignore_threshold).reshape(ignored[image].shape)
        return ignored


@dataclass(frozen=True)
class _HeadMap:
    """One head's raw map, laid out by anchor and cell."""

    values: Tensor  # shape: (B, A, H, W, 5 + classes)
    head: YoloHead
    input_size: tuple[int, int]

    @staticmethod
    def of(raw: Tensor, head: YoloHead, input_size: tuple[int, int]) -> _HeadMap:
        return _HeadMap(split_anchors(raw, head).movedim(2, -1), head, input_size)

    def boxes(self, rows: Tensor, anchor: Tensor, row: Tensor, column: Tensor) -> Tensor:  # shape: (*batch, M, 4)
        """Decodes ``rows`` (*batch, M, 5 or more) of the given places; no box is narrower than :data:`MIN_SIDE`."""
        map_size = (self.values.shape[2], self.values.shape[3])
        boxes, _ = decode_rows(rows[..., :BOX_FIELDS], self.head, (anchor, row, column), map_size, self.input_size)
        corner = boxes[..., :2]
        return torch.cat([corner, torch.maximum(boxes[..., 2:], corner + MIN_SIDE)], dim=-1)

    def all_boxes(self) -> Tensor:  # shape: (B, A * H * W, 4)
        """Decodes every place."""
        ranges = [torch.arange(count, device=self.values.device) for count in self.values.shape[1:4]]
        places = (index.flatten() for index in torch.meshgrid(*ranges, indexing="ij"))
        return self.boxes(self.values[..., :BOX_FIELDS].flatten(1, 3), *places)


def _tether(boxes: Tensor, truth: Tensor) -> Tensor:  # shapes: (M, 4), (M, 4) -> (M,)
    """How far sides are off beyond a factor e, as logarithms, summed over width and height."""
    ratio = (boxes[:, 2:] - boxes[:, :2]) / (truth[:, 2:] - truth[:, :2])
    return (ratio.log().abs() - 1).clamp(min=0).sum(dim=1)


def _cross_entropy(scores: Tensor, truth: Tensor, *, logistic: bool) -> Tensor:
    """Binary cross-entropy of each element; ``logistic`` scores are probabilities already."""
    if logistic:
        return F.binary_cross_entropy(scores, truth, reduction="none")
    return F.binary_cross_entropy_with_logits(scores, truth, reduction="none")
