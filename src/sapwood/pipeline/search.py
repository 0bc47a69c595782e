"""The search for a plan that a model's code can follow: less and less, where code is in the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from sapwood.compaction import (
    Obstacle,
    Realised,
    compact_outputs,
    lively_,
    pooled_norms,
    realise,
    reference_outputs,
    relative_error,
    telling,
)
from sapwood.compaction.cuts import make_cuts
from sapwood.errors import CheckFailedError
from sapwood.graph import (
    Analysis,
    Structure,
    with_values,
    without_values,
)
from sapwood.models import Cut, apply_plan, copy_model
from sapwood.ops import Axis
from sapwood.pipeline.constraints import Constraints
from sapwood.types import ExampleInputs

TOLERANCE = 1e-9
"""Relative, in float64: rounding of sums over a few thousand terms in another order stays below it."""

MAX_ROUNDS = 40

Select: TypeAlias = Callable[[Analysis], Axis]
"""Which units go."""

Prove: TypeAlias = "Callable[[Dense, Structure, Analysis, Realised], Verification]"
"""Whether what a plan makes is right."""


@dataclass(frozen=True)
class Verification:
    """How far the compact model is from the masked one.

    Attributes:
        max_abs_error: The largest difference over the largest output, both in float64.
        dtype: The type both were run in.
        passed: Whether the error is within :data:`TOLERANCE`.
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


@dataclass(frozen=True)
class Solution:
    """A plan that works, with the analysis it was made on."""

    analysis: Analysis
    realised: Realised
    verification: Verification


class Dense:
    """The model to prune, in float64 and evaluation mode; copied when values are needed for the first time."""

    def __init__(self, model: nn.Module, inputs: ExampleInputs) -> None:
        self._model = model
        self.inputs = as_float64(inputs)

    @cached_property
    def model(self) -> nn.Module:
        """The copy; read only."""
        return copy_model(self._model).eval().to(torch.float64)

    def structure(self, *, values: bool) -> Structure:
        """A recorded run, on shapes alone where the code allows it and ``values`` does not ask for more."""
        found = None if values else without_values(self._model, self.inputs)
        if found is not None:
            return found
        structure = with_values(self.model, self.inputs)
        if structure.graph.reads_values and not telling(list(structure.outputs)):
            lively_(self.model)
            structure = with_values(self.model, self.inputs)
        return structure


class Planner:
    """Plans for one model, one after the other; what its code does not let change is learned once.

    Args:
        model: The model; not touched.
        inputs: Its example inputs.
        frozen: Tensors (``"name"``) or dimensions (``"name[0]"``) that must stay whole, with the reason.
    """

    def __init__(self, model: nn.Module, inputs: ExampleInputs, frozen: Mapping[str, str]) -> None:
        self._dense = Dense(model, inputs)
        self._structure = self._dense.structure(values=False)
        self._constraints = Constraints(frozen)

    def analysis(self) -> Analysis:
        """The channel groups under what is known so far."""
        return self._constraints.analyse(self._structure.graph)

    def solve(self, select: Select, *, prove: Prove | None = None) -> Solution:
        """Finds a plan whose compact model runs and equals the masked one.

        Args:
            select: Picks the units that go, given the groups.
            prove: As for :func:`rounds`; :func:`unproven` finds a plan that runs and asks no more.

        Raises:
            CheckFailedError: If there is none.
        """
        try:
            return rounds(self._dense, self._structure, select, self._constraints, prove=prove)
        except _OtherCallsError:
            self._structure = self._dense.structure(values=True)
            return rounds(self._dense, self._structure, select, self._constraints, prove=prove)


def unproven(dense: Dense, structure: Structure, analysis: Analysis, realised: Realised) -> Verification:
    """Takes a plan as right, for models that are only timed."""
    del dense, structure, analysis, realised
    return Verification(math.nan, "none", passed=True)


class _OtherCallsError(Exception):
    """With values the model makes other calls than without."""


