"""Detection, as a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from sapwood.data import OnBad, open_detection
from sapwood.models import framework_of
from sapwood.tasks.agreeing import Compared
from sapwood.tasks.decode import yolo_heads
from sapwood.tasks.detection import compare_detectors, detect, evaluate_detection
from sapwood.tasks.divergence import box_divergence
from sapwood.tasks.objective import DetectionLoss
from sapwood.tasks.task import TASKS, Labels, Measuring, Sighting, TaskLoss
from sapwood.types import DetectionDataset, Detections, Evaluation, ModelBundle, Picture, TaskSpec


class Detection:
    """Finding objects: boxes with classes."""

    title: ClassVar[str] = "a detector"
    trainable: ClassVar[str] = "a detector with YOLO heads"
    labels: ClassVar[str] = "boxes"
    dataset: ClassVar[type[Any]] = DetectionDataset
    has_temperature: ClassVar[bool] = False
    distill_rate: ClassVar[float] = 3e-5

    def open_data(self, path: str | Path, *, split: str, class_names: Sequence[str], on_bad: OnBad) -> DetectionDataset:
        """Calls :func:`sapwood.data.open_detection`."""
        return open_detection(path, split=split, class_names=class_names, on_bad=on_bad)

    def evaluate(self, bundle: ModelBundle, dataset: Any, how: Measuring) -> Evaluation:
        """Measures mAP."""
        return evaluate_detection(
            bundle,
            dataset,
            batch_size=how.batch_size,
            score_threshold=how.score_threshold,
            iou_threshold=how.iou_threshold,
            progress=how.progress,
            on_bad=how.on_bad,
            resamples=how.resamples,
        )

    def compare(
        self, dense: ModelBundle, networks: Mapping[str, ModelBundle], dataset: Any, how: Measuring
    ) -> Compared:
        """Calls :func:`compare_detectors`."""
        return compare_detectors(dense, networks, dataset, how)

    def find(
        self, bundle: ModelBundle, pictures: Sequence[Picture], *, score_threshold: float, iou_threshold: float
    ) -> list[list[Sighting]]:
        """Objects with their boxes."""
        found = detect(bundle, pictures, score_threshold=score_threshold, iou_threshold=iou_threshold)
        return [_sightings(detections) for detections in found]

    def loss(self, bundle: ModelBundle, labels: Labels) -> TaskLoss | None:
        """The YOLO loss where there are its heads; else what the model's framework trains it with, if that is known."""
        if yolo_heads(bundle.task.heads) or framework_of(bundle.model).has_loss(bundle.model):
            return DetectionLoss(bundle, labels)
        return None

    def divergence(
        self, task: TaskSpec, outputs: Any, reference: Any, model: nn.Module, *, temperature: float
    ) -> Tensor:  # shape: ()
        """Of scores and boxes; a detector has no temperature."""
        del temperature
        return box_divergence(task, outputs, reference, model)


def _sightings(detections: Detections) -> list[Sighting]:
    rows = zip(detections.labels.tolist(), detections.scores.tolist(), detections.boxes.tolist(), strict=True)
    return [Sighting(label, score, (x1, y1, x2, y2)) for label, score, (x1, y1, x2, y2) in rows]


TASKS.register("detection")(Detection())
