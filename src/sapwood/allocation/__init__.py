"""Allocation: how many channels each group keeps."""

from sapwood.allocation.blocks import BlockChoice, BlockOption, choose_blocks, only_blocks
from sapwood.allocation.costs import CostState, CostTable, Extent, Term
from sapwood.allocation.equal import equal_sets, equal_slices, settled, together_sets
from sapwood.allocation.factors import held_dims, held_groups
from sapwood.allocation.global_threshold import GlobalThreshold
from sapwood.allocation.granularity import VECTOR, vector_step
from sapwood.allocation.knapsack import Knapsack
from sapwood.allocation.problem import (
    ALLOCATORS,
    Allocation,
    Allocator,
    Problem,
    allowed_widths,
    losses_from_scores,
    merged,
)
from sapwood.allocation.separable import Choice, solve_separable
from sapwood.allocation.shared_widths import Multiple, SharedWidths, shared_widths, split_columns
from sapwood.allocation.uniform import Uniform, uniform
from sapwood.allocation.work import KINDS, Work, channels_table, layer_work, params_table

__all__ = [
    "ALLOCATORS",
    "KINDS",
    "VECTOR",
    "Allocation",
    "Allocator",
    "BlockChoice",
    "BlockOption",
    "Choice",
    "CostState",
    "CostTable",
    "Extent",
    "GlobalThreshold",
    "Knapsack",
    "Multiple",
    "Problem",
    "SharedWidths",
    "Term",
    "Uniform",
    "Work",
    "allowed_widths",
    "channels_table",
    "choose_blocks",
    "equal_sets",
    "equal_slices",
    "held_dims",
    "held_groups",
    "layer_work",
    "losses_from_scores",
    "merged",
    "only_blocks",
    "params_table",
    "settled",
    "shared_widths",
    "solve_separable",
    "split_columns",
    "together_sets",
    "uniform",
    "vector_step",
]
