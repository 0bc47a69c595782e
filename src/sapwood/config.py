"""The files users write, as pydantic models: every field has a range, a key nobody knows is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from sapwood.errors import ConfigError
from sapwood.meant import meant_name, others_of
from sapwood.reading import read_yaml, reading, shown

M = TypeVar("M", bound=BaseModel)

_MOST_FAULTS = 20
"""The most faults that one message names."""


class Strict(BaseModel):
    """A frozen model that refuses keys it does not know, NaN, endless numbers, and ``yes`` where a number belongs."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        protected_namespaces=(),  # early releases of pydantic 2 warn of each field whose name begins with model_
    )

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuses YAML's ``yes`` and ``true``, which would pass as 1, and numbers that nothing can count to."""
        wanted = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and wanted is not bool:
            raise ValueError("YAML reads yes, no, on and off as true and false; expected another value, or quotes")
        if isinstance(value, int) and abs(value) >= 1 << 63:
            raise ValueError("expected a number below 2^63")
        return value


def parse_config(model: type[M], values: Any, *, where: str) -> M:
    """Validates ``values`` as a ``model``.

    Args:
        model: The pydantic model.
        values: What was read or given: a mapping.
        where: Where it came from, for messages: a file or an option.

    Raises:
        ConfigError: Naming every field that is wrong, what was expected and what came.

    Examples:
        >>> parse_config(TrainConfig, {"epochs": 0}, where="digits.yaml")
        Traceback (most recent call last):
        ...
        sapwood.errors.ConfigError: digits.yaml: epochs: Input should be greater than or equal to 1, got 0
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: expected a mapping of {model.__name__} fields, got {type(values).__name__}")
    with reading(where, f"{model.__name__} fields", ConfigError):
        try:
            return model.model_validate(values)
        except ValidationError as error:
            faults = [f"{where}: {_sentence(problem, model)}" for problem in error.errors()[:_MOST_FAULTS]]
            raise ConfigError("; ".join(faults)) from None


def read_config(model: type[M], path: str | Path, expected: str = "a YAML file") -> M:
    """Reads a YAML file as a ``model``.

    Args:
        model: The pydantic model.
        path: The file.
        expected: What should be there, for messages.

    Raises:
        ConfigError: If the file is missing, is not YAML, or holds values outside what they may be.
    """
    values = read_yaml(path, expected, ConfigError).value
    return parse_config(model, {} if values is None else values, where=str(path))


def _sentence(problem: Any, model: type[BaseModel]) -> str:
    """One pydantic problem in words: the field, what was expected, what came."""
    field = ".".join(str(part) for part in problem["loc"]) or model.__name__
    if problem["type"] == "extra_forbidden":
        siblings = _siblings(model, problem["loc"])
        meant = meant_name(problem["loc"][-1], siblings, others_of(siblings))
        return f"{field}: unknown field; expected one of: {', '.join(siblings)}{meant}"
    known = re.findall(r"'([^']*)'", problem["ctx"]["expected"]) if problem["type"] == "literal_error" else []
    return f"{field}: {problem['msg']}, got {shown(problem['input'])}{meant_name(problem['input'], known)}"


def _siblings(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The fields that stand where an unknown one was met."""
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        nested = field.annotation if field else None
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            model = nested
    return sorted(model.model_fields)


