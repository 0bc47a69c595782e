"""The proof: the compact model against the dense one with the removed channels silenced, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sapwood.errors import CheckFailedError
from sapwood.graph import Analysis, Structure, leaving_no_trace, plain_kernels, run_model
from sapwood.models import apply_plan
from sapwood.removal.blame import scaled_calls
from sapwood.removal.build import Realised
from sapwood.removal.dense import Dense
from sapwood.removal.difference import lively_copy, relative_error, telling
from sapwood.removal.distance import MeasuredWhenAsked, Untouched, finite_error
from sapwood.removal.fading import has_faded, is_deep, other_inputs
from sapwood.removal.pooled import pooled_norms
from sapwood.removal.segments import Segments, segments_of
from sapwood.removal.silenced import MaskedReference, Reference, compact_outputs, reference_outputs
from sapwood.removal.thinned import ThinnedReference, thinned
from sapwood.types import ExampleInputs

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
            difference over the largest output, in float64, on as few pixels as the proof took. It costs one run of the
            untouched model, when it is first looked at; None where that would tell nothing (outputs that vanish,
            numbers of boxes that differ) or was not done, as where the untouched model was trained before.
    """

    max_abs_error: float
    dtype: str
    passed: bool
    pooled_norms: tuple[str, ...] = ()
    distance_from_dense: MeasuredWhenAsked = MeasuredWhenAsked()  # noqa: RUF009 - a descriptor, which all share

    def __getstate__(self) -> dict[str, Any]:
        """Copies hold the figure."""
        return {**vars(self), "_distance_from_dense": self.distance_from_dense}


def verify(dense: Dense, structure: Structure, analysis: Analysis, realised: Realised) -> Verification:
    """Runs the compact model and the masked reference in float64.

    Both run on as few pixels as tell as much (:mod:`sapwood.removal.thinned`); where the model's code does not run on
    those as it did, or they do not show that the two are equal, on the example inputs as they are.

    A chain so deep that signals may fade out in it is proven in segments. Where a segment's results hardly follow what
    it is given, or outputs tell nothing (zeros, or equal to the last bit as those of a model whose outputs do not
    follow its inputs are), both are run once more with other values in the parameters: the cuts are the same.
    """
    small = thinned(dense.inputs, analysis.graph)
    if small is not None:
        with suppress(Exception):  # the model's own code may fail in any way on sizes that it was not given
            found = _verified(_TwoRuns(dense, small, structure, analysis, realised, ThinnedReference))
            if found.passed:
                return found
    return _verified(_TwoRuns(dense, dense.inputs, structure, analysis, realised))


def _verified(proof: _TwoRuns) -> Verification:
    """What two runs on the same inputs tell.

    Raises:
        CheckFailedError: If they tell nothing.
    """
    graph, dense = proof.analysis.graph, proof.dense
    values, cuts = not graph.reads_values, proof.realised.plan.cuts
    deep = bool(values and cuts) and is_deep(graph)
    run, error, fades = proof.in_segments() if deep and proof.is_measured_apart else (None, math.inf, False)
    if run is None or error > PROOF_TOLERANCE:
        run, error = proof.compare(dense.model)
        fades = deep and run.told and proof.fades(run)
    told = run.told
    if fades or (values and (not told or (cuts and error == 0.0 and not run.apart))):
        lively = lively_copy(dense.model)
        try:
            again, error_again = proof.compare(lively, proof.segments() if fades else None)
        except RuntimeError:
            if not told or _runs(lively, proof.inputs):
                raise  # what operators do not take, as chances below zero, says nothing of the cuts
        else:
            if again.told or not told:
                error = max(error, error_again) if told else error_again
            told = told or again.told
    if not told:
        raise CheckFailedError(
            "nothing was compared: what the masked model returns is empty, zero or holds NaN, with other values in its "
            "parameters as well; expected example inputs for which it is not. The model given is unchanged."
        )
    norms = pooled_norms(proof.analysis, proof.realised.expectation, proof.realised.followed)
    return Verification(error, "float64", error <= PROOF_TOLERANCE, norms, proof.distance(run))


def _runs(model: nn.Module, inputs: ExampleInputs) -> bool:
    """Whether a model runs with the values that it has."""
    try:
        with torch.no_grad(), leaving_no_trace(model), plain_kernels(model):
            run_model(model, inputs)
    except Exception:  # the model's own code
        return False
    return True


class _Run(NamedTuple):
    """A compact model that was run beside a reference.

    Attributes:
        model: The model.
        found: What it returned.
        told: Whether comparing that can tell anything.
        reference: What it was compared with.
        apart: Whether what it returned is not what the model returns: values were written over on the way, or it did
            not run.
    """

    model: nn.Module
    found: list[Tensor]
    told: bool
    reference: Reference
    apart: bool = False


