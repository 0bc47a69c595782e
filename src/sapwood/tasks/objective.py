"""The loss of a model on a data set's pictures as evaluation reads them, with the data's labels or the model's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapwood.data import Findings, Placement
from sapwood.errors import ConfigError, DataError, TrainingError
from sapwood.models import framework_of
from sapwood.tasks.classification import as_scores
from sapwood.tasks.decode import yolo_heads
from sapwood.tasks.detection import as_maps
from sapwood.tasks.listed import listed_detections, listed_head
from sapwood.tasks.postprocess import postprocess
from sapwood.tasks.running import ReadyBatch, evaluating, read_batches
from sapwood.tasks.task import TASKS, Labels, TaskLoss
from sapwood.tasks.texts import TokenBatch, read_token_batches
from sapwood.tasks.yolo_assign import DetectionTargets
from sapwood.tasks.yolo_loss import YoloLoss
from sapwood.types import ClassificationSample, Dataset, DetectionSample, ModelBundle, TaskSpec, TextSample

PictureBatch: TypeAlias = "ReadyBatch[DetectionSample] | ReadyBatch[ClassificationSample]"

TINY = 1e-12
"""Probabilities are raised to this before their logarithm is taken."""

SCORE_THRESHOLD = 0.25
"""Detections of the dense model with a larger score are taken as true boxes."""

IOU_THRESHOLD = 0.45
"""Overlap above which the weaker of two of them is dropped."""


@dataclass(frozen=True)
class CalibrationBatches:
    """Batches of pictures or texts, read anew every time they are gone through.

    Attributes:
        samples: The pictures or texts, in order.
        task: How pictures are brought to the input.
        batch_size: Pictures a batch; the last one may have fewer.
    """

    samples: tuple[DetectionSample, ...] | tuple[ClassificationSample, ...] | tuple[TextSample, ...]
    task: TaskSpec
    batch_size: int

    def __len__(self) -> int:
        return (len(self.samples) + self.batch_size - 1) // self.batch_size

    def __iter__(self) -> Iterator[PictureBatch | TokenBatch]:
        samples: Sequence[Any] = self.samples
        if isinstance(samples[0], TextSample):
            return read_token_batches(samples, self.batch_size)
        return read_batches(samples, self.task, self.batch_size, Findings("error"), None)


def calibration_batches(
    bundle: ModelBundle,
    dataset: Dataset,
    *,
    num_pictures: int = 256,
    batch_size: int = 16,
    seed: int = 0,
) -> CalibrationBatches:
    """Draws pictures of a data set, without augmentation.

    Args:
        bundle: The model they are for.
        dataset: Where they come from.
        num_pictures: How many, at least 1; all, where the data set has fewer.
        batch_size: Pictures a batch, at least 1.
        seed: Chooses the pictures and their order.

    Raises:
        ConfigError: If a number is out of range.
        DataError: If the data set is empty.
    """
    for name, value in (("num_pictures", num_pictures), ("batch_size", batch_size)):
        if value < 1:
            raise ConfigError(f"{name} is at least 1; got {value}")
    if not dataset.samples:
        raise DataError(f"{dataset.name} is empty; expected at least one picture")
    chosen = np.random.default_rng(seed).permutation(len(dataset.samples))[:num_pictures]
    samples: Any = tuple(dataset.samples[index] for index in chosen.tolist())
    return CalibrationBatches(samples, bundle.task, batch_size)


def task_loss(bundle: ModelBundle, labels: Labels = "data") -> TaskLoss:
    """Returns the mean loss of a model (``bundle``'s, or one made from it) on a batch of pictures.

    Classifiers are measured by cross-entropy, detectors by :class:`sapwood.tasks.YoloLoss`. With ``"own"`` the labels
    of the data are not looked at: the class that the model of ``bundle`` finds most likely stands for the true one, and
    its detections with a score above 0.25 for the true boxes. It runs once more for each batch then.

    Raises:
        ConfigError: If the model is neither a classifier nor a detector with heads, or ``labels`` is something else.
    """
    if labels not in ("data", "own"):
        raise ConfigError(f"labels are {labels!r}; expected 'data' or 'own'")
    task = bundle.task
    loss = TASKS[task.kind].loss(bundle, labels) if task.kind in TASKS else None
    if loss is None:
        raise ConfigError(
            f"{bundle.source.spec} has no loss: its task is {task.kind!r} with {len(task.heads)} heads; "
            f"expected {' or '.join(dict.fromkeys(TASKS[kind].trainable for kind in TASKS))}"
        )
    return loss


def class_loss(
    scores: Tensor,  # shape: (B, classes)
    labels: Tensor,  # shape: (B,)
    task: TaskSpec,
    *,
    label_smoothing: float = 0.0,
) -> Tensor:  # shape: ()
    """The mean cross-entropy of a classifier's outputs, logits or probabilities as ``task`` says.

    Raises:
        TrainingError: If the model has no class of some label.
    """
    labels = labels.to(scores.device)
    if int(labels.max()) >= scores.shape[1]:
        raise TrainingError(f"label {int(labels.max())} in the data; the model has classes 0 to {scores.shape[1] - 1}")
    if task.outputs == "probabilities":
        scores = scores.clamp(min=TINY).log()
    return F.cross_entropy(scores, labels, label_smoothing=label_smoothing)


class ClassificationLoss:
    """The cross-entropy of a classifier; see :func:`task_loss`."""

    def __init__(self, bundle: ModelBundle, labels: Labels) -> None:
        self._bundle, self._labels = bundle, labels

    def __call__(self, model: nn.Module, batch: PictureBatch) -> Tensor:
        """Returns the mean loss of a model on a batch."""
        outputs = model(_inputs(batch, model))
        return class_loss(getattr(outputs, "logits", outputs), self._targets(batch), self._bundle.task)

    def _targets(self, batch: PictureBatch) -> Tensor:
        if self._labels == "own":
            with evaluating(self._bundle.model) as run:
                return as_scores(run(batch.inputs), self._bundle.model, len(batch.samples)).argmax(dim=1)
        wrong = [sample for sample in batch.samples if not isinstance(sample, ClassificationSample)]
        if wrong:
            raise DataError(f"{wrong[0].image_id} has boxes; expected a class, for {self._bundle.source.spec}")
        return torch.tensor([sample.label for sample in batch.samples if isinstance(sample, ClassificationSample)])


class DetectionLoss:
    """The loss of a detector, that of its framework where it has no YOLO heads; see :func:`task_loss`."""

    def __init__(self, bundle: ModelBundle, labels: Labels) -> None:
        self._bundle, self._labels = bundle, labels
        heads = yolo_heads(bundle.task.heads)
        self._loss = YoloLoss(heads, bundle.task.input_size) if heads else None

    def __call__(self, model: nn.Module, batch: PictureBatch) -> Tensor:
        """Returns the mean loss of a model on a batch."""
        pictures = _inputs(batch, model)
        if self._loss is None:
            return framework_of(model).loss(model, pictures, self._targets(batch))
        maps = model(pictures)
        return self._loss((maps,) if isinstance(maps, Tensor) else maps, self._targets(batch))["total"]

    def _targets(self, batch: PictureBatch) -> DetectionTargets:
        task = self._bundle.task
        listed = listed_head(task.heads)
        if self._labels == "own" and listed is not None:
            with evaluating(self._bundle.model) as run:
                rows = listed_detections(run(batch.inputs), listed, self._bundle.model, SCORE_THRESHOLD)
            return [_with_area(one.boxes, one.labels) for one in rows]
        if self._labels == "own":
            with evaluating(self._bundle.model) as run:
                maps = as_maps(run(batch.inputs), self._bundle.model)
            whole = [Placement((1.0, 1.0), (0.0, 0.0), task.input_size)] * len(batch.samples)
            found = postprocess(maps, task, whole, score_threshold=SCORE_THRESHOLD, iou_threshold=IOU_THRESHOLD)
            return [_with_area(one.boxes, one.labels) for one in found]
        samples: Sequence[Any] = batch.samples
        return [
            _true_boxes(sample, placement, task.input_size)
            for sample, placement in zip(samples, batch.placements, strict=True)
        ]


def _true_boxes(
    sample: DetectionSample | ClassificationSample, placement: Placement, input_size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """The boxes of a picture that are not difficult, in input pixels and clipped to the input."""
    if not isinstance(sample, DetectionSample):
        raise DataError(f"{sample.image_id} has a class and no boxes; expected boxes, for a detector")
    kept = ~sample.difficult
    height, width = input_size
    boxes = placement.to_input(torch.from_numpy(sample.boxes[kept]))
    limit = boxes.new_tensor((width, height, width, height))
    return _with_area(torch.minimum(boxes.clamp(min=0), limit), torch.from_numpy(sample.labels[kept]))


def _with_area(boxes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Leaves out boxes that the input's edges cut down to nothing."""
    kept = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(dim=1)
    return boxes[kept], labels[kept]


def _inputs(batch: PictureBatch, model: nn.Module) -> Tensor:
    like = next(model.parameters())
    return batch.inputs.to(like.device, like.dtype)
