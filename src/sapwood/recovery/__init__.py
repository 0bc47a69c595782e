"""Training that gives accuracy: from scratch, or after pruning."""

from sapwood.recovery.optimizer import carry_optimizer_
from sapwood.recovery.train import TrainResult, train

__all__ = ["TrainResult", "carry_optimizer_", "train"]
