"""What training needs to know of a task: how a batch is made, and its loss. The loop itself knows neither."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from sapwood.config import TrainConfig
from sapwood.data.augment import LabelledPicture, augment, example_generator
from sapwood.errors import TrainingError
from sapwood.models import copy_model
from sapwood.recovery.pictures import PictureCache
from sapwood.recovery.precision import as_float32, mixed
from sapwood.tasks import divergence
from sapwood.tasks.objective import class_loss
from sapwood.tasks.yolo_loss import YoloLoss
from sapwood.types import (
    ClassificationDataset,
    ClassificationSample,
    DetectionDataset,
    DetectionSample,
    ModelBundle,
    TaskSpec,
)

CACHED_SIDE = 2
"""Pictures are kept at most this many times as large as the input: windows that zoom in stay sharp enough."""


@dataclass(frozen=True)
class Batch:
    """Pictures and what should be found in them.

    Attributes:
        pictures: uint8, shape (B, 3, H, W).
        targets: What the objective's loss compares with.
    """

    pictures: Tensor
    targets: Any


class Objective(Protocol):
    """One way to train: batches from a data set, and the loss of a model on them."""

    @property
    def num_pictures(self) -> int:
        """Pictures in the training data."""

    @property
    def skipped(self) -> tuple[str, ...]:
        """What was left out so far, a sentence each."""

    def batch(self, epoch: int, indices: Sequence[int]) -> Batch:
        """Makes a batch; depends on nothing but its arguments and the data. Runs in background threads."""

    def inputs(self, model: nn.Module, batch: Batch) -> Tensor:
        """Returns what ``model`` is called with."""

    def losses(self, outputs: Any, inputs: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        """Returns scalars for what a model made of ``inputs``; ``"total"`` is minimised, the others are logged."""


class _PictureObjective:
    """What detection and classification share: cached pictures, augmentation, pixels on the device."""

    def __init__(
        self, task: TaskSpec, readers: Sequence[Callable[[], LabelledPicture]], config: TrainConfig, *, name: str
    ) -> None:
        if not readers:
            raise TrainingError(f"{name}: no pictures to train on")
        self.task = task
        self._config = config
        self._cache = PictureCache(
            readers,
            max_side=CACHED_SIDE * max(task.input_size),
            budget_bytes=config.cache_mb * 2**20,
            on_bad=config.on_bad,
        )

    @property
    def num_pictures(self) -> int:
        return len(self._cache)

    @property
    def skipped(self) -> tuple[str, ...]:
        return tuple(self._cache.skipped[number] for number in sorted(self._cache.skipped))

    def _example(self, epoch: int, index: int, *, mosaic: float = 0.0) -> tuple[int, LabelledPicture]:
        """One training picture, and the number of the picture it (or its first quarter) shows."""
        generator = example_generator(self._config.seed, epoch, index)
        numbers = [index]
        if generator.random() < mosaic:
            numbers += generator.integers(0, len(self._cache), 3).tolist()
        read = [self._cache.read(number) for number in numbers]
        pictures = [example for _, example in read]
        varied = augment(pictures, self.task.input_size, self._config.augment, generator, resize=self.task.resize)
        return read[0][0], varied

    def inputs(self, model: nn.Module, batch: Batch) -> Tensor:
        """Pixels as the model wants them, where it lives."""
        pictures = batch.pictures
        like = next(model.parameters())
        memory = torch.channels_last if self._config.channels_last else torch.contiguous_format
        values = pictures.to(like.device).to(dtype=like.dtype, memory_format=memory).div_(255)
        if self.task.mean != (0.0, 0.0, 0.0) or self.task.std != (1.0, 1.0, 1.0):
            mean, std = (values.new_tensor(factors).view(3, 1, 1) for factors in (self.task.mean, self.task.std))
            values = (values - mean) / std
        return values


class DetectionObjective(_PictureObjective):
    """Trains a detector with YOLO heads. Boxes marked difficult are left out."""

    def __init__(self, task: TaskSpec, dataset: DetectionDataset, config: TrainConfig) -> None:
        if not task.heads:
            raise TrainingError("the model has no YOLO or region heads; a detector needs some to be trained")
        classes = task.heads[0].num_classes
        if classes != len(dataset.class_names):
            raise TrainingError(
                f"the model has {classes} classes and {dataset.name} {len(dataset.class_names)} "
                f"({', '.join(dataset.class_names[:5])}{', ...' if len(dataset.class_names) > 5 else ''}); "
                "set num_classes: data to fit the model to the data"
            )
        super().__init__(task, [partial(_read_boxes, sample) for sample in dataset.samples], config, name=dataset.name)
        self._criterion = YoloLoss(task.heads, task.input_size, **config.loss.model_dump())

    def batch(self, epoch: int, indices: Sequence[int]) -> Batch:
        """Makes a batch of pictures and (boxes, labels) pairs; mosaics end ``augment.plain_epochs`` before the run."""
        plain = epoch >= self._config.epochs - self._config.augment.plain_epochs
        mosaic = 0.0 if plain else self._config.augment.mosaic
        examples = [self._example(epoch, index, mosaic=mosaic)[1] for index in indices]
        targets = [(torch.from_numpy(example.boxes), torch.from_numpy(example.labels)) for example in examples]
        return Batch(_stack(examples), targets)

    def losses(self, outputs: Any, inputs: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        """Returns the YOLO loss and its parts."""
        del inputs
        return self._criterion(outputs, batch.targets)


class ClassificationObjective(_PictureObjective):
    """Trains a classifier with cross-entropy."""

    def __init__(self, task: TaskSpec, dataset: ClassificationDataset, config: TrainConfig) -> None:
        readers = [partial(_read_picture, sample) for sample in dataset.samples]
        super().__init__(task, readers, config, name=dataset.name)
        self._labels = [sample.label for sample in dataset.samples]

    def batch(self, epoch: int, indices: Sequence[int]) -> Batch:
        """Makes a batch of pictures and labels (B,)."""
        examples = [self._example(epoch, index) for index in indices]
        return Batch(_stack([picture for _, picture in examples]), torch.tensor([self._labels[n] for n, _ in examples]))

    def losses(self, outputs: Any, inputs: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        """Returns the cross-entropy."""
        del inputs
        smoothing = self._config.loss.label_smoothing
        return {"total": class_loss(outputs, batch.targets, self.task, label_smoothing=smoothing)}


class Distilling:
    """Another objective, and the divergence of the outputs from a teacher's beside its loss.

    Args:
        objective: The other one.
        teacher: In evaluation mode, never changed.
        task: Of the model that is trained.
        config: ``distill_weight``, the memory order and the precision.

    Raises:
        TrainingError: If the teacher is for another task, or sees other classes or another size.
    """

    def __init__(self, objective: Objective, teacher: ModelBundle, task: TaskSpec, config: TrainConfig) -> None:
        for name in ("kind", "class_names", "input_size"):
            own, other = getattr(task, name), getattr(teacher.task, name)
            if own != other:
                raise TrainingError(f"the teacher's {name} is {other!r}; expected the model's, {own!r}")
        self._objective, self._task, self._weight = objective, task, config.distill_weight
        self._precision = config.precision
        memory = torch.channels_last if config.channels_last else torch.contiguous_format
        self._teacher = copy_model(teacher.model).eval().to(memory_format=memory)

    @property
    def num_pictures(self) -> int:
        """Of the other objective."""
        return self._objective.num_pictures

    @property
    def skipped(self) -> tuple[str, ...]:
        """Of the other objective."""
        return self._objective.skipped

    def batch(self, epoch: int, indices: Sequence[int]) -> Batch:
        """Of the other objective."""
        return self._objective.batch(epoch, indices)

    def inputs(self, model: nn.Module, batch: Batch) -> Tensor:
        """Of the other objective."""
        return self._objective.inputs(model, batch)

    def losses(self, outputs: Any, inputs: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        """Returns the other objective's losses, the divergence, and the weighted sum as ``"total"``."""
        found = dict(self._objective.losses(outputs, inputs, batch))
        with torch.no_grad(), mixed(self._precision, inputs.device):
            reference = as_float32(self._teacher(inputs))
        apart = divergence(self._task, outputs, reference, self._teacher)
        return found | {"total": found["total"] + self._weight * apart, "divergence": apart}


