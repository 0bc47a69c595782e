"""The objective that fits a model and its data."""

from __future__ import annotations

from collections.abc import Callable

from sapwood.config import TrainConfig
from sapwood.errors import TrainingError
from sapwood.tasks import TASKS, labels_of
from sapwood.training.objectives.base import OBJECTIVES, Objective
from sapwood.types import Dataset, ModelBundle


def make_objective(
    bundle: ModelBundle,
    dataset: Dataset,
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
    task = bundle.task
    if task.kind in OBJECTIVES and isinstance(dataset, TASKS[task.kind].dataset):
        return OBJECTIVES[task.kind](task, dataset, config, mean)
    fitting = sorted((f"{TASKS[kind].title} with {TASKS[kind].labels}" for kind in OBJECTIVES), reverse=True)
    raise TrainingError(
        f"{bundle.source.spec} is for the task {task.kind!r} and {dataset.name} holds {labels_of(dataset)}; "
        f"expected {' or '.join(fitting)}"
    )
