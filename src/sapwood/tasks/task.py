"""What a task knows of itself; a file of this folder registers each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

from torch import Tensor, nn

from sapwood import task_kinds
from sapwood.data import OnBad
from sapwood.registry import Registry
from sapwood.tasks.running import Progress
from sapwood.types import Dataset, Evaluation, ModelBundle, Picture, TaskSpec

Labels = Literal["data", "own"]
"""Whose labels a loss compares with: the data set's, or what the dense model itself predicts."""

TaskLoss: TypeAlias = "Callable[[nn.Module, Any], Tensor]"
"""The mean loss of a model on a batch of pictures."""


@dataclass(frozen=True)
class Measuring:
    """How accuracy is measured; see :func:`sapwood.tasks.evaluate`."""

    batch_size: int
    score_threshold: float
    iou_threshold: float
    progress: Progress | None
    on_bad: OnBad
    resamples: int = 0


@dataclass(frozen=True)
class Sighting:
    """Something that a model says of a picture: a class with its score in [0, 1], and where, if it says that."""

    label: int
    score: float
    box: tuple[float, float, float, float] | None = None


class Task(Protocol):
    """One task.

    Attributes:
        title: What a model for it is, for messages.
        trainable: The same, where it has a loss.
        labels: What its data sets hold.
        dataset: Their class.
        has_temperature: Whether outputs can be softened before they are compared.
        distill_rate: The highest learning rate of a distillation that is not told another.
    """

    title: ClassVar[str]
    trainable: ClassVar[str]
    labels: ClassVar[str]
    dataset: ClassVar[type[Any]]
    has_temperature: ClassVar[bool]
    distill_rate: ClassVar[float]

    def open_data(self, path: str | Path, *, split: str, class_names: Sequence[str], on_bad: OnBad) -> Dataset:
        """Opens a data set of the task."""

    def evaluate(self, bundle: ModelBundle, dataset: Any, how: Measuring) -> Evaluation:
        """Measures a model; ``dataset`` is one of the task's."""

    def find(
        self, bundle: ModelBundle, pictures: Sequence[Picture], *, score_threshold: float, iou_threshold: float
    ) -> list[list[Sighting]]:
        """What a model says of each picture, for a report."""

    def loss(self, bundle: ModelBundle, labels: Labels) -> TaskLoss | None:
        """The loss of models made from that of ``bundle``; None where it has none."""

    def divergence(
        self, task: TaskSpec, outputs: Any, reference: Any, model: nn.Module, *, temperature: float
    ) -> Tensor:  # shape: ()
        """How far outputs are from a reference's; see :func:`sapwood.tasks.divergence`."""


@runtime_checkable
class ReadsForModel(Protocol):
    """A task whose data are read as one model reads them: by its tokenizer, say."""

    def open_for(self, bundle: ModelBundle, path: str | Path, *, split: str, on_bad: OnBad) -> Dataset:
        """Opens a data set for a model; labels may be missing."""


TASKS: Registry[Task] = task_kinds.TASKS
"""The tasks by the ``kind`` of a :class:`~sapwood.types.TaskSpec`."""


def any_task(able: type[Any] = object) -> str:
    """What a model is that has a task (one that is ``able``), for messages."""
    titles = {TASKS[kind].title for kind in TASKS if isinstance(TASKS[kind], able)}
    return " or ".join(sorted(titles, reverse=True))


def labels_of(dataset: Dataset) -> str:
    """What a data set holds, for messages.

    Examples:
        >>> from sapwood.types import ClassificationDataset
        >>> labels_of(ClassificationDataset("flags", (), ()))
        'classes'
    """
    return next((TASKS[kind].labels for kind in TASKS if isinstance(dataset, TASKS[kind].dataset)), "no labels")
