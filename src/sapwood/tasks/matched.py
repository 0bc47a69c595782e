"""What a network found of what another one finds, picture by picture: figures of any sample of the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sapwood.tasks.postprocess import MAX_DETECTIONS
from sapwood.types import Detections

OVERLAP = 0.5
"""IoU from which on a box is found."""

CELLS = 4_000_000
"""Numbers that are held at once: samples of pictures times detections of a class."""

_RECALLS = torch.linspace(0.0, 1.0, 101, dtype=torch.float64)


class PictureFigures(Protocol):
    """What is known of each picture, from which a figure of any of them follows."""

    def __len__(self) -> int:
        """Pictures."""

    def figure(
        self,
        counts: Tensor,  # shape: (R, pictures)
    ) -> Tensor:  # shape: (R,)
        """The figure, with each picture counted so many times; NaN where nothing is left to find."""


@dataclass(frozen=True)
class Hits:
    """A classifier's pictures.

    Attributes:
        right: bool, shape (pictures,): whether its best class is the other one's.
    """

    right: Tensor

    def __len__(self) -> int:
        return len(self.right)

    def figure(self, counts: Tensor) -> Tensor:
        """The fraction of the pictures, shape (R,).

        Examples:
            >>> Hits(torch.tensor([True, False])).figure(torch.tensor([[1.0, 1.0], [2.0, 0.0]])).tolist()
            [0.5, 1.0]
        """
        return (counts.double() @ self.right.double()) / counts.sum(dim=1)


@dataclass(frozen=True)
class _MatchedClass:
    """The detections of one class, best first.

    Attributes:
        picture: int64, shape (N,): where each is.
        right: bool, shape (N,): whether it is a true box's, and no better detection is.
        wanted: float64, shape (pictures,): true boxes in each.
    """

    picture: Tensor
    right: Tensor
    wanted: Tensor

    def average_precision(self, counts: Tensor) -> Tensor:  # shapes: (R, pictures) -> (R,)
        wanted = counts @ self.wanted
        if not len(self.picture):
            return torch.where(wanted > 0, 0.0, torch.nan)
        rows = max(1, CELLS // len(self.picture))
        return torch.cat([self._of(some) for some in torch.split(counts, rows)])

    def _of(self, counts: Tensor) -> Tensor:
        seen = counts[:, self.picture]
        right, all_seen = (seen * self.right).cumsum(dim=1), seen.cumsum(dim=1)
        wanted = (counts @ self.wanted)[:, None]
        recall = right / wanted.clamp(min=1e-12)
        precision = right / all_seen.clamp(min=1e-12)
        envelope = precision.flip(1).cummax(dim=1).values.flip(1)
        beyond = torch.cat([envelope, torch.zeros(len(counts), 1, dtype=envelope.dtype)], dim=1)
        place = torch.searchsorted(recall.contiguous(), _RECALLS.repeat(len(counts), 1))
        return torch.where(wanted[:, 0] > 0, beyond.gather(1, place).mean(dim=1), torch.nan)


class MatchedDetections:
    """A detector's pictures: its detections, each right or wrong by the other network's boxes.

    The figure is mAP@0.5 as COCO defines it: detections are matched best first, each with the box of its class that
    it overlaps most of those that are left; of the means, classes without a box are left out.

    Args:
        found: One entry a picture, best score first.
        truth: The other network's detections, which stand for the true boxes.
    """

    def __init__(self, found: Sequence[Detections], truth: Sequence[Detections]) -> None:
        self._num_pictures = len(truth)
        labels = sorted({label for one in truth for label in one.labels.tolist()})
        self._classes = [_matched(found, truth, label) for label in labels]

    def __len__(self) -> int:
        return self._num_pictures

    def figure(self, counts: Tensor) -> Tensor:
        """mAP@0.5, shape (R,); see :meth:`PictureFigures.figure`."""
        if not self._classes:
            return torch.full((len(counts),), torch.nan, dtype=torch.float64)
        return torch.stack([one.average_precision(counts) for one in self._classes]).nanmean(dim=0)


def _matched(found: Sequence[Detections], truth: Sequence[Detections], label: int) -> _MatchedClass:
    pictures, scores, right = [], [], []
    wanted = torch.zeros(len(truth), dtype=torch.float64)
    for number, (one, true) in enumerate(zip(found, truth, strict=True)):
        boxes, true_boxes = one.boxes[one.labels == label][:MAX_DETECTIONS], true.boxes[true.labels == label]
        wanted[number] = len(true_boxes)
        scores.append(one.scores[one.labels == label][:MAX_DETECTIONS])
        right.append(_first_matches(boxes, true_boxes))
        pictures.append(torch.full((len(boxes),), number))
    order = np.argsort(-torch.cat(scores).numpy(), kind="stable")
    return _MatchedClass(torch.cat(pictures)[order], torch.cat(right)[order], wanted)


def _first_matches(
    boxes: Tensor,  # shape: (N, 4)
    true_boxes: Tensor,  # shape: (M, 4)
) -> Tensor:  # shape: (N,)
    """Whether each box, best first, overlaps a true one enough that no better one has taken."""
    matched = torch.zeros(len(boxes), dtype=torch.bool)
    if not len(boxes) or not len(true_boxes):
        return matched
    from torchvision.ops import box_iou  # imports for seconds

    overlaps = box_iou(boxes.double(), true_boxes.double())
    for number, overlap in enumerate(overlaps):
        best = int(overlap.argmax())
        if float(overlap[best]) >= OVERLAP:
            matched[number] = True
            overlaps[:, best] = -1.0
    return matched
