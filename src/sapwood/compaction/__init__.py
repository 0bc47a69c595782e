"""Compaction: from removed units to a smaller model, proven equal to the masked one."""

from sapwood.compaction.expect import Expectation
from sapwood.compaction.realise import Obstacle, Realised, realise
from sapwood.compaction.verify import compact_outputs, lively_, reference_outputs, relative_error, telling

__all__ = [
    "Expectation",
    "Obstacle",
    "Realised",
    "compact_outputs",
    "lively_",
    "realise",
    "reference_outputs",
    "relative_error",
    "telling",
]
