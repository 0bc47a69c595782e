"""Sparse training: what pulls channels towards zero while a network learns, so that they can go."""

from sapwood.training.regularizers.base import REGULARIZERS, Coupled, Regularizer, make_regularizer
from sapwood.training.regularizers.group_lasso import GroupLasso
from sapwood.training.regularizers.group_norm import GroupNorm
from sapwood.training.regularizers.growing import Growing
from sapwood.training.regularizers.slimming import Slimming

__all__ = [
    "REGULARIZERS",
    "Coupled",
    "GroupLasso",
    "GroupNorm",
    "Growing",
    "Regularizer",
    "Slimming",
    "make_regularizer",
]
