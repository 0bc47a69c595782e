"""Accuracy back after pruning, from pictures without labels: reconstruction, distillation, BatchNorm statistics."""

import warnings
from typing import Any

from sapwood import training
from sapwood.recovery.batchnorm import Reestimated, reestimate_batchnorm
from sapwood.recovery.batchnorm_repair import repair_batchnorm
from sapwood.recovery.batchnorm_settled import settle_batchnorm
from sapwood.recovery.distillation import DistillCheck, DistillConfig, Distilled, distill
from sapwood.recovery.reconstruction import LayerReconstruction, Reconstruction, Rule, reconstruct
from sapwood.recovery.recovered import Recovered

__all__ = [
    "DistillCheck",
    "DistillConfig",
    "Distilled",
    "LayerReconstruction",
    "Reconstruction",
    "Recovered",
    "Reestimated",
    "Rule",
    "distill",
    "reconstruct",
    "reestimate_batchnorm",
    "repair_batchnorm",
    "settle_batchnorm",
]


def __getattr__(name: str) -> Any:
    """Names that moved to ``sapwood.training``, with a warning."""
    if name not in training.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"sapwood.recovery.{name} is sapwood.training.{name} now", DeprecationWarning, stacklevel=2)
    return getattr(training, name)
