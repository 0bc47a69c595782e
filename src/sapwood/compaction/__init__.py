"""Compaction: from removed units to a smaller model, proven equal to the masked one."""

from sapwood.compaction.apply import apply_plan
from sapwood.compaction.expect import Expectation
from sapwood.compaction.plan import AttributeEdit, Cut, Plan, Rescale
from sapwood.compaction.realise import Obstacle, Realised, realise
from sapwood.compaction.verify import reference_outputs, relative_error

__all__ = [
    "AttributeEdit",
    "Cut",
    "Expectation",
    "Obstacle",
    "Plan",
    "Realised",
    "Rescale",
    "apply_plan",
    "realise",
    "reference_outputs",
    "relative_error",
]
