"""The proof: the compact model against the dense one with the removed channels silenced, in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import compress

from torch import Tensor, nn

from sapwood.errors import CheckFailedError
from sapwood.graph import Analysis, Draws, Structure
from sapwood.models import apply_plan
from sapwood.removal.build import Realised
from sapwood.removal.dense import Dense
from sapwood.removal.difference import lively_copy, relative_error, telling
from sapwood.removal.pooled import pooled_norms
from sapwood.removal.silenced import compact_outputs, reference_outputs

PROOF_TOLERANCE = 1e-9
"""Relative, in float64: rounding of sums over a few thousand terms in another order stays below it."""


@dataclass(frozen=True)
class Verification:
    """How far the compact model is from the masked one.

    Attributes:
        max_abs_error: The largest difference over the largest output, both in float64.
        dtype: The type both were run in.
        passed: Whether the error is within :data:`PROOF_TOLERANCE`.
        pooled_norms: The modules whose norms pool over channels of which some went: their statistics, and so what is
            kept, differ from the dense model's. Both sides of the comparison take them over the kept channels.
        distance_from_dense: How far the compact model is from the untouched one on the example inputs: the largest
            difference over the largest output, in float64. It costs one run of the untouched model; None where that
            would tell nothing (outputs that vanish, numbers of boxes that differ) or was not done.
    """

    max_abs_error: float
    dtype: str
    passed: bool
    pooled_norms: tuple[str, ...] = ()
    distance_from_dense: float | None = None


def verify(dense: Dense, structure: Structure, analysis: Analysis, realised: Realised) -> Verification:
    """Runs the compact model and the masked reference in float64.

    Where that tells nothing (outputs of zeros, or equal to the last bit as those of a model whose outputs do not follow
    its inputs are), both are run once more with other values in the parameters: the cuts are the same.
    """
    found, error, told, draws = _compare(dense.model, dense, structure, analysis, realised)
    if not analysis.graph.reads_values and (not told or (error == 0.0 and realised.plan.cuts)):
        _, again, told_again, _ = _compare(lively_copy(dense.model), dense, structure, analysis, realised)
        error = again if told_again or not told else error
        told = told or told_again
    if not told:
        raise CheckFailedError(
            "nothing was compared: what the masked model returns is empty, zero or holds NaN, with other values in its "
            "parameters as well; expected example inputs for which it is not. The model given is unchanged."
        )
    far = None
    if not analysis.graph.reads_values:
        whole = _whole_outputs(dense, structure, analysis, draws)
        counted = [ref.id not in analysis.graph.resizable for ref in analysis.graph.outputs]
        measured = relative_error(list(compress(found, counted)), list(compress(whole, counted)))
        far = measured if math.isfinite(measured) else None
    norms = pooled_norms(analysis, realised.expectation, realised.followed)
    return Verification(error, "float64", error <= PROOF_TOLERANCE, norms, far)


def _whole_outputs(dense: Dense, structure: Structure, analysis: Analysis, draws: Draws) -> list[Tensor]:
    """What the untouched model returns: as it was recorded, if it was on values, or by another run."""
    if structure.outputs and not analysis.graph.draws:
        return list(structure.outputs)
    return compact_outputs(dense.model, dense.inputs, analysis.graph, structure.decisions, draws=draws)


def _compare(
    model: nn.Module, dense: Dense, structure: Structure, analysis: Analysis, realised: Realised
) -> tuple[list[Tensor], float, bool, Draws]:
    """What the compact ``model`` returns, how far that is from the masked one, whether that can tell, and the draws."""
    inputs, decisions, expectation = dense.inputs, structure.decisions, realised.expectation
    wanted, draws = reference_outputs(model, inputs, analysis, expectation, decisions, followed=realised.followed)
    compact = apply_plan(model, realised.plan)
    found = compact_outputs(compact, inputs, analysis.graph, decisions, expectation, draws=draws)
    return found, relative_error(found, wanted, answers=len(analysis.graph.outputs)), telling(wanted), draws


def unproven(dense: Dense, structure: Structure, analysis: Analysis, realised: Realised) -> Verification:
    """Takes a plan as right, for models that are only timed."""
    del dense, structure, analysis, realised
    return Verification(math.nan, "none", passed=True)