def rounds(
    dense: Dense, structure: Structure, select: Select, constraints: Constraints, *, prove: Prove | None = None
) -> Solution:
    """Selects and realises until nothing is in the way any more.

    Args:
        dense: The model.
        structure: Its recorded run.
        select: Picks the units that go, given the groups.
        constraints: What must stay whole; obstacles that are met are added to it.
        prove: Judges a plan that runs. By default against the dense model with the removed channels silenced, recorded
            again with them at zero where its code reads values; another ``prove`` compares with the model as it is.

    Raises:
        CheckFailedError: If no plan runs, or what one makes is wrong.
    """
    for _ in range(MAX_ROUNDS):
        analysis = constraints.analyse(structure.graph)
        removed = select(analysis)
        if prove is None and structure.graph.reads_values and len(removed):
            structure, analysis, removed = _as_if_removed(dense, constraints, analysis, removed)
        outcome = realise(structure, analysis, removed)
        if isinstance(outcome, Obstacle):
            constraints.add(structure.graph, outcome)
            continue
        try:
            verification = (prove or verify)(dense, structure, analysis, outcome)
        except RuntimeError as error:
            if next(iter(dense.model.parameters())).device == next(iter(structure.model.parameters())).device:
                raise
            raise _OtherCallsError from error
        if verification.passed:
            return Solution(analysis, outcome, verification)
        if outcome.doubt is None:
            raise CheckFailedError(
                f"the compact model differs from the masked one by {verification.max_abs_error:.1e} of the largest "
                f"output; expected at most {TOLERANCE:.0e}. The model given is unchanged."
            )
        constraints.add(structure.graph, outcome.doubt)
    raise CheckFailedError(f"no compact model after {MAX_ROUNDS} rounds; the last obstacle: {constraints.last}")


def _as_if_removed(
    dense: Dense, constraints: Constraints, analysis: Analysis, removed: Axis
) -> tuple[Structure, Analysis, Axis]:
    """Records a model whose code reads values (a detector's boxes) again with the removed channels at zero.

    What it finds, and so the calls it makes, is then what the compact model will find.
    """
    cuts = make_cuts(analysis, removed)
    silenced = copy_model(dense.model)
    silence_(silenced, cuts)
    structure = with_values(silenced, dense.inputs)
    again = constraints.analyse(structure.graph)
    gone = {(cut.tensor, cut.dim): np.isin(np.arange(cut.width), cut.kept, invert=True) for cut in cuts}
    units = [
        unit
        for group in again.groups
        for position, unit in enumerate(group.units)
        if all(
            (member.tensor, member.dim) in gone and gone[member.tensor, member.dim][member.column == position].all()
            for member in group.members
        )
    ]
    return structure, again, np.array(sorted(units), dtype=np.int64)


def silence_(model: nn.Module, cuts: tuple[Cut, ...]) -> None:
    """Sets the slices that ``cuts`` remove from parameters to zero."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for cut in cuts:
            if cut.tensor in parameters:
                gone = sorted(set(range(cut.width)) - set(cut.kept))
                parameters[cut.tensor].index_fill_(cut.dim, torch.tensor(gone), 0.0)


def verify(dense: Dense, structure: Structure, analysis: Analysis, realised: Realised) -> Verification:
    """Runs the compact model and the masked reference in float64.

    Where that tells nothing (outputs of zeros, or equal to the last bit as those of a model whose outputs do not follow
    its inputs are), both are run once more with other values in the parameters: the cuts are the same.
    """
    found, error, told = _compare(dense.model, dense, structure, analysis, realised)
    if not analysis.graph.reads_values and (not told or (error == 0.0 and realised.plan.cuts)):
        lively = copy_model(dense.model)
        lively_(lively)
        _, again, told_again = _compare(lively, dense, structure, analysis, realised)
        error = again if told_again or not told else error
        told = told or told_again
    if not told:
        raise CheckFailedError(
            "nothing was compared: what the masked model returns is empty, zero or holds NaN, with other values in its "
            "parameters as well; expected example inputs for which it is not. The model given is unchanged."
        )
    far = None
    if not analysis.graph.reads_values:
        measured = relative_error(
            found, compact_outputs(dense.model, dense.inputs, analysis.graph, structure.decisions)
        )
        far = measured if math.isfinite(measured) else None
    norms = pooled_norms(analysis, realised.expectation)
    return Verification(error, "float64", error <= TOLERANCE, norms, far)


def _compare(
    model: nn.Module, dense: Dense, structure: Structure, analysis: Analysis, realised: Realised
) -> tuple[list[Tensor], float, bool]:
    """What the compact ``model`` returns, how far that is from the masked one, and whether comparing them can tell."""
    inputs, decisions, expectation = dense.inputs, structure.decisions, realised.expectation
    wanted = reference_outputs(model, inputs, analysis, expectation, decisions)
    found = compact_outputs(apply_plan(model, realised.plan), inputs, analysis.graph, decisions, expectation)
    return found, relative_error(found, wanted), telling(wanted)


def as_float64(inputs: ExampleInputs) -> ExampleInputs:
    """Example inputs with floating types widened."""

    def convert(leaf: Any) -> Any:
        return leaf.to(torch.float64) if isinstance(leaf, Tensor) and leaf.dtype.is_floating_point else leaf

    return tree_map(convert, inputs)  # type: ignore[no-any-return]
