"""Detectors and classifiers: cached pictures, augmented, and the task's own loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sapwood.config import TrainConfig
from sapwood.data import LabelledPicture, augment, example_generator
from sapwood.errors import TrainingError
from sapwood.models import framework_of
from sapwood.tasks import YoloLoss, class_loss, listed_head, yolo_heads
from sapwood.training.objectives.base import OBJECTIVES, Objective
from sapwood.training.pictures import PictureCache
from sapwood.training.precision import as_float32, mixed
from sapwood.types import (
    ClassificationDataset,
    ClassificationSample,
    DetectionDataset,
    DetectionSample,
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

    def _outputs(self, model: nn.Module, pictures: Tensor) -> Any:
        """What the model makes of pictures, as float32."""
        inputs = self._inputs(model, pictures)
        with mixed(self._config.precision, inputs.device):
            outputs = model(inputs)
        return as_float32(outputs)

    def _inputs(self, model: nn.Module, pictures: Tensor) -> Tensor:
        """Pixels as the model wants them, where it lives."""
        like = next(model.parameters())
        memory = torch.channels_last if self._config.channels_last else torch.contiguous_format
        values = pictures.to(like.device).to(dtype=like.dtype, memory_format=memory).div_(255)
        if self.task.mean != (0.0, 0.0, 0.0) or self.task.std != (1.0, 1.0, 1.0):
            mean, std = (values.new_tensor(factors).view(3, 1, 1) for factors in (self.task.mean, self.task.std))
            values = (values - mean) / std
        return values


class DetectionObjective(_PictureObjective):
    """Trains a detector with YOLO heads, or by its framework's loss one that lists what it finds.

    Boxes marked difficult are left out.
    """

    def __init__(
        self,
        task: TaskSpec,
        dataset: DetectionDataset,
        config: TrainConfig,
        *,
        mean: Callable[[float], float] = float,
    ) -> None:
        heads, listed = yolo_heads(task.heads), listed_head(task.heads)
        if not heads and listed is None:
            raise TrainingError(
                "the model has no YOLO or region heads; expected some, or what its own framework trains it with "
                "(docs/ultralytics.md)"
            )
        classes = task.heads[0].num_classes
        if classes != len(dataset.class_names):
            raise TrainingError(
                f"the model has {classes} classes and {dataset.name} {len(dataset.class_names)} "
                f"({', '.join(dataset.class_names[:5])}{', ...' if len(dataset.class_names) > 5 else ''}); "
                "set num_classes: data to fit the model to the data"
            )
        super().__init__(task, [partial(_read_boxes, sample) for sample in dataset.samples], config, name=dataset.name)
        loss = config.loss.model_dump()
        self._criterion = YoloLoss(heads, task.input_size, mean=mean, **loss) if heads else None

    def batch(self, epoch: int, indices: Sequence[int]) -> Batch:
        """Makes a batch of pictures and (boxes, labels) pairs; mosaics end ``augment.plain_epochs`` before the run."""
        plain = epoch >= self._config.epochs - self._config.augment.plain_epochs
        mosaic = 0.0 if plain else self._config.augment.mosaic
        examples = [self._example(epoch, index, mosaic=mosaic)[1] for index in indices]
        targets = [(torch.from_numpy(example.boxes), torch.from_numpy(example.labels)) for example in examples]
        return Batch(_stack(examples), targets)

    def losses(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """Returns the YOLO loss and its parts, or the loss of the framework."""
        if self._criterion is None:
            return {"total": _frameworks_loss(model, self._inputs(model, batch.pictures), batch.targets)}
        return self._criterion(self._outputs(model, batch.pictures), batch.targets)


def _frameworks_loss(model: nn.Module, inputs: Tensor, targets: Any) -> Tensor:
    """In float32: the boxes that it is computed from are as precise as their numbers."""
    framework = framework_of(model)
    if not framework.has_loss(model):
        raise TrainingError(
            f"a {type(model).__name__} of {framework.title} is not trained with boxes alone; expected one that is, or "
            "its own framework's training"
        )
    return framework.loss(model, inputs, targets)


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

    def losses(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """Returns the cross-entropy."""
        outputs, smoothing = self._outputs(model, batch.pictures), self._config.loss.label_smoothing
        return {"total": class_loss(outputs, batch.targets, self.task, label_smoothing=smoothing)}


def _read_boxes(sample: DetectionSample) -> LabelledPicture:
    kept = ~sample.difficult
    return LabelledPicture(sample.load(), sample.boxes[kept], sample.labels[kept])


def _read_picture(sample: ClassificationSample) -> LabelledPicture:
    return LabelledPicture(sample.load(), np.zeros((0, 4), np.float32), np.zeros(0, np.int64))


def _stack(examples: Sequence[LabelledPicture]) -> Tensor:
    """A batch in the memory order of its pictures, channels last."""
    return torch.from_numpy(np.stack([example.picture for example in examples])).permute(0, 3, 1, 2)


@OBJECTIVES.register("detection")
def _detection(
    task: TaskSpec, dataset: DetectionDataset, config: TrainConfig, mean: Callable[[float], float]
) -> Objective:
    return DetectionObjective(task, dataset, config, mean=mean)


@OBJECTIVES.register("classification")
def _classification(
    task: TaskSpec, dataset: ClassificationDataset, config: TrainConfig, mean: Callable[[float], float]
) -> Objective:
    del mean  # a mean over the batch needs no number of the others
    return ClassificationObjective(task, dataset, config)
