"""Training: one loop for every task, sparse where wanted, alone or in several processes, and resumable."""

from sapwood.training.ema import WeightAverage
from sapwood.training.gradual import CHANNELS, Gradual
from sapwood.training.optimizer import carry_optimizer_
from sapwood.training.plugins import Plugin, SparseTraining
from sapwood.training.precision import Precision, as_float32, mixed
from sapwood.training.processes import Processes, find_processes
from sapwood.training.regularizers import Regularizer, make_regularizer
from sapwood.training.run import epochs_done, holds_run
from sapwood.training.train import TrainResult, train

__all__ = [
    "CHANNELS",
    "Gradual",
    "Plugin",
    "Precision",
    "Processes",
    "Regularizer",
    "SparseTraining",
    "TrainResult",
    "WeightAverage",
    "as_float32",
    "carry_optimizer_",
    "epochs_done",
    "find_processes",
    "holds_run",
    "make_regularizer",
    "mixed",
    "train",
]
