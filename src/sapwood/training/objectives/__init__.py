"""What training needs to know of a task, one kind of task a file."""

from sapwood.training.objectives.any_task import AnyLoss, AnyTaskLoss
from sapwood.training.objectives.base import OBJECTIVES, Objective
from sapwood.training.objectives.distilling import Distilling
from sapwood.training.objectives.make import make_objective
from sapwood.training.objectives.pictures import Batch, ClassificationObjective, DetectionObjective

__all__ = [
    "OBJECTIVES",
    "AnyLoss",
    "AnyTaskLoss",
    "Batch",
    "ClassificationObjective",
    "DetectionObjective",
    "Distilling",
    "Objective",
    "make_objective",
]
