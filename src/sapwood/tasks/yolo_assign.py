"""Which cells and anchors of a YOLO detector answer for which true boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sapwood.errors import TrainingError
from sapwood.types import YoloHead

NEIGHBOUR_SCALE = 2.0
"""From this ``scale_x_y`` on, a cell can place a centre half a cell outside itself."""

DetectionTargets = Sequence[tuple[Tensor, Tensor]]
"""One (boxes, labels) pair a picture: float (N, 4) x1, y1, x2, y2 in input pixels, and int64 (N,)."""


@dataclass(frozen=True)
class Assignment:
    """The M places of one head's map that must predict a true box.

    Attributes:
        image: int64, shape (M,): the picture within the batch.
        anchor: int64, shape (M,): the anchor within the head.
        row: int64, shape (M,): the cell's row.
        column: int64, shape (M,): the cell's column.
        boxes: float, shape (M, 4): the true box, x1, y1, x2, y2 in input pixels.
        labels: int64, shape (M,).
    """

    image: Tensor
    anchor: Tensor
    row: Tensor
    column: Tensor
    boxes: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def anchors_in_pixels(head: YoloHead, stride: tuple[float, float]) -> Tensor:  # shape: (A, 2)
    """Returns a head's anchors as (width, height) in input pixels, float64; ``stride`` is (x, y) pixels a cell."""
    anchors = torch.tensor(head.anchors, dtype=torch.float64)
    return anchors * torch.tensor(stride, dtype=torch.float64) if head.kind == "region" else anchors


def shape_overlap(sizes: Tensor, anchors: Tensor) -> Tensor:  # shapes: (N, 2), (A, 2) -> (N, A)
    """Returns the IoU of boxes and anchors of (width, height) laid onto one centre.

    Examples:
        >>> shape_overlap(torch.tensor([[2.0, 4.0]]), torch.tensor([[2.0, 2.0], [4.0, 8.0]]))
        tensor([[0.5000, 0.2500]])
    """
    shared = torch.minimum(sizes[:, None], anchors[None]).prod(-1)
    return shared / (sizes.prod(-1)[:, None] + anchors.prod(-1)[None] - shared)


def assign(
    targets: DetectionTargets,
    heads: Sequence[YoloHead],
    map_sizes: Sequence[tuple[int, int]],
    input_size: tuple[int, int],
    *,
    threshold: float = 0.213,
) -> list[Assignment]:
    """Gives every true box the anchors of its shape, at the cell that holds its centre.

    A box gets the anchor with the best shape overlap over all heads, and every further anchor that overlaps it by more
    than ``threshold`` (Darknet's ``iou_thresh``). Heads whose ``scale_x_y`` is 2 or more also answer from the nearer
    neighbour in x and the nearer one in y, whose reach includes the centre (YOLOv5's rule). Where two boxes want one
    place, the one whose shape fits better has it.

    Args:
        targets: The true boxes of each picture.
        heads: How the maps are read.
        map_sizes: (rows, columns) of each head's map.
        input_size: (height, width) in pixels.
        threshold: Shape overlap from which further anchors answer; 1 leaves the best only.

    Returns:
        One assignment a head, on the CPU.

    Raises:
        TrainingError: If a box has no area, or a label is not one of the heads' classes.

    References:
        Bochkovskiy et al., YOLOv4, 2020, arXiv:2004.10934, section 3.4 ("using multiple anchors for a single ground
        truth"); Jocher, YOLOv5, 2020, doi:10.5281/zenodo.3908559 (neighbour cells).
    """
    image, boxes, labels = _flatten(targets, heads[0].num_classes)
    strides = [(input_size[1] / columns, input_size[0] / rows) for rows, columns in map_sizes]
    anchors = [anchors_in_pixels(head, stride) for head, stride in zip(heads, strides, strict=True)]
    overlap = shape_overlap(boxes[:, 2:] - boxes[:, :2], torch.cat(anchors))
    wanted = (overlap > threshold) | (overlap == overlap.amax(dim=1, keepdim=True))
    parts = [torch.split(part, [len(own) for own in anchors], dim=1) for part in (overlap, wanted)]
    assignments = []
    for head, stride, size, fits, own in zip(heads, strides, map_sizes, *parts, strict=True):
        box, anchor = own.nonzero(as_tuple=True)
        box, anchor, row, column = _cells(
            boxes, box, anchor, size, stride, neighbours=head.scale_x_y >= NEIGHBOUR_SCALE
        )
        place = ((image[box] * len(head.anchors) + anchor) * size[0] + row) * size[1] + column
        kept = _best_of_each(place, fits[box, anchor])
        box = box[kept]
        assignments.append(Assignment(image[box], anchor[kept], row[kept], column[kept], boxes[box], labels[box]))
    return assignments


def _flatten(targets: DetectionTargets, num_classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """All boxes of a batch in a row: picture (N,), box (N, 4) float64, label (N,)."""
    image = torch.cat([torch.full((len(labels),), index) for index, (_, labels) in enumerate(targets)])
    boxes = torch.cat([boxes.reshape(-1, 4).cpu() for boxes, _ in targets]).double()
    labels = torch.cat([labels.cpu() for _, labels in targets])
    flat = (boxes[:, 2:] <= boxes[:, :2]).any(dim=1) | ~boxes.isfinite().all(dim=1)
    if flat.any():
        raise TrainingError(f"a true box has no area: {boxes[flat][0].tolist()}; expected x1 < x2 and y1 < y2")
    strange = (labels < 0) | (labels >= num_classes)
    if strange.any():
        raise TrainingError(
            f"label {int(labels[strange][0])} in the data; the model has classes 0 to {num_classes - 1}"
        )
    return image, boxes, labels


def _cells(
    boxes: Tensor,
    box: Tensor,
    anchor: Tensor,
    size: tuple[int, int],
    stride: tuple[float, float],
    *,
    neighbours: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The (box, anchor, row, column) of every place: the centre's cell and, if asked for, its two nearer neighbours."""
    centre = (boxes[:, :2] + boxes[:, 2:])[box] / (2 * torch.tensor(stride, dtype=boxes.dtype))
    last = torch.tensor([size[1] - 1, size[0] - 1])
    cell = torch.minimum(centre.floor().long().clamp(min=0), last)
    if neighbours:
        toward = torch.where(centre - cell < 0.5, -1, 1)
        sideways = cell + toward * torch.tensor([1, 0])
        upright = cell + toward * torch.tensor([0, 1])
        cell = torch.cat([cell, sideways, upright])
        inside = ((cell >= 0) & (cell <= last)).all(dim=1)
        cell, box, anchor = cell[inside], box.repeat(3)[inside], anchor.repeat(3)[inside]
    return box, anchor, cell[:, 1], cell[:, 0]


def _best_of_each(place: Tensor, overlap: Tensor) -> Tensor:
    """Indices, ascending, that keep of each ``place`` the entry with the largest ``overlap``; of equals the first."""
    order = overlap.argsort(descending=True, stable=True)
    place, by_place = place[order].sort(stable=True)
    first = torch.ones_like(place, dtype=torch.bool)
    first[1:] = place[1:] != place[:-1]
    return order[by_place[first]].sort().values
