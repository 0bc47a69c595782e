"""Criteria: what a channel, or a single weight, is worth; larger is kept. One file each."""

from sapwood.criteria import (
    activation_mean,
    apoz,
    bn_scale,
    fisher,
    fisher_activation,
    fpgm,
    lamp,
    movement,
    norm,
    obs,
    random,
    taylor,
    taylor_activation,
    wanda,
)
from sapwood.criteria.criterion import CRITERIA, Criterion, parameters_of
from sapwood.criteria.norm import norm_scores
from sapwood.criteria.obs import BlockObs, compensated, problems_of
from sapwood.criteria.reduce import Normalize, Reduction, slice_sums
from sapwood.criteria.scoring import FALLBACK, GroupScores, make_criterion, score_groups
from sapwood.criteria.view import Members, ModelView, Sums

__all__ = [
    "CRITERIA",
    "FALLBACK",
    "BlockObs",
    "Criterion",
    "GroupScores",
    "Members",
    "ModelView",
    "Normalize",
    "Reduction",
    "Sums",
    "activation_mean",
    "apoz",
    "bn_scale",
    "compensated",
    "fisher",
    "fisher_activation",
    "fpgm",
    "lamp",
    "make_criterion",
    "movement",
    "norm",
    "norm_scores",
    "obs",
    "parameters_of",
    "problems_of",
    "random",
    "score_groups",
    "slice_sums",
    "taylor",
    "taylor_activation",
    "wanda",
]
