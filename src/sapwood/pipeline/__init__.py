"""The calls in order: what the command line's long verbs do, from a loaded model to a written record."""

from sapwood.pipeline.benching import bench
from sapwood.pipeline.candidates import CANDIDATES, Candidate
from sapwood.pipeline.compacting import Compacted, compact
from sapwood.pipeline.comparison import compare
from sapwood.pipeline.latency_target import Attempt, LatencyOutcome
from sapwood.pipeline.layer_samples import Bench, with_batch
from sapwood.pipeline.mask_latency import LayerSparsity, SparsityOutcome, mask_to_latency_
from sapwood.pipeline.measuring import CompareSettings
from sapwood.pipeline.pictures import first_pictures, read_pictures
from sapwood.pipeline.pruning import Pruned, prune
from sapwood.pipeline.recovering import recover, recover_masked_
from sapwood.pipeline.scoring import Scorer, scorer, weight_scores
from sapwood.pipeline.search import TOLERANCE, Verification
from sapwood.pipeline.sensitivity import Sensitivity, SensitivityRow, compensation, sensitivity, sensitivity_measure
from sapwood.pipeline.shrinking import check_inputs, inspect_model, matching_tensors, shrink_describable, shrink_record
from sapwood.pipeline.targets import Calibration, Deployment, Limits, Target
from sapwood.pipeline.training import regularizer, training_plugins

__all__ = [
    "CANDIDATES",
    "TOLERANCE",
    "Attempt",
    "Bench",
    "Calibration",
    "Candidate",
    "Compacted",
    "CompareSettings",
    "Deployment",
    "LatencyOutcome",
    "LayerSparsity",
    "Limits",
    "Pruned",
    "Scorer",
    "Sensitivity",
    "SensitivityRow",
    "SparsityOutcome",
    "Target",
    "Verification",
    "bench",
    "check_inputs",
    "compact",
    "compare",
    "compensation",
    "first_pictures",
    "inspect_model",
    "mask_to_latency_",
    "matching_tensors",
    "prune",
    "read_pictures",
    "recover",
    "recover_masked_",
    "regularizer",
    "scorer",
    "sensitivity",
    "sensitivity_measure",
    "shrink_describable",
    "shrink_record",
    "training_plugins",
    "weight_scores",
    "with_batch",
]
