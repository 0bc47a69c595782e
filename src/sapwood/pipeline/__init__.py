"""The calls in order: from a model to a smaller one, and the records that verbs print."""

import importlib
import warnings
from typing import Any

from sapwood.compaction import Compacted, compact
from sapwood.goals import (
    Attempt,
    Bench,
    Calibration,
    Deployment,
    LatencyOutcome,
    LayerSparsity,
    Limits,
    Scorer,
    Sensitivity,
    SensitivityRow,
    SparsityOutcome,
    Target,
    compensation,
    mask_to_latency_,
    scorer,
    sensitivity,
    sensitivity_measure,
    weight_scores,
    with_batch,
)
from sapwood.models import shrink_describable
from sapwood.pipeline.benching import bench
from sapwood.pipeline.masking import MaskingOutcome, mask_, masking_record, masks_by_pictures
from sapwood.pipeline.pruning import Pruned, prune
from sapwood.pipeline.recovering import recover, recover_masked_
from sapwood.pipeline.shrinking import check_inputs, inspect_model, matching_tensors, shrink_record
from sapwood.pipeline.training import regularizer, training_plugins
from sapwood.removal import PROOF_TOLERANCE, Verification

__all__ = [
    "PROOF_TOLERANCE",
    "Attempt",
    "Bench",
    "Calibration",
    "Compacted",
    "Deployment",
    "LatencyOutcome",
    "LayerSparsity",
    "Limits",
    "MaskingOutcome",
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
    "compensation",
    "inspect_model",
    "mask_",
    "mask_to_latency_",
    "masking_record",
    "masks_by_pictures",
    "matching_tensors",
    "prune",
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

MOVED = {"CANDIDATES", "Candidate", "CompareSettings", "compare", "first_pictures", "read_pictures"}
"""Names that were here before, of :mod:`sapwood.comparing` now."""


def __getattr__(name: str) -> Any:
    """Finds what moved or was renamed, with a warning."""
    if name == "TOLERANCE":
        warnings.warn(
            "sapwood.pipeline.TOLERANCE is sapwood.pipeline.PROOF_TOLERANCE now", DeprecationWarning, stacklevel=2
        )
        return PROOF_TOLERANCE
    if name not in MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"sapwood.pipeline.{name} is sapwood.comparing.{name} now", DeprecationWarning, stacklevel=2)
    return getattr(importlib.import_module("sapwood.comparing"), name)
