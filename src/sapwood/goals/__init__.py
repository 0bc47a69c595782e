"""What pruning is to reach: budgets, what each channel is worth to them, and milliseconds that are measured."""

from sapwood.goals.approach import distance
from sapwood.goals.asked import check_asked, deployment_of
from sapwood.goals.bench import Bench, with_batch
from sapwood.goals.block_budget import AUTO, ONLY, blocks_in_budget
from sapwood.goals.blocks import (
    Depth,
    blocks_to_remove,
    by_budget,
    change_of_outputs,
    check_depth,
    harm_without,
    why_none,
)
from sapwood.goals.calibrating import (
    RecoveryPictures,
    calibrate,
    pictures_without_labels,
    recovery_batches,
    recovery_pictures,
)
from sapwood.goals.chooser import Chooser, Chosen, cost_of
from sapwood.goals.clock import alone, timed
from sapwood.goals.group_keys import group_key
from sapwood.goals.group_sets import Naming, cuts, matching_groups
from sapwood.goals.latency_of_widths import Attempt, Beside, LatencyOutcome, LatencyTarget, frozen_layers
from sapwood.goals.latency_of_zeros import LayerSparsity, SparsityOutcome, mask_to_latency_
from sapwood.goals.layer_samples import layer_samples
from sapwood.goals.milliseconds import latency_of
from sapwood.goals.scoring import Scorer, default_criterion, scorer, scores_by_pictures, weight_scores
from sapwood.goals.sensitivity import (
    BlockLoss,
    Sensitivity,
    SensitivityRow,
    compensation,
    masking_harm,
    sensitivity,
    sensitivity_measure,
    sensitivity_of,
)
from sapwood.goals.targets import Calibration, Deployment, Limits, Target
from sapwood.goals.unseen import unseen_pictures
from sapwood.goals.width_search import find_width_steps
from sapwood.goals.width_steps import GroupMultiple, LayerSteps, WidthSteps, known_steps

__all__ = [
    "AUTO",
    "ONLY",
    "Attempt",
    "Bench",
    "Beside",
    "BlockLoss",
    "Calibration",
    "Chooser",
    "Chosen",
    "Deployment",
    "Depth",
    "GroupMultiple",
    "LatencyOutcome",
    "LatencyTarget",
    "LayerSparsity",
    "LayerSteps",
    "Limits",
    "Naming",
    "RecoveryPictures",
    "Scorer",
    "Sensitivity",
    "SensitivityRow",
    "SparsityOutcome",
    "Target",
    "WidthSteps",
    "alone",
    "blocks_in_budget",
    "blocks_to_remove",
    "by_budget",
    "calibrate",
    "change_of_outputs",
    "check_asked",
    "check_depth",
    "compensation",
    "cost_of",
    "cuts",
    "default_criterion",
    "deployment_of",
    "distance",
    "find_width_steps",
    "frozen_layers",
    "group_key",
    "harm_without",
    "known_steps",
    "latency_of",
    "layer_samples",
    "mask_to_latency_",
    "masking_harm",
    "matching_groups",
    "pictures_without_labels",
    "recovery_batches",
    "recovery_pictures",
    "scorer",
    "scores_by_pictures",
    "sensitivity",
    "sensitivity_measure",
    "sensitivity_of",
    "timed",
    "unseen_pictures",
    "weight_scores",
    "why_none",
    "with_batch",
]
