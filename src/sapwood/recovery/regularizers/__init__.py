"""Sparse training: what pulls channels towards zero while a network learns, so that they can go."""

from sapwood.recovery.regularizers.base import REGULARIZERS, Coupled, Regularizer, make_regularizer
from sapwood.recovery.regularizers.group_lasso import GroupLasso
from sapwood.recovery.regularizers.group_norm import GroupNorm
from sapwood.recovery.regularizers.growing import Growing
from sapwood.recovery.regularizers.slimming import Slimming

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