class AugmentConfig(Strict):
    """How training pictures vary. Probabilities lie in [0, 1]; 0 switches a change off.

    Attributes:
        horizontal_flip: Probability of mirroring left and right; 0 where that changes the class (digits, text).
        vertical_flip: Probability of mirroring top and bottom.
        scale: The side of an object varies by up to this fraction, smaller and larger.
        aspect: Width over height varies by up to this fraction.
        translate: A picture moves by up to this fraction of its side.
        hue: The colour circle turns by up to this fraction of a full turn.
        saturation: Colourfulness varies by up to this factor less one (0.5: from 1/1.5 to 1.5).
        brightness: Brightness varies by up to this factor less one.
        mosaic: Probability that a picture is put together from four.
        plain_epochs: The last epochs go without mosaic, so that the network ends on pictures as it will meet them.
        min_visible: A box of which a smaller fraction is left inside the picture is dropped.
    """

    horizontal_flip: float = Field(default=0.5, ge=0, le=1)
    vertical_flip: float = Field(default=0.0, ge=0, le=1)
    scale: float = Field(default=0.3, ge=0, le=0.9)
    aspect: float = Field(default=0.1, ge=0, le=0.9)
    translate: float = Field(default=0.1, ge=0, le=0.9)
    hue: float = Field(default=0.02, ge=0, le=0.5)
    saturation: float = Field(default=0.5, ge=0, le=5)
    brightness: float = Field(default=0.4, ge=0, le=5)
    mosaic: float = Field(default=0.5, ge=0, le=1)
    plain_epochs: int = Field(default=5, ge=0)
    min_visible: float = Field(default=0.25, gt=0, le=1)


class LossConfig(Strict):
    """How the parts of the YOLO loss are weighed (see :class:`sapwood.tasks.YoloLoss`), and label smoothing.

    Attributes:
        box_gain: Weight of the box term.
        objectness_gain: Weight of the objectness term.
        class_gain: Weight of the class term.
        ignore_threshold: A place whose box overlaps a true one by more is left out of the objectness.
        assign_threshold: Overlap of shapes from which further anchors answer for a box.
        iou_objectness: How far the objectness to learn goes from 1 (at 0) to the overlap of the box (at 1).
        label_smoothing: Class targets are half this far from 0 and from 1.
    """

    box_gain: float = Field(default=5.0, ge=0)
    objectness_gain: float = Field(default=1.0, ge=0)
    class_gain: float = Field(default=1.0, ge=0)
    ignore_threshold: float = Field(default=0.7, gt=0, le=1)
    assign_threshold: float = Field(default=0.213, gt=0, le=1)
    iou_objectness: float = Field(default=0.0, ge=0, le=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)


