"""The calls in order: what the command line's long verbs do, from a loaded model to a written record."""

from sapwood.pipeline.candidates import CANDIDATES, Candidate
from sapwood.pipeline.compacting import Compacted, compact
from sapwood.pipeline.comparison import compare
from sapwood.pipeline.measuring import CompareSettings
from sapwood.pipeline.pictures import first_pictures, read_pictures
from sapwood.pipeline.pruning import Pruned, Target, prune
from sapwood.pipeline.search import TOLERANCE, Verification
from sapwood.pipeline.shrinking import check_inputs, inspect_model, matching_tensors, shrink_describable, shrink_record

__all__ = [
    "CANDIDATES",
    "TOLERANCE",
    "Candidate",
    "Compacted",
    "CompareSettings",
    "Pruned",
    "Target",
    "Verification",
    "check_inputs",
    "compact",
    "compare",
    "first_pictures",
    "inspect_model",
    "matching_tensors",
    "prune",
    "read_pictures",
    "shrink_describable",
    "shrink_record",
]
