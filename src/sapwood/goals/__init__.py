"""What pruning is to reach: budgets, what each channel is worth to them, and milliseconds that are measured."""

from sapwood.goals.asked import check_asked, deployment_of
from sapwood.goals.blocks import Depth, blocks_to_remove, change_of_outputs, check_depth, harm_without
from sapwood.goals.calibrating import calibrate, pictures_without_labels
from sapwood.goals.chooser import Chooser, Chosen, cost_of, group_key
from sapwood.goals.clock import alone
from sapwood.goals.group_sets import cuts, matching_groups
from sapwood.goals.latency_of_widths import Attempt, LatencyOutcome, LatencyTarget, frozen_layers
from sapwood.goals.latency_of_zeros import LayerSparsity, SparsityOutcome, mask_to_latency_
from sapwood.goals.layer_samples import Bench, layer_samples, with_batch
from sapwood.goals.milliseconds import latency_of
from sapwood.goals.scoring import Scorer, scorer, weight_scores
from sapwood.goals.sensitivity import (
    Sensitivity,
    SensitivityRow,
    compensation,
    masking_harm,
    sensitivity,
    sensitivity_measure,
    sensitivity_of,
)
from sapwood.goals.targets import Calibration, Deployment, Limits, Target

__all__ = [
    "Attempt",
    "Bench",
    "Calibration",
    "Chooser",
    "Chosen",
    "Deployment",
    "Depth",
    "LatencyOutcome",
    "LatencyTarget",
    "LayerSparsity",
    "Limits",
    "Scorer",
    "Sensitivity",
    "SensitivityRow",
    "SparsityOutcome",
    "Target",
    "alone",
    "blocks_to_remove",
    "calibrate",
    "change_of_outputs",
    "check_asked",
    "check_depth",
    "compensation",
    "cost_of",
    "cuts",
    "deployment_of",
    "frozen_layers",
    "group_key",
    "harm_without",
    "latency_of",
    "layer_samples",
    "mask_to_latency_",
    "masking_harm",
    "matching_groups",
    "pictures_without_labels",
    "scorer",
    "sensitivity",
    "sensitivity_measure",
    "sensitivity_of",
    "weight_scores",
    "with_batch",
]
