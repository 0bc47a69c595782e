"""Compaction: from removed units to a smaller model, proven equal to the masked one."""

from sapwood.compaction.difference import lively_, relative_error, telling
from sapwood.compaction.expect import Expectation
from sapwood.compaction.kept import Kept
from sapwood.compaction.pooled import pooled_norms
from sapwood.compaction.realise import Obstacle, Realised, realise
from sapwood.compaction.verify import compact_outputs, reference_outputs

__all__ = [
    "Expectation",
    "Kept",
    "Obstacle",
    "Realised",
    "compact_outputs",
    "lively_",
    "pooled_norms",
    "realise",
    "reference_outputs",
    "relative_error",
    "telling",
]