@dataclass(frozen=True)
class _TwoRuns:
    """Two runs that are compared, and on what."""

    dense: Dense
    inputs: ExampleInputs
    structure: Structure
    analysis: Analysis
    realised: Realised
    kind: type[MaskedReference] = MaskedReference

    def compare(self, model: nn.Module, segments: Segments | None = None) -> tuple[_Run, float]:
        """Runs the compact ``model``, and tells how far it is from the masked one.

        Where all was float64 by itself in the masked one, nothing looks after that in the compact one, unless it then
        fails or differs: it may have taken another way through the code. Where the masked one returns nothing that can
        be compared, the compact one does not run, for other values in the parameters will be tried.
        """
        reference = reference_outputs(
            model,
            self.inputs,
            self.analysis,
            self.realised.expectation,
            self.structure.decisions,
            followed=self.realised.followed,
            kind=self.kind,
            segments=segments,
        )
        told = telling(reference.outputs)
        if not told and segments is None and self.is_measured_apart and not self.analysis.graph.reads_values:
            return _Run(model, [], told, reference, apart=True), math.inf
        plan = self.realised.plan
        compact = self.dense.compact(plan) if model is self.dense.model else apply_plan(model, plan)
        if reference.all_double:
            with suppress(Exception), leaving_no_trace(compact, self.analysis.graph.written):
                found, error = self._against(reference, compact, all_double=True, segments=segments)
                if error <= PROOF_TOLERANCE:
                    return _Run(compact, found, told, reference), error
        found, error = self._against(reference, compact, all_double=False, segments=segments)
        return _Run(compact, found, told, reference), error

    def segments(self) -> Segments:
        """Where both runs are given new values, and are compared."""
        return segments_of(self.analysis.graph, scaled_calls(self.analysis, self.realised))

    def _against(
        self, reference: Reference, compact: nn.Module, *, all_double: bool, segments: Segments | None
    ) -> tuple[list[Tensor], float]:
        """What the compact model returns, and how far that is from the masked one."""
        graph = self.analysis.graph
        if segments is not None:
            segments.found.clear()
        found = compact_outputs(
            compact,
            self.inputs,
            graph,
            self.structure.decisions,
            self.realised.expectation,
            draws=reference.draws,
            all_double=all_double,
            segments=segments,
        )
        between: tuple[list[Tensor], list[Tensor]] = ([], []) if segments is None else (segments.found, segments.wanted)
        error = relative_error(found + between[0], reference.outputs + between[1], answers=len(graph.outputs))
        return found, error

    @property
    def is_measured_apart(self) -> bool:
        """Whether what the model returns can be measured by runs of its own, later and only if somebody asks."""
        return not self.analysis.graph.draws and not self.structure.outputs

    def in_segments(self) -> tuple[_Run, float, bool]:
        """Runs both in segments: how far they are apart, and whether a segment hardly follows what it is given."""
        segments = self.segments()
        run, error = self.compare(self.dense.model, segments)
        run = run._replace(apart=True)
        return run, error, run.told and error <= PROOF_TOLERANCE and self.fades(run, segments)

    def fades(self, run: _Run, segments: Segments | None = None) -> bool:
        """Whether what the compact model returns, or a segment of it makes, hardly follows what it is given."""
        others = None if segments is None else segments.others()
        other = compact_outputs(
            run.model,
            other_inputs(self.inputs),
            self.analysis.graph,
            self.structure.decisions,
            self.realised.expectation,
            draws=run.reference.draws,
            all_double=run.reference.all_double,
            segments=others,
        )
        if segments is None or others is None:
            return has_faded(run.found, other)
        return has_faded(run.found + segments.found, other + others.found)

    def distance(self, run: _Run) -> float | Callable[[], float | None] | None:
        """How far the compact model is from the untouched one, or what measures it."""
        graph, dense = self.analysis.graph, self.dense
        if graph.reads_values:
            return None
        counted = [ref.id not in graph.resizable for ref in graph.outputs]
        if graph.draws:
            again = compact_outputs(
                dense.model, self.inputs, graph, self.structure.decisions, draws=run.reference.draws
            )
            return finite_error(run.found, again, counted)
        if self.structure.outputs and self.inputs is dense.inputs:  # as it was recorded
            return finite_error(run.found, list(self.structure.outputs), counted)
        plan = self.realised.plan
        return Untouched(dense.given, self.inputs, plan if run.apart else run.found, counted)


def unproven(dense: Dense, structure: Structure, analysis: Analysis, realised: Realised) -> Verification:
    """Takes a plan as right, for models that are only timed."""
    del dense, structure, analysis, realised
    return Verification(math.nan, "none", passed=True)
