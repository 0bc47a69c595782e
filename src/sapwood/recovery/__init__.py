"""Accuracy back after pruning, and training that gives it in the first place."""

from sapwood.recovery.batchnorm import Reestimated, reestimate_batchnorm
from sapwood.recovery.distillation import DistillCheck, DistillConfig, Distilled, distill
from sapwood.recovery.optimizer import carry_optimizer_
from sapwood.recovery.processes import Processes, find_processes
from sapwood.recovery.reconstruction import LayerReconstruction, Reconstruction, Rule, reconstruct
from sapwood.recovery.recovered import Recovered
from sapwood.recovery.train import TrainResult, train

__all__ = [
    "DistillCheck",
    "DistillConfig",
    "Distilled",
    "LayerReconstruction",
    "Processes",
    "Reconstruction",
    "Recovered",
    "Reestimated",
    "Rule",
    "TrainResult",
    "carry_optimizer_",
    "distill",
    "find_processes",
    "reconstruct",
    "reestimate_batchnorm",
    "train",
]
