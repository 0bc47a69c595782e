"""Which widths a number in the code was made from."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sapwood.graph import Analysis
from sapwood.ops import Call, TensorRef
from sapwood.removal.code_numbers import NumberChange
from sapwood.removal.widths import Expectation


@dataclass(frozen=True)
class Width:
    """A dimension of a tensor of a call.

    Attributes:
        call: The call.
        number: Which tensor, of those it reads and then those it makes.
        dim: Which dimension of it.
    """

    call: Call
    number: int
    dim: int


POWERS = (1.0, -1.0, 0.5, -0.5, 2.0, -2.0)
"""How numbers in code follow from a width."""


def widths_behind(analysis: Analysis, expectation: Expectation, change: NumberChange) -> tuple[Width, ...]:
    """The dimensions that a number was most likely made from: of the nearest call before that has such."""
    calls = analysis.graph.calls[: change.call.index + 1][::-1]
    own = [call for call in calls if call.modules == change.call.modules]
    inside = [call for call in calls if call.modules[: len(change.call.modules)] == change.call.modules]
    for fits in (_is_power, _has_ratio):
        for call in (*own, *inside):
            found = [
                Width(call, number, dim)
                for number, ref in enumerate((*call.tensor_inputs(), *call.tensor_outputs()))
                for dim, (old, new) in enumerate(zip(ref.shape, expectation.shape(ref), strict=True))
                if old != new and fits(old, new, change)
            ]
            if found:
                return tuple(found)
    return ()


def _is_power(old: int, new: int, change: NumberChange) -> bool:
    if not old or not new:
        return False
    pairs = [(old**power, new**power) for power in POWERS] + [(old - 1.0, new - 1.0)]
    return any(
        math.isclose(change.before, a, rel_tol=1e-6) and math.isclose(change.after, b, rel_tol=1e-6) for a, b in pairs
    )


def _has_ratio(old: int, new: int, change: NumberChange) -> bool:
    if not change.after or not change.before or change.before / change.after <= 0:
        return False
    ratio = change.before / change.after
    return any(math.isclose(ratio, (old / new) ** power, rel_tol=1e-6) for power in POWERS)


def counts_what_is_summed(analysis: Analysis, expectation: Expectation, change: NumberChange) -> bool:
    """Whether a number divides a sum by how many are summed (or one less): a mean by hand, taken over what is kept."""
    call = change.call
    if call.facts.scales is None or not isinstance(call.args[0], TensorRef):
        return False
    maker = _maker_of_sum(analysis, call)
    if maker is None or not maker.facts.pools:
        return False
    source, dims = maker.args[0], maker.facts.pooled_dims(maker)
    old, new = (math.prod(shape[dim] for dim in dims) for shape in (source.shape, expectation.shape(source)))
    power = 1.0 if call.facts.scales == "over" else -1.0
    pairs = [(old**power, new**power), ((old - 1.0) ** power, max(new - 1.0, 0.5) ** power)]
    return old != new and any(
        math.isclose(change.before, a, rel_tol=1e-6) and math.isclose(change.after, b, rel_tol=1e-6) for a, b in pairs
    )


def _maker_of_sum(analysis: Analysis, call: Call) -> Call | None:
    """The sum that a call reads, through calls that only move it."""
    wanted: TensorRef = call.args[0]
    for maker in reversed(analysis.graph.calls[: call.index]):
        if any(output.id == wanted.id for output in maker.tensor_outputs()):
            if maker.facts.adds_up:
                return maker
            if not maker.facts.moves:
                return None
            wanted = maker.args[0]
    return None
