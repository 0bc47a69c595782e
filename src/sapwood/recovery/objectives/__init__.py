"""What training needs to know of a task, one kind of task a file."""

from sapwood.recovery.objectives.any_task import AnyLoss, AnyTaskLoss
from sapwood.recovery.objectives.base import OBJECTIVES, Objective
from sapwood.recovery.objectives.distilling import Distilling
from sapwood.recovery.objectives.make import make_objective
from sapwood.recovery.objectives.pictures import Batch, ClassificationObjective, DetectionObjective

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
