"""The objective that fits a model and its data."""

from __future__ import annotations

from collections.abc import Callable

from sapwood.config import TrainConfig
from sapwood.errors import TrainingError
from sapwood.recovery.objectives.base import Objective
from sapwood.recovery.objectives.pictures import ClassificationObjective, DetectionObjective
from sapwood.types import ClassificationDataset, DetectionDataset, ModelBundle


def make_objective(
    bundle: ModelBundle,
    dataset: DetectionDataset | ClassificationDataset,
    config: TrainConfig,
    *,
    mean: Callable[[float], float] = float,
) -> Objective:
    """Returns the objective for a model's task.

    Args:
        bundle: The model.
        dataset: The training pictures.
        config: How to train.
        mean: Of a number over the processes that share batches.

    Raises:
        TrainingError: If the data are of another kind than the model's task, or there are none.
    """
    if bundle.task.kind == "detection" and isinstance(dataset, DetectionDataset):
        return DetectionObjective(bundle.task, dataset, config, mean=mean)
    if bundle.task.kind == "classification" and isinstance(dataset, ClassificationDataset):
        return ClassificationObjective(bundle.task, dataset, config)
    kind = "boxes" if isinstance(dataset, DetectionDataset) else "classes"
    raise TrainingError(
        f"{bundle.source.spec} is for the task {bundle.task.kind!r} and {dataset.name} holds {kind}; "
        "expected a detector with boxes or a classifier with classes"
    )
