"""The accuracy of samples of the pictures: how far a figure depends on which pictures were at hand."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sapwood.tasks.matched import Hits, MatchedDetections, PictureFigures
from sapwood.types import Detections, DetectionSample

SAME = 0.001
"""Figures nearer than this are counted by the same rules: order among equal scores is all that they may differ in."""

DECIMALS = 5
"""Of a figure of a sample: what pictures alone change is far above."""


def resampled_precision(
    found: Sequence[Detections], samples: Sequence[DetectionSample], resamples: int, *, measured: float
) -> tuple[float, ...]:
    """Returns mAP@0.5 of samples of the pictures; nothing where it is counted by rules of another kind.

    Args:
        found: One entry a picture, best score first.
        samples: The pictures with their boxes.
        resamples: How many samples.
        measured: mAP@0.5 of all pictures. Difficult boxes, and frameworks that count their own way, are told by it.
    """
    if not resamples or not samples:
        return ()
    matched = MatchedDetections(found, [_boxes(sample) for sample in samples])
    own = float(matched.figure(torch.ones(1, len(samples), dtype=torch.float64)))
    return _resampled(matched, resamples) if abs(own - measured) <= SAME else ()


def resampled_hits(right: Tensor, resamples: int) -> tuple[float, ...]:
    """Returns the share of right answers in samples of the pictures.

    Args:
        right: bool, shape (pictures,): whether the best class is the true one.
        resamples: How many samples.

    Examples:
        >>> resampled_hits(torch.ones(4, dtype=torch.bool), 3)
        (1.0, 1.0, 1.0)
    """
    return _resampled(Hits(right), resamples) if resamples else ()


def _resampled(pictures: PictureFigures, resamples: int) -> tuple[float, ...]:
    """Each sample has as many pictures as there are, and is the same whoever is measured; of those with a box."""
    number = len(pictures)
    drawn = torch.randint(number, (resamples, number), generator=torch.Generator().manual_seed(0))
    counts = torch.zeros(resamples, number, dtype=torch.float64)
    counts.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))
    values = pictures.figure(counts)
    return () if bool(values.isnan().any()) else tuple(round(value, DECIMALS) for value in values.tolist())


def _boxes(sample: DetectionSample) -> Detections:
    boxes, labels = torch.from_numpy(sample.boxes), torch.from_numpy(sample.labels)
    return Detections(boxes, torch.ones(len(labels)), labels)
