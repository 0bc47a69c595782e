"""Accuracy back by a short descent towards the dense network's outputs, without labels."""

from sapwood.recovery.distillation.config import DistillConfig
from sapwood.recovery.distillation.distill import DistillCheck, Distilled, distill

__all__ = ["DistillCheck", "DistillConfig", "Distilled", "distill"]
