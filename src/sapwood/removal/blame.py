"""Where a compact model that is not right goes wrong: the first call that makes other values than the masked model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sapwood.graph import Analysis, Decisions, Structure, leaving_no_trace, plain_kernels, run_model
from sapwood.models import apply_plan
from sapwood.ops import Call, leaves
from sapwood.removal.build import Obstacle, Realised, number_obstacle
from sapwood.removal.code_numbers import NumberChange
from sapwood.removal.dense import Dense
from sapwood.removal.difference import lively_copy
from sapwood.removal.rescale import Producers
from sapwood.removal.silenced import MaskedReference, SameDecisions
from sapwood.removal.widths import Expectation
from sapwood.removal.widths_behind import Width, widths_behind

APART = 1e-8
"""Relative to the largest value that a call reads or makes: far above rounding in float64, far below what is wrong."""

SAMPLE = 1 << 14
"""How many values of a tensor are compared, at most."""


def blame(dense: Dense, structure: Structure, analysis: Analysis, realised: Realised) -> Obstacle | None:
    """Finds what stands in the way of a plan whose compact model runs but is not right.

    Where its own values do not show it (embeddings of zeros, before training), other values do, as in the proof.

    Returns:
        The first call that makes other values; None where none does, so that only rounding can tell the models apart.
    """
    found = _blame(dense.model, dense, structure, analysis, realised)
    if found is not None or analysis.graph.reads_values:
        return found
    return _blame(lively_copy(dense.model), dense, structure, analysis, realised)


def _blame(
    model: nn.Module, dense: Dense, structure: Structure, analysis: Analysis, realised: Realised
) -> Obstacle | None:
    """Does it with the values of ``model``."""
    reference = _Remembering(analysis, realised.expectation, structure.decisions, realised.followed)
    with leaving_no_trace(model, structure.graph.written), plain_kernels(model), reference:
        run_model(model, dense.inputs)
    compact = apply_plan(model, realised.plan)
    watch = _Comparing(analysis, realised, structure.decisions, reference)
    with plain_kernels(compact), watch:
        run_model(compact, dense.inputs)
    if watch.found is None:
        return None
    read = {ref.id for ref in watch.found.tensor_inputs()}
    for change, own in realised.undone:
        if read & _scaled(analysis, own)[1]:
            return number_obstacle(analysis, realised.expectation, change)
    reason = f"its values change with a width that is pruned, in {watch.found}"
    return Obstacle(watch.found, False, reason, _widths(analysis, realised.expectation, watch.found, watch.number))


def _scaled(analysis: Analysis, own: Producers) -> tuple[set[int], set[int]]:
    """The calls whose results are scaled, as they should be, and the numbers of all tensors that are."""
    graph = analysis.graph
    named = {**graph.buffers, **graph.parameters}
    tensors = {number for number, names in named.items() if names[0] in own.rows}
    calls = set(own.passed)
    for call in graph.calls:
        if call.facts.moves and any(ref.id in tensors for ref in call.tensor_inputs()):
            calls.add(call.index)
        if call.index in calls:
            tensors.update(ref.id for ref in call.tensor_outputs())
    return calls, tensors


def scaled_calls(analysis: Analysis, realised: Realised) -> frozenset[int]:
    """Indices of the calls that make other values in the compact model, as they should: scaled, or in another order."""
    scaled = {number for _, own in realised.undone for number in _scaled(analysis, own)[0]}
    return frozenset(scaled | {call.index for one in analysis.shuffles.values() for call in one.all_calls})


def _widths(analysis: Analysis, expectation: Expectation, call: Call, number: NumberChange | None) -> tuple[Width, ...]:
    """What is most likely in the way: what a number was made from, or what a call pools."""
    if number is not None:
        return widths_behind(analysis, expectation, number)
    if not call.facts.pools:
        return ()
    rows = expectation.rows(call.tensor_inputs()[0])
    return tuple(Width(call, 0, dim) for dim in call.facts.pooled_dims(call) if not rows[dim].all())


def sample(tensor: Tensor) -> Tensor:
    """Values of a tensor, evenly spread."""
    flat = tensor.detach().reshape(-1)
    return flat[:: -(-len(flat) // SAMPLE) or 1].clone()


class _Remembering(MaskedReference):
    """Keeps of every call what stays of its results."""

    def __init__(
        self, analysis: Analysis, expectation: Expectation, decisions: Decisions, followed: Mapping[int, float]
    ) -> None:
        super().__init__(analysis, expectation, decisions, followed)
        self.seen: dict[int, list[Tensor]] = {}
        self.scale: dict[int, float] = {}

    def make(self, call: Call, func: Any, args: Any, kwargs: Any) -> Any:
        """Makes the call."""
        result = super().make(call, func, args, kwargs)
        made = [leaf for leaf in leaves(result) if isinstance(leaf, Tensor)]
        if not all(map(_comparable, made)):
            return result
        kept = [self._expectation.kept(leaf, ref) for leaf, ref in zip(made, call.tensor_outputs(), strict=True)]
        self.seen[call.index] = [sample(tensor) for tensor in kept]
        self.scale[call.index] = max(map(_largest, leaves((args, kwargs, result))), default=0.0)
        return result


class _Comparing(SameDecisions):
    """Compares each call with what was kept, up to the first that differs."""

    def __init__(self, analysis: Analysis, realised: Realised, decisions: Decisions, reference: _Remembering) -> None:
        super().__init__(analysis.graph, decisions, reference.draws, realised.expectation)
        self.found: Call | None = None
        self.number: NumberChange | None = None
        self._due = realised.expectation
        self._scaled = scaled_calls(analysis, realised)
        self._reference = reference

    def make(self, call: Call, func: Any, args: Any, kwargs: Any) -> Any:
        """Makes the call."""
        result = super().make(call, func, args, kwargs)
        if self.found is None and not call.facts.makes_nothing and call.index not in self._scaled:
            self._compare(call, [leaf for leaf in leaves(result) if isinstance(leaf, Tensor)])
        return result

    def _compare(self, call: Call, made: list[Tensor]) -> None:
        for due, tensor in zip(self._reference.seen.get(call.index, []), made, strict=False):
            found = sample(tensor)
            if not _differ(due, found, self._reference.scale[call.index]):
                continue
            if call.index in self._of_numbers:
                if self.number is None and due.shape == found.shape == (1,):
                    self.number = NumberChange(call, float(due), float(found))
            elif self.number is not None or any(
                map(self._due.changed, (*call.tensor_inputs(), *call.tensor_outputs()))
            ):
                self.found = call
                if self.number is not None:
                    self.number = NumberChange(call, self.number.before, self.number.after)
            return


def _comparable(tensor: Tensor) -> bool:
    """Whether the values of a tensor lie in memory one by one."""
    return tensor.layout is torch.strided and not tensor.is_complex()


def _largest(leaf: Any) -> float:
    if not isinstance(leaf, Tensor) or not _comparable(leaf) or not leaf.is_floating_point() or not leaf.numel():
        return 0.0
    return float(torch.nan_to_num(leaf, 0.0, 0.0, 0.0).abs().max())


def _differ(due: Tensor, found: Tensor, scale: float) -> bool:
    if due.shape != found.shape or not due.is_floating_point():
        return due.shape != found.shape or not torch.equal(due, found)
    return not torch.allclose(due, found, rtol=0.0, atol=APART * scale, equal_nan=True)
