"""Which detections are judged against which true boxes: a picture's, save those that VOC sets aside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sapwood.types import Detections, DetectionSample

Bools = np.ndarray[Any, np.dtype[np.bool_]]

_LEAST_OVERLAP = 0.49
"""Below the smallest overlap that counts, 0.5, with room for rounding."""


@dataclass(frozen=True)
class Scene:
    """True boxes and detections that are judged together, and by nothing else.

    Attributes:
        boxes: float32, shape (N, 4).
        labels: int64, shape (N,).
        crowd: bool, shape (N,): by COCO's rule, any number of detections that lie inside count neither way.
        aside: bool, shape (N,): a detection that overlaps one enough, as any other box, counts neither way.
        found: The detections.
    """

    boxes: np.ndarray[Any, np.dtype[np.float32]]
    labels: np.ndarray[Any, np.dtype[np.int64]]
    crowd: Bools
    aside: Bools
    found: Detections


def scenes(found: Detections, sample: DetectionSample, most: int) -> Iterator[Scene]:
    """Splits what was found in a picture into what is judged together.

    VOC gives each detection the box of its class that it overlaps most. Where that one is difficult, and the overlap
    enough, it counts neither way; so it becomes a scene of its own, and the rest sees ordinary boxes only.

    Args:
        found: The detections, best score first.
        sample: The true boxes.
        most: Detections of a class beyond so many do not count.

    References:
        ``VOCevaldet.m`` of the development kit of http://host.robots.ox.ac.uk/pascal/VOC/voc2012/.
    """
    if sample.crowd or not sample.difficult.any():
        yield Scene(sample.boxes, sample.labels, sample.difficult, np.zeros_like(sample.difficult), found)
        return
    found = _first_of_each_class(found, most)
    nearest, overlap = _nearest(found, sample)
    aside = sample.difficult[nearest] & (overlap >= _LEAST_OVERLAP)
    yield _scene(sample, ~sample.difficult, _picked(found, np.flatnonzero(~aside)))
    for number in np.flatnonzero(aside):
        only = np.arange(len(sample.boxes)) == nearest[number]
        yield _scene(sample, only, _picked(found, np.array([number])))


def _scene(sample: DetectionSample, kept: Bools, found: Detections) -> Scene:
    difficult = sample.difficult[kept]
    return Scene(sample.boxes[kept], sample.labels[kept], np.zeros_like(difficult), difficult, found)


def _nearest(found: Detections, sample: DetectionSample) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Of each detection: the box of its class that it overlaps most, the first of several, and how much (IoU)."""
    ours, theirs = found.boxes.detach().cpu().double().numpy()[:, None], sample.boxes.astype(np.float64)[None]
    sides = np.minimum(ours[..., 2:], theirs[..., 2:]) - np.maximum(ours[..., :2], theirs[..., :2])
    shared = sides.clip(min=0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(-1) for boxes in (ours, theirs)]
    overlap = shared / (areas[0] + areas[1] - shared)
    overlap[found.labels.cpu().numpy()[:, None] != sample.labels[None]] = 0
    nearest = overlap.argmax(axis=1)
    return nearest, overlap[np.arange(len(nearest)), nearest]


def _first_of_each_class(found: Detections, most: int) -> Detections:
    order = torch.argsort(found.scores, descending=True, stable=True)
    labels = found.labels[order]
    rank = torch.zeros(len(order), dtype=torch.int64)
    for label in set(labels.tolist()):
        rank[labels == label] = torch.arange(int((labels == label).sum()))
    return _picked(found, order[rank < most])


def _picked(found: Detections, places: np.ndarray[Any, Any] | Tensor) -> Detections:
    return Detections(found.boxes[places], found.scores[places], found.labels[places])
