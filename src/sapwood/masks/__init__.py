"""Masks on weights: the methods of ``torch.nn.utils.prune``, over a chosen set of layers and parameters."""

import warnings
from typing import Any

from sapwood.masks.apply import MaskedParameter, MaskRecord, apply_masks_, remove_masks_
from sapwood.masks.budgets import BUDGETS, lamp_scores
from sapwood.masks.case import METHODS, MaskCase, MaskMethod
from sapwood.masks.custom import read_masks
from sapwood.masks.methods import L1Unstructured, LnStructured, RandomStructured, RandomUnstructured
from sapwood.masks.patterns import Block, NOfM, Pattern, Unstructured, parse_pattern
from sapwood.masks.scored import Scored
from sapwood.masks.select import keep_largest, lowest_units, num_kept
from sapwood.masks.slots import Slot, distinct_slots, find_slots, live_hooks, own_name
from sapwood.masks.state import MaskingState, TensorState, masking_state
from sapwood.masks.targets import MaskTarget, Selection, select_targets

__all__ = [
    "BUDGETS",
    "METHODS",
    "Block",
    "L1Unstructured",
    "LnStructured",
    "MaskCase",
    "MaskMethod",
    "MaskRecord",
    "MaskTarget",
    "MaskedParameter",
    "MaskingState",
    "NOfM",
    "Pattern",
    "RandomStructured",
    "RandomUnstructured",
    "Scored",
    "Selection",
    "Slot",
    "TensorState",
    "Unstructured",
    "apply_masks_",
    "distinct_slots",
    "find_slots",
    "keep_largest",
    "lamp_scores",
    "live_hooks",
    "lowest_units",
    "masking_state",
    "num_kept",
    "own_name",
    "parse_pattern",
    "read_masks",
    "remove_masks_",
    "select_targets",
]


def __getattr__(name: str) -> Any:
    """Finds what was renamed, with a warning."""
    if name != "Target":
        raise AttributeError(f"module 'sapwood.masks' has no attribute {name!r}")
    warnings.warn("sapwood.masks.Target is sapwood.masks.MaskTarget now", DeprecationWarning, stacklevel=2)
    return MaskTarget
