"""Mean average precision as COCO defines it, computed by faster-coco-eval; difficult boxes by the rule of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from sapwood.errors import DataError
from sapwood.tasks.postprocess import MAX_DETECTIONS
from sapwood.tasks.scenes import Scene, scenes
from sapwood.types import DetectionDataset, Detections

_ALL_AREAS = ((0.0, 1e10),)
_NO_AREA = 1e11
"""Boxes beyond all areas are neither found nor missed, and overlap as any other box does."""


@dataclass(frozen=True)
class AveragePrecision:
    """The accuracy of a detector.

    Attributes:
        map_50: Mean over the classes of the average precision at IoU 0.5, in [0, 1].
        map_50_95: The mean over IoU 0.5, 0.55, ..., 0.95 as well.
        per_class: Average precision at IoU 0.5 of each class that the data set holds.
    """

    map_50: float
    map_50_95: float
    per_class: Mapping[str, float]


def mean_average_precision(detections: Sequence[Detections], dataset: DetectionDataset) -> AveragePrecision:
    """Compares detections to the true boxes, with precision interpolated at 101 recalls.

    Classes of which the data set holds no box (or difficult ones only) are left out of every mean. A detection on a
    difficult box counts neither as right nor as wrong. On COCO's crowds (``sample.crowd``) is what lies inside by its
    own area; else, by VOC's rule, what overlaps the difficult box more than any other of the class, and no less than
    the threshold.

    Args:
        detections: One entry a picture, in the order of ``dataset.samples``. Beyond the best 100 they do not count.
        dataset: The true boxes.

    Raises:
        DataError: If there is not one entry a picture, a label is not one of the data set's classes, or the data set
            holds no box at all.

    References:
        https://cocodataset.org/#detection-eval; Lin et al., Microsoft COCO, 2014, arXiv:1405.0312. Everingham et al.,
        The PASCAL Visual Object Classes Challenge, 2010, doi:10.1007/s11263-009-0275-4, section 4.2.
    """
    if len(detections) != len(dataset.samples):
        raise DataError(f"detections for {len(detections)} pictures; {dataset.name} has {len(dataset.samples)}")
    _check_labels(detections, dataset)
    if all(sample.difficult.all() for sample in dataset.samples):
        raise DataError(f"{dataset.name}: holds no box to find (difficult ones aside), so there is no mAP")
    judged = [
        scene
        for found, sample in zip(detections, dataset.samples, strict=True)
        for scene in scenes(found, sample, MAX_DETECTIONS)
    ]
    truth, results = COCO(_truth(judged, dataset.class_names)), _rows([scene.found for scene in judged])
    evaluation = COCOeval_faster(truth, _loaded(truth, results), iouType="bbox", print_function=_silent)
    evaluation.params.maxDets = [MAX_DETECTIONS]
    evaluation.params.areaRng = [list(area) for area in _ALL_AREAS]
    evaluation.params.areaRngLbl = ["all"]
    evaluation.evaluate()
    evaluation.accumulate()
    precision = np.asarray(evaluation.eval["precision"])[:, :, :, 0, 0]  # IoU threshold, recall, class
    held = [label for label in range(len(dataset.class_names)) if (precision[0, :, label] > -1).all()]
    per_class = precision[:, :, held].mean(axis=1)
    names = distinct_names(dataset.class_names)
    return AveragePrecision(
        float(per_class[0].mean()),
        float(per_class.mean()),
        {names[label]: float(value) for label, value in zip(held, per_class[0], strict=True)},
    )


def distinct_names(class_names: Sequence[str]) -> list[str]:
    """Returns the class names, with the class number behind those that several classes share.

    Examples:
        >>> distinct_names(["crane", "dog", "crane"])
        ['crane (0)', 'dog', 'crane (2)']
    """
    taken = Counter(class_names)
    return [f"{name} ({number})" if taken[name] > 1 else name for number, name in enumerate(class_names)]


def _check_labels(detections: Sequence[Detections], dataset: DetectionDataset) -> None:
    num_classes = len(dataset.class_names)
    labels = [int(found.labels.max()) for found in detections if found.labels.numel()]
    labels += [int(sample.labels.max()) for sample in dataset.samples if sample.labels.size]
    if max(labels, default=0) >= num_classes:
        raise DataError(f"label {max(labels)} is out of range; {dataset.name} has {num_classes} classes")


def _truth(judged: Sequence[Scene], class_names: Sequence[str]) -> dict[str, Any]:
    """The boxes as COCO's JSON, a picture a scene; ids count from 1, as COCO's evaluation takes id 0 for "no match"."""
    annotations: list[dict[str, Any]] = []
    for number, scene in enumerate(judged, start=1):
        sizes = scene.boxes[:, 2:] - scene.boxes[:, :2]
        columns = (scene.boxes, sizes, scene.labels, scene.crowd, scene.aside)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        annotations += [
            {
                "id": len(annotations) + position,
                "image_id": number,
                "category_id": label + 1,
                "bbox": [*box[:2], *size],
                "area": _NO_AREA if aside else size[0] * size[1],
                "iscrowd": int(crowd),
            }
            for position, (box, size, label, crowd, aside) in enumerate(rows, start=1)
        ]
    return {
        "info": {},
        "images": [{"id": number + 1} for number in range(len(judged))],
        "categories": [{"id": label + 1, "name": name} for label, name in enumerate(class_names)],
        "annotations": annotations,
    }


def _rows(detections: Sequence[Detections]) -> list[dict[str, Any]]:
    rows = []
    for number, found in enumerate(detections, start=1):
        columns = (found.boxes.tolist(), found.scores.tolist(), found.labels.tolist())
        rows += [
            {
                "image_id": number,
                "category_id": label + 1,
                "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                "score": score,
            }
            for box, score, label in zip(*columns, strict=True)
        ]
    return rows


def _loaded(truth: Any, rows: list[dict[str, Any]]) -> Any:
    """The detections as the library has them, which reads no empty list before 1.8."""
    return truth.loadRes(rows) if rows else COCO({**truth.dataset, "annotations": []})


def _silent(*_: object) -> None:
    """Takes the place of the library's prints."""
