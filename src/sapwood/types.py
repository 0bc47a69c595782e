"""What the stages hand to each other: frozen dataclasses and protocols, no behaviour beyond small conveniences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

ExampleInputs: TypeAlias = "Tensor | tuple[Any, ...] | dict[str, Any]"
"""A tensor, a tuple of positional arguments, or a dict of keyword arguments for the model's ``forward``."""

Picture: TypeAlias = "np.ndarray[Any, np.dtype[np.uint8]]"
"""A picture in memory: uint8, RGB, shape (height, width, 3)."""

TaskKind: TypeAlias = str
"""A name in :data:`sapwood.tasks.TASKS` (``"detection"``, ``"classification"``, or what another package registered), or
``"none"``."""

RecoverMethod = Literal["none", "batchnorm", "reconstruct", "distill"]
Resize = Literal["stretch", "stretch_smooth", "letterbox", "letterbox_yolo", "center_crop"]

CENTER_CROP = 224 / 256
"""What a centre crop keeps of the short side, unless a model says otherwise: the convention of ImageNet."""


@dataclass(frozen=True)
class YoloHead:
    """How one raw output map of a detector is read.

    Attributes:
        kind: ``"yolo"`` (YOLOv3 and later) or ``"region"`` (YOLOv2).
        anchors: Its anchors, (width, height) each; in input pixels for ``"yolo"``, in cells for ``"region"``.
        num_classes: Classes a cell scores.
        scale_x_y: Darknet's ``scale_x_y``: how far a centre may leave its cell; 1.0 is not at all.
        new_coords: Darknet's ``new_coords=1``: the map is already logistic, sizes are ``(2 v)^2 * anchor``.
        softmax: Classes compete (``"region"`` with ``softmax=1``) instead of being scored apart.
    """

    kind: Literal["yolo", "region"]
    anchors: tuple[tuple[float, float], ...]
    num_classes: int
    scale_x_y: float = 1.0
    new_coords: bool = False
    softmax: bool = False


@dataclass(frozen=True)
class AnchorFreeHead:
    """How the two raw outputs of a detector without anchors are read: YOLOv8 and later, Ultralytics' v5 and v3.

    One has for each of N places, those of all maps after one another, the distances of its centre to the four sides, in
    cells: shape (B, 4 * bins, N); the other a logit for every class, shape (B, classes, N).

    Attributes:
        num_classes: Classes a place scores.
        strides: Input pixels between two places, of each map.
        bins: Numbers a distance has: its mean under their softmax, counted from 0; the distance itself where 1.
        overlapping: Whether several places may find one object, so that NMS is due.
        max_detections: The best so many are kept.
        kind: ``"anchor_free"``.
    """

    num_classes: int
    strides: tuple[int, ...]
    bins: int = 16
    overlapping: bool = True
    max_detections: int = 300
    kind: Literal["anchor_free"] = "anchor_free"


@dataclass(frozen=True)
class ListedHead:
    """A detector that takes pictures of any size as they are, and lists what it finds: those of torchvision.

    Of each picture it returns a dict with ``boxes`` (N, 4) as x1, y1, x2, y2 in pixels of that picture, ``scores`` (N,)
    and ``labels`` (N,). Thresholds and NMS are its own.

    Attributes:
        num_classes: Classes it tells apart, background not counted.
        labels: What it calls each of them; others that it finds are left out.
        kind: ``"listed"``.
    """

    num_classes: int
    labels: tuple[int, ...]
    kind: Literal["listed"] = "listed"


@dataclass(frozen=True)
class TaskSpec:
    """What a model is for and how pictures are brought to it.

    Attributes:
        kind: Which of :data:`sapwood.tasks.TASKS` measures the model; ``"none"`` where nobody said what it is for.
        input_size: (height, width) in pixels.
        class_names: One name a class, in the order of the model's outputs; empty when unknown.
        resize: How a picture becomes ``input_size``. Darknet stretches unless the cfg says ``letter_box=1``;
            Ultralytics' letterbox rounds up and fills with another grey than Darknet's; ``"stretch_smooth"`` is
            transformers'.
        mean: Subtracted from RGB values in [0, 1].
        std: Divides RGB values after ``mean``.
        heads: Of a detector: one entry an output map, in the order the model returns them; one in
            all for a detector without anchors, or one that lists what it finds.
        crop: Of ``"center_crop"``: what part of the short side is cut out.
        interpolation: Of ``"center_crop"`` and ``"stretch_smooth"``: how the picture is made smaller.
        outputs: Of a classifier: what the model returns.
    """

    kind: TaskKind
    input_size: tuple[int, int] = (0, 0)
    class_names: tuple[str, ...] = ()
    resize: Resize = "stretch"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    heads: tuple[YoloHead, ...] | tuple[AnchorFreeHead, ...] | tuple[ListedHead, ...] = ()
    crop: float = CENTER_CROP
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    outputs: Literal["logits", "probabilities"] = "logits"


@dataclass(frozen=True)
class ModelSource:
    """Where a model came from, enough to build it again.

    Attributes:
        spec: The specification as the user gave it (``"net.cfg"``, ``"torchvision:resnet50"``).
        kind: Which loader of :mod:`sapwood.models` reads it.
        weights: The weights file, if one was given.
        files: Text files that rebuild the architecture without the original path (``{"model.cfg": ...}`` for Darknet).
        plans: The plans (:class:`sapwood.models.Plan`) that were applied since, in order. A Darknet network's
            ``model.cfg`` has the widths after them.
    """

    spec: str
    kind: str
    weights: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    plans: tuple[Any, ...] = ()


