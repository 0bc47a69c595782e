"""How to distill."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

from torch import Tensor

from sapwood.errors import ConfigError
from sapwood.nested import named_tensors
from sapwood.tasks import Inputs
from sapwood.training import Precision
from sapwood.types import TaskSpec


@dataclass(frozen=True)
class DistillConfig:
    """How to distill.

    Attributes:
        steps: Steps of the descent, at least 1.
        batch_size: Pictures a step.
        lr: Highest learning rate of Adam; a warm-up leads there, a half cosine from there to 0. None takes
            that of the task, :attr:`sapwood.tasks.Task.distill_rate`: more does harm to weights that were solved for.
        feature_weight: Weight of the error of the layers' outputs beside that of the network's.
        augment: Show mirrored, scaled and shifted views of the pictures.
        held_out: Fraction of the pictures that tells when the network was at its best.
        evaluations: How often that is looked at.
        patience: Ends after so many looks without a better network; the last looks, at small rates, are often the best.
        decay: Of the moving average of the weights, which is what is kept.
        seed: Of the order of the pictures and of their views.
        precision: ``"float32"``, ``"bfloat16"`` (autocast; weights and looks stay float32), or ``"auto"``: bfloat16
            where the processor multiplies it natively.
        others_share: Fraction of each step's pictures that are of the others, where there are any.
        mosaics: Whether these views are mosaics of four pictures, and pictures in other colours, blurred and with
            noise (:func:`sapwood.recovery.views.varied`). None: of a detector.
        mirrored: The dense network's answer is the mean of those to a picture and to its mirror image, which is better
            than either alone: of a classifier of pictures, whose classes a mirror does not change.
    """

    steps: int = 1000
    batch_size: int = 16
    lr: float | None = None
    feature_weight: float = 1.0
    augment: bool = True
    held_out: float = 0.125
    evaluations: int = 20
    patience: int = 20
    decay: float = 0.99
    seed: int = 0
    precision: Precision = "auto"
    others_share: float = 0.25
    mosaics: bool | None = None
    mirrored: bool = False

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch_size", 1), ("evaluations", 1), ("patience", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(f"{name}: got {value!r}; expected a whole number of at least {least}")
        if self.precision not in get_args(Precision):
            raise ConfigError(f"precision: got {self.precision!r}; expected one of {', '.join(get_args(Precision))}")
        if self.lr is not None and not 0.0 < self.lr < math.inf:
            raise ConfigError(f"lr: got {self.lr}; expected more than 0")
        if not 0.0 <= self.feature_weight < math.inf:
            raise ConfigError(f"feature_weight: got {self.feature_weight}; expected at least 0")
        for name in ("others_share", "held_out", "decay"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ConfigError(f"{name}: got {getattr(self, name)}; expected a number in [0, 1)")

    def check_suits(self, task: TaskSpec, inputs: Inputs) -> None:
        """Refuses answers to mirror images where there are none.

        Args:
            task: What the outputs are.
            inputs: What the network reads.

        Raises:
            ConfigError: If they are asked for and the network is no classifier of pictures.
        """
        pictures = isinstance(inputs, Tensor) and inputs.dim() == 4
        if self.mirrored and not (pictures and task.kind == "classification"):
            raise ConfigError(
                f"mirrored: answers to mirror images are of classifiers of pictures; got a network for {task.kind}, "
                f"which reads {_shape_of(inputs)}"
            )


def _shape_of(inputs: Inputs) -> str:
    named = named_tensors(inputs)
    return ", ".join(
        f"{name} of shape {tuple(tensor.shape)}" if name else f"shape {tuple(tensor.shape)}" for name, tensor in named
    )
