"""From channels that go to a smaller model: what is cut, which numbers of the code follow, and the proof."""

import warnings
from typing import Any

from sapwood.removal.blocks import Blocks
from sapwood.removal.build import Obstacle, Realised, realise
from sapwood.removal.constraints import Constraints
from sapwood.removal.cuts import make_cuts
from sapwood.removal.dense import Dense, as_float64
from sapwood.removal.described import UnsaidError
from sapwood.removal.difference import lively_, relative_error, telling
from sapwood.removal.layers import ConfigLayer, Layers, Removables, passed_by
from sapwood.removal.not_run import not_read, not_run_notes, trained_notes
from sapwood.removal.planner import Picked, Planner, Select, Solution, resized_outputs, rounds
from sapwood.removal.pooled import pooled_norms
from sapwood.removal.proof import PROOF_TOLERANCE, Verification, unproven, verify
from sapwood.removal.rebuilt import check_described
from sapwood.removal.silenced import compact_outputs, reference_outputs
from sapwood.removal.strays import stray_notes
from sapwood.removal.widths import Expectation, all_kept_draws

__all__ = [
    "PROOF_TOLERANCE",
    "Blocks",
    "ConfigLayer",
    "Constraints",
    "Dense",
    "Expectation",
    "Layers",
    "Obstacle",
    "Picked",
    "Planner",
    "Realised",
    "Removables",
    "Select",
    "Solution",
    "UnsaidError",
    "Verification",
    "all_kept_draws",
    "as_float64",
    "check_described",
    "compact_outputs",
    "lively_",
    "make_cuts",
    "not_read",
    "not_run_notes",
    "passed_by",
    "pooled_norms",
    "realise",
    "reference_outputs",
    "relative_error",
    "resized_outputs",
    "rounds",
    "stray_notes",
    "telling",
    "trained_notes",
    "unproven",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Finds what was renamed, with a warning."""
    if name != "TOLERANCE":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn("sapwood.removal.TOLERANCE is sapwood.removal.PROOF_TOLERANCE now", DeprecationWarning, stacklevel=2)
    return PROOF_TOLERANCE
