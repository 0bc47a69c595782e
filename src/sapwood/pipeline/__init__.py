"""The calls in order: from a model to a smaller one, and the records that verbs print."""

import importlib
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sapwood.compaction import Compacted, compact
    from sapwood.goals import (  # type: ignore[no-redef]  # a function named as its file
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
        scores_by_pictures,
        sensitivity,
        sensitivity_measure,
        weight_scores,
        with_batch,
    )
    from sapwood.models import shrink_describable
    from sapwood.pipeline.benching import bench
    from sapwood.pipeline.compiling import compiled_figures
    from sapwood.pipeline.depth import block_plans
    from sapwood.pipeline.judging import measured_agreement
    from sapwood.pipeline.low_rank import OfTwo, two_layers
    from sapwood.pipeline.masking import MaskingOutcome, mask_, masking_record, masks_by_pictures, settled_method
    from sapwood.pipeline.pruning import Pruned, prune
    from sapwood.pipeline.quantising import Int8File, Int8Options, export_int8
    from sapwood.pipeline.recovering import recover, recover_masked_
    from sapwood.pipeline.running import on_runtime
    from sapwood.pipeline.shrinking import check_inputs, inspect_model, matching_tensors, measure_widths, shrink_record
    from sapwood.pipeline.training import regularizer, training_plugins
    from sapwood.removal import PROOF_TOLERANCE, Verification

_HOMES = {
    "Compacted": "sapwood.compaction",
    "compact": "sapwood.compaction",
    "Attempt": "sapwood.goals",
    "Bench": "sapwood.goals",
    "Calibration": "sapwood.goals",
    "Deployment": "sapwood.goals",
    "LatencyOutcome": "sapwood.goals",
    "LayerSparsity": "sapwood.goals",
    "Limits": "sapwood.goals",
    "Scorer": "sapwood.goals",
    "Sensitivity": "sapwood.goals",
    "SensitivityRow": "sapwood.goals",
    "SparsityOutcome": "sapwood.goals",
    "Target": "sapwood.goals",
    "compensation": "sapwood.goals",
    "mask_to_latency_": "sapwood.goals",
    "scorer": "sapwood.goals",
    "scores_by_pictures": "sapwood.goals",
    "sensitivity": "sapwood.goals",
    "sensitivity_measure": "sapwood.goals",
    "weight_scores": "sapwood.goals",
    "with_batch": "sapwood.goals",
    "shrink_describable": "sapwood.models",
    "bench": "sapwood.pipeline.benching",
    "compiled_figures": "sapwood.pipeline.compiling",
    "measured_agreement": "sapwood.pipeline.judging",
    "OfTwo": "sapwood.pipeline.low_rank",
    "two_layers": "sapwood.pipeline.low_rank",
    "MaskingOutcome": "sapwood.pipeline.masking",
    "mask_": "sapwood.pipeline.masking",
    "masking_record": "sapwood.pipeline.masking",
    "masks_by_pictures": "sapwood.pipeline.masking",
    "settled_method": "sapwood.pipeline.masking",
    "Pruned": "sapwood.pipeline.pruning",
    "block_plans": "sapwood.pipeline.depth",
    "prune": "sapwood.pipeline.pruning",
    "Int8File": "sapwood.pipeline.quantising",
    "Int8Options": "sapwood.pipeline.quantising",
    "export_int8": "sapwood.pipeline.quantising",
    "on_runtime": "sapwood.pipeline.running",
    "recover": "sapwood.pipeline.recovering",
    "recover_masked_": "sapwood.pipeline.recovering",
    "check_inputs": "sapwood.pipeline.shrinking",
    "inspect_model": "sapwood.pipeline.shrinking",
    "matching_tensors": "sapwood.pipeline.shrinking",
    "measure_widths": "sapwood.pipeline.shrinking",
    "shrink_record": "sapwood.pipeline.shrinking",
    "regularizer": "sapwood.pipeline.training",
    "training_plugins": "sapwood.pipeline.training",
    "PROOF_TOLERANCE": "sapwood.removal",
    "Verification": "sapwood.removal",
}
"""Where each name is from: they load on first use, so that who prunes does not wait for what trains and reports."""

__all__ = [
    "PROOF_TOLERANCE",
    "Attempt",
    "Bench",
    "Calibration",
    "Compacted",
    "Deployment",
    "Int8File",
    "Int8Options",
    "LatencyOutcome",
    "LayerSparsity",
    "Limits",
    "MaskingOutcome",
    "OfTwo",
    "Pruned",
    "Scorer",
    "Sensitivity",
    "SensitivityRow",
    "SparsityOutcome",
    "Target",
    "Verification",
    "bench",
    "block_plans",
    "check_inputs",
    "compact",
    "compensation",
    "compiled_figures",
    "export_int8",
    "inspect_model",
    "mask_",
    "mask_to_latency_",
    "masking_record",
    "masks_by_pictures",
    "matching_tensors",
    "measure_widths",
    "measured_agreement",
    "on_runtime",
    "prune",
    "recover",
    "recover_masked_",
    "regularizer",
    "scorer",
    "scores_by_pictures",
    "sensitivity",
    "sensitivity_measure",
    "settled_method",
    "shrink_describable",
    "shrink_record",
    "training_plugins",
    "two_layers",
    "weight_scores",
    "with_batch",
]

MOVED = {"CANDIDATES", "Candidate", "CompareSettings", "compare", "first_pictures", "read_pictures"}
"""Names that were here before, of :mod:`sapwood.comparing` now."""


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """Loads a name, or finds what moved or was renamed, with a warning."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name == "TOLERANCE":
        warnings.warn(
            "sapwood.pipeline.TOLERANCE is sapwood.pipeline.PROOF_TOLERANCE now", DeprecationWarning, stacklevel=2
        )
        return importlib.import_module("sapwood.removal").PROOF_TOLERANCE
    if name not in MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"sapwood.pipeline.{name} is sapwood.comparing.{name} now", DeprecationWarning, stacklevel=2)
    return getattr(importlib.import_module("sapwood.comparing"), name)
