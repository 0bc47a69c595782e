"""Allocation: how many channels each group keeps."""

from sapwood.allocation.costs import CostState, CostTable, Extent, Term
from sapwood.allocation.factors import held_groups
from sapwood.allocation.global_threshold import GlobalThreshold
from sapwood.allocation.knapsack import Knapsack
from sapwood.allocation.problem import (
    ALLOCATORS,
    Allocation,
    Allocator,
    Problem,
    allowed_widths,
    losses_from_scores,
)
from sapwood.allocation.separable import Choice, solve_separable
from sapwood.allocation.uniform import Uniform, uniform

__all__ = [
    "ALLOCATORS",
    "Allocation",
    "Allocator",
    "Choice",
    "CostState",
    "CostTable",
    "Extent",
    "GlobalThreshold",
    "Knapsack",
    "Problem",
    "Term",
    "Uniform",
    "allowed_widths",
    "held_groups",
    "losses_from_scores",
    "solve_separable",
    "uniform",
]
