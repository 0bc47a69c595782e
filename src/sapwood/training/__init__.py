"""Training: one loop for every task, sparse where wanted, alone or in several processes, and resumable."""

from sapwood.training.optimizer import carry_optimizer_
from sapwood.training.processes import Processes, find_processes
from sapwood.training.train import TrainResult, train

__all__ = ["Processes", "TrainResult", "carry_optimizer_", "find_processes", "train"]
