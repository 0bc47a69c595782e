"""Training that gives accuracy: from scratch, or after pruning."""

from sapwood.recovery.train import TrainResult, train

__all__ = ["TrainResult", "train"]