class RunPart(Strict):
    """A part of a run, from ``start`` to ``end``: fractions of its steps.

    Attributes:
        start: Where it begins, as a fraction of the run's steps.
        end: Where it ends, as a fraction of the run's steps.
    """

    start: float = Field(default=0.0, ge=0, lt=1)
    end: float = Field(default=1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _is_a_part(self) -> RunPart:
        if self.start >= self.end:
            raise ValueError(f"start {self.start:g} and end {self.end:g}; expected the start before the end")
        return self


class SparseConfig(RunPart):
    """Sparse training (see :mod:`sapwood.training.regularizers`).

    Attributes:
        method: ``"slimming"``, ``"group_lasso"``, ``"group_norm"`` or ``"growing"``.
        strength: How strong the pull is; None takes the method's own.
        options: Further arguments of the method, as ``sparsity`` of ``growing``.
    """

    method: Literal["slimming", "group_lasso", "group_norm", "growing"]
    strength: float | None = Field(default=None, gt=0)
    options: dict[str, float] = Field(default_factory=dict)


class GradualConfig(RunPart):
    """Gradual pruning (see :class:`sapwood.training.gradual.Gradual`).

    Attributes:
        sparsity: The fraction that has gone at the ``end``; of n:m patterns it is theirs.
        blocks: ``"unstructured"``, ``"2:4"``, ``"2x1"``; or ``"channels"``, with everything that goes with them.
        budget: How layers share the sparsity: ``"uniform"``, ``"erk"``, ``"global"``, ``"lamp"``.
        layers: Any of ``"conv"``, ``"linear"``, ``"all"``.
        pattern: Only parameters whose name fits.
        ignore: Names of parameters that stay whole.
        every: Steps between two choices of what goes.
    """

    sparsity: float = Field(default=0.5, ge=0, lt=1)
    blocks: str = "unstructured"
    budget: Literal["uniform", "erk", "global", "lamp"] = "uniform"
    layers: tuple[str, ...] = ("conv",)
    pattern: str | None = None
    ignore: tuple[str, ...] = ()
    every: int = Field(default=20, ge=1)
    end: float = Field(default=0.6, gt=0, le=1)


class TrainConfig(Strict):
    """What `sapwood train` does, and how long.

    Attributes:
        epochs: Passes over the training pictures.
        batch_size: Pictures a step; the last, incomplete batch of an epoch is left out unless it is the only one.
        seed: Of the initial weights, the order of the pictures and every augmentation.
        init: ``"keep"`` the model's weights; ``"fresh"`` draws all of them from the seed; ``"auto"`` is fresh for a
            Darknet network that came without a weights file and was never trained.
        num_classes: Whether a Darknet detector keeps its ``cfg``'s classes or takes those of the ``"data"``.
        anchors: The ``"cfg"``'s, or ``"auto"``: k-means over the training boxes at the input size.
        input_size: Side of the square input in pixels, a multiple of 32; None keeps the model's.
        optimizer: SGD with Nesterov momentum, or AdamW.
        lr: The highest learning rate.
        momentum: Of SGD; the first beta of AdamW.
        weight_decay: On weights with two or more dimensions; never on biases and normalisation.
        schedule: How the learning rate goes on after the warm-up.
        warmup_epochs: Epochs of linear warm-up (not of ``"one_cycle"``, which brings its own).
        final_lr: The last learning rate, as a fraction of ``lr``.
        ema_decay: Of the moving average of the weights; 0 switches it off.
        clip_norm: Gradients of a larger norm are scaled down to it; None leaves them.
        channels_last: Keep pictures and filters in the memory order that CPU and GPU convolutions prefer.
        precision: Of convolutions and products: ``"float32"``, ``"bfloat16"``, or ``"auto"``: bfloat16 where the
            device multiplies it natively. Weights, their updates and the loss stay float32.
        eval_every: Epochs between two measurements on the validation data; the last epoch is always measured.
        on_bad: A picture that cannot be read stops the run, or the next one takes its place and it is listed.
        cache_mb: Memory for decoded pictures, in MiB.
        loader_threads: Background threads that prepare batches; with 0 they are prepared between steps. ``"auto"`` is 0
            where training takes every core of the machine (on the CPU): a thread more would hold all others up. They
            never change the result.
        resume: Continue the run in the run directory, if there is one. A run goes on with more ``epochs`` than it was
            begun with, along the learning rates of the longer one, if all else is the same.
        augment: How pictures vary.
        loss: How the loss is put together.
        sparse: Sparse training, if any.
        gradual: Gradual pruning, if any.
        distill_weight: Of the divergence from a teacher's outputs, beside the loss, where a teacher is given.
        distill_temperature: By which a classifier's logits and its teacher's are divided before they are compared.
        feature_weight: Of the distance of the layers' maps of attention from the teacher's; 0 leaves them alone.
    """

    epochs: int = Field(default=100, ge=1)
    batch_size: int = Field(default=16, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**32)
    init: Literal["auto", "keep", "fresh"] = "auto"
    num_classes: Literal["cfg", "data"] = "cfg"
    anchors: Literal["cfg", "auto"] = "cfg"
    input_size: int | None = Field(default=None, ge=32, multiple_of=32)
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = Field(default=0.01, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=0.0005, ge=0)
    schedule: Literal["cosine", "one_cycle", "constant"] = "cosine"
    warmup_epochs: float = Field(default=1.0, ge=0)
    final_lr: float = Field(default=0.01, ge=0, le=1)
    ema_decay: float = Field(default=0.998, ge=0, lt=1)
    clip_norm: float | None = Field(default=10.0, gt=0)
    channels_last: bool = True
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    eval_every: int = Field(default=5, ge=1)
    on_bad: Literal["error", "skip"] = "error"
    cache_mb: int = Field(default=1024, ge=0)
    loader_threads: Annotated[int, Field(ge=0, le=64)] | Literal["auto"] = "auto"
    resume: bool = False
    augment: AugmentConfig = AugmentConfig()
    loss: LossConfig = LossConfig()
    sparse: SparseConfig | None = None
    gradual: GradualConfig | None = None
    distill_weight: float = Field(default=0.5, ge=0)
    distill_temperature: float = Field(default=1.0, gt=0)
    feature_weight: float = Field(default=0.0, ge=0)