@dataclass(frozen=True)
class ModelBundle:
    """A model and all that the stages need to know about it.

    Attributes:
        model: It.
        example_inputs: What it is called with.
        task: What it is for.
        source: Where it came from first.
        place: The directory that Sapwood saved it in, and that it was read from.
    """

    model: nn.Module
    example_inputs: ExampleInputs
    task: TaskSpec
    source: ModelSource
    place: str | None = None

    @property
    def name(self) -> str:
        """What it is called where results are told: as it was named, its directory or its specification."""
        return self.place or self.source.spec


@dataclass(frozen=True)
class DetectionSample:
    """One picture with its boxes.

    Attributes:
        image_id: Unique in its data set; the file's stem for data sets on disk.
        boxes: float32, shape (N, 4): x1, y1, x2, y2 in pixels of the original picture.
        labels: int64, shape (N,): indices into the data set's class names.
        difficult: bool, shape (N,): neither found nor missed counts (VOC ``difficult``, COCO ``iscrowd``).
        load: Reads or makes the picture.
        crowd: Whether difficult boxes are crowds, as COCO's ``iscrowd``: any number of detections that lie inside one
            count neither way. Those of VOC are single objects, which a detection must overlap as any other.
    """

    image_id: str
    boxes: np.ndarray[Any, np.dtype[np.float32]]
    labels: np.ndarray[Any, np.dtype[np.int64]]
    difficult: np.ndarray[Any, np.dtype[np.bool_]]
    load: Callable[[], Picture]
    crowd: bool = False


@dataclass(frozen=True)
class DetectionDataset:
    """Pictures with boxes, in a fixed order.

    Attributes:
        name: For reports.
        samples: The pictures.
        class_names: One name a class.
        skipped: What was left out under ``on_bad="skip"``, a sentence each.
    """

    name: str
    samples: tuple[DetectionSample, ...]
    class_names: tuple[str, ...]
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClassificationSample:
    """One picture with its class (an index into the data set's class names)."""

    image_id: str
    label: int
    load: Callable[[], Picture]


@dataclass(frozen=True)
class ClassificationDataset:
    """Pictures with a class each, in a fixed order.

    Attributes:
        name: For reports.
        samples: The pictures.
        class_names: One name a class.
        skipped: What was left out under ``on_bad="skip"``, a sentence each.
        ordered: Its own class names, where the model's are numbers and its first class is taken for the first of these:
            nothing else says which is which.
    """

    name: str
    samples: tuple[ClassificationSample, ...]
    class_names: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    ordered: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tokens:
    """A text as a model reads it.

    Attributes:
        inputs: By the name of the argument, shape (L,) each: token numbers, the mask of those that count.
        targets: int64, shape (L,): which token each place is to be answered with, :data:`NO_TARGET` where none; None of
            a text that has a class, or none.
    """

    inputs: Mapping[str, Tensor]
    targets: Tensor | None = None


NO_TARGET = -100
"""Stands at places of a text that nothing is asked about, as PyTorch's cross-entropy leaves them out."""


@dataclass(frozen=True)
class TextSample:
    """One text, with its class (an index into the data set's class names, -1 where nobody said it)."""

    image_id: str
    label: int
    load: Callable[[], Tokens]


@dataclass(frozen=True)
class TextDataset:
    """Texts in a fixed order, as one model's tokenizer has cut them; fields as of :class:`ClassificationDataset`."""

    name: str
    samples: tuple[TextSample, ...]
    class_names: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    ordered: tuple[str, ...] = ()


Dataset: TypeAlias = "DetectionDataset | ClassificationDataset | TextDataset"
"""What a model is measured on."""


@dataclass(frozen=True)
class Detections:
    """What a detector found in one picture, best score first.

    Attributes:
        boxes: float32, shape (N, 4): x1, y1, x2, y2 in pixels of the original picture.
        scores: float32, shape (N,), in [0, 1].
        labels: int64, shape (N,).
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor

    @staticmethod
    def none() -> Detections:
        """Returns the detections of a picture in which nothing was found."""
        return Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))


@dataclass(frozen=True)
class Evaluation:
    """The accuracy of a model on a data set.

    Attributes:
        primary: The name of the figure to compare models by (``"mAP@0.5"``, ``"top-1"``).
        metrics: Figures by name: those of pictures, and the primary one, in [0, 1].
        per_class: The primary figure for each class that the data set holds.
        num_images: Pictures or texts that were measured.
        seconds: Wall seconds by part (``"read"``, ``"network"``, ``"postprocess"``, ``"score"``).
        skipped: Pictures that were left out, with the reason.
        resampled: The primary figure of samples of the pictures, drawn with replacement: the same samples for every
            model that is measured on as many pictures, so that differences can be formed sample by sample. Empty where
            that was not asked for, or nothing is known of single pictures.
    """

    primary: str
    metrics: Mapping[str, float]
    per_class: Mapping[str, float]
    num_images: int
    seconds: Mapping[str, float]
    skipped: tuple[str, ...] = ()
    resampled: tuple[float, ...] = ()

    @property
    def value(self) -> float:
        """The primary figure."""
        return self.metrics[self.primary]


@dataclass(frozen=True)
class Measurement:
    """A measured figure with its unit and the conditions it holds under."""

    value: float
    unit: str
    conditions: Mapping[str, Any] = field(default_factory=dict)