def make_objective(
    bundle: ModelBundle, dataset: DetectionDataset | ClassificationDataset, config: TrainConfig
) -> Objective:
    """Returns the objective for a model's task.

    Raises:
        TrainingError: If the data are of another kind than the model's task, or there are none.
    """
    if bundle.task.kind == "detection" and isinstance(dataset, DetectionDataset):
        return DetectionObjective(bundle.task, dataset, config)
    if bundle.task.kind == "classification" and isinstance(dataset, ClassificationDataset):
        return ClassificationObjective(bundle.task, dataset, config)
    kind = "boxes" if isinstance(dataset, DetectionDataset) else "classes"
    raise TrainingError(
        f"{bundle.source.spec} is for the task {bundle.task.kind!r} and {dataset.name} holds {kind}; "
        "expected a detector with boxes or a classifier with classes"
    )


def _read_boxes(sample: DetectionSample) -> LabelledPicture:
    kept = ~sample.difficult
    return LabelledPicture(sample.load(), sample.boxes[kept], sample.labels[kept])


def _read_picture(sample: ClassificationSample) -> LabelledPicture:
    return LabelledPicture(sample.load(), np.zeros((0, 4), np.float32), np.zeros(0, np.int64))


def _stack(examples: Sequence[LabelledPicture]) -> Tensor:
    pictures = np.stack([example.picture.transpose(2, 0, 1) for example in examples])
    return torch.from_numpy(pictures)
