"""Classification, as a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from sapwood.data import OnBad, open_classification, to_input
from sapwood.tasks.agreeing import Compared
from sapwood.tasks.classification import as_scores, compare_classifiers, evaluate_classification
from sapwood.tasks.divergence import class_divergence
from sapwood.tasks.objective import ClassificationLoss
from sapwood.tasks.running import evaluating
from sapwood.tasks.task import TASKS, Labels, Measuring, Sighting, TaskLoss
from sapwood.types import ClassificationDataset, Evaluation, ModelBundle, Picture, TaskSpec

TOP_CLASSES = 5
"""How many classes of a picture are shown."""


class Classification:
    """Telling what a picture shows: one class."""

    title: ClassVar[str] = "a classifier"
    trainable: ClassVar[str] = "a classifier"
    labels: ClassVar[str] = "classes"
    dataset: ClassVar[type[Any]] = ClassificationDataset
    has_temperature: ClassVar[bool] = True
    distill_rate: ClassVar[float] = 1e-4

    def open_data(
        self, path: str | Path, *, split: str, class_names: Sequence[str], on_bad: OnBad
    ) -> ClassificationDataset:
        """Calls :func:`sapwood.data.open_classification`."""
        return open_classification(path, split=split, class_names=class_names, on_bad=on_bad)

    def evaluate(self, bundle: ModelBundle, dataset: Any, how: Measuring) -> Evaluation:
        """Measures top-1 and top-5."""
        return evaluate_classification(
            bundle,
            dataset,
            batch_size=how.batch_size,
            progress=how.progress,
            on_bad=how.on_bad,
            resamples=how.resamples,
        )

    def compare(
        self, dense: ModelBundle, networks: Mapping[str, ModelBundle], dataset: Any, how: Measuring
    ) -> Compared:
        """Calls :func:`compare_classifiers`."""
        return compare_classifiers(dense, networks, dataset, how)

    def find(
        self, bundle: ModelBundle, pictures: Sequence[Picture], *, score_threshold: float, iou_threshold: float
    ) -> list[list[Sighting]]:
        """The best five classes."""
        del score_threshold, iou_threshold
        return [_best(bundle, picture) for picture in pictures]

    def loss(self, bundle: ModelBundle, labels: Labels) -> TaskLoss | None:
        """Cross-entropy."""
        return ClassificationLoss(bundle, labels)

    def divergence(
        self, task: TaskSpec, outputs: Any, reference: Any, model: nn.Module, *, temperature: float
    ) -> Tensor:  # shape: ()
        """Of class probabilities."""
        return class_divergence(task, outputs, reference, model, temperature)


def _best(bundle: ModelBundle, picture: Picture) -> list[Sighting]:
    values, _ = to_input(picture, bundle.task)
    with evaluating(bundle.model) as run:
        scores = as_scores(run(values[None]), bundle.model, 1)[0]
    if bundle.task.outputs == "logits":
        scores = scores.softmax(0)
    best, labels = scores.topk(min(TOP_CLASSES, len(scores)))
    return [Sighting(label, score) for label, score in zip(labels.tolist(), best.tolist(), strict=True)]


TASKS.register("classification")(Classification())
