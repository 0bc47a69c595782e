"""What recovery without labels leaves in the record."""

from __future__ import annotations

from dataclasses import dataclass

from sapwood.recovery.distillation import DistillCheck
from sapwood.recovery.reconstruction import LayerReconstruction


@dataclass(frozen=True)
class Recovered:
    """What recovery did; its ``asdict`` is plain JSON.

    Attributes:
        method: How.
        num_pictures: Pictures that were looked at; their labels were not.
        seconds: How long it took.
        layers: One entry a layer that was solved: its error before and after.
        left_alone: Weights that could not be solved, each with its reason.
        checks: Of distillation, the divergence from the dense network on held-out pictures as it fell.
        best_step: When that was lowest.
        norms: BatchNorms that were brought to the dense network's mean and deviation.
        unit: What the pictures are, in words: texts, of a model that reads those.
    """

    method: str
    num_pictures: int
    seconds: float
    layers: tuple[LayerReconstruction, ...]
    left_alone: dict[str, str]
    checks: tuple[DistillCheck, ...] = ()
    best_step: int = 0
    norms: tuple[str, ...] = ()
    unit: str = "pictures"
