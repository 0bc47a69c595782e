"""Average precision as ``yolo val`` counts it: matched and summed by Ultralytics itself."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from sapwood.types import Detections, DetectionSample

THRESHOLDS = torch.linspace(0.5, 0.95, 10)
"""Overlaps from which a detection is right."""


def average_precision(pairs: Iterable[tuple[Detections, DetectionSample]]) -> dict[int, tuple[float, float]]:
    """Average precision at IoU 0.5, and its mean over 0.5 to 0.95, of each class that there is a box of.

    It is Ultralytics' own: a detection takes the box of its class that it overlaps most of those that are left, and
    precision is summed over recall by trapezoids. Boxes that are marked difficult are not there for it.

    Args:
        pairs: What was found in a picture, best first, and the picture's sample.
    """
    metrics: Any = importlib.import_module("ultralytics.utils.metrics")
    match: Any = importlib.import_module("ultralytics.engine.validator").BaseValidator.match_predictions
    right, scores, labels, held = [], [], [], []
    for found, sample in pairs:
        boxes = torch.from_numpy(sample.boxes[~sample.difficult])
        classes = torch.from_numpy(sample.labels[~sample.difficult])
        overlaps = metrics.box_iou(boxes, found.boxes)
        right.append(match(SimpleNamespace(iouv=THRESHOLDS), found.labels, classes, overlaps).numpy())
        scores.append(found.scores.numpy())
        labels.append(found.labels.numpy())
        held.append(classes.numpy())
    precisions, classes = metrics.ap_per_class(*map(np.concatenate, (right, scores, labels, held)))[5:7]
    return {int(label): (float(row[0]), float(row.mean())) for label, row in zip(classes, precisions, strict=True)}
