"""Allocation: how many channels each group keeps."""

from sapwood.allocation.factors import held_groups
from sapwood.allocation.uniform import uniform

__all__ = ["held_groups", "uniform"]
