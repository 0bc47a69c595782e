"""Weights that are divided by their norm: what the norm loses with input channels, the gain makes up for."""

from __future__ import annotations

from collections.abc import Iterator

from sapwood.graph import Analysis
from sapwood.models import Gain
from sapwood.ops import Call
from sapwood.removal.widths import Expectation


def changed_norms(analysis: Analysis, expectation: Expectation) -> Iterator[tuple[Call, Gain | None]]:
    """Calls that divide a weight by a norm of which a part goes.

    Yields:
        The call, and the gain that keeps its result what it was; None where weight or gain is no parameter, or is used
        with another.
    """
    found: dict[str, Gain] = {}
    for call in analysis.graph.calls:
        if call.facts.gain is None:
            continue
        rows, pooled = expectation.rows(call.args[0]), call.facts.pooled_dims(call)
        if all(rows[dim].all() for dim in pooled):
            continue
        gain = _gain(analysis, call, next(dim for dim in range(len(rows)) if dim not in pooled))
        yield call, gain if gain is None or found.setdefault(gain.tensor, gain) == gain else None


def _gain(analysis: Analysis, call: Call, dim: int) -> Gain | None:
    """The parameters of one call."""
    own = analysis.graph.parameters
    direction, gain = call.args[0].id, call.args[call.facts.gain or 0].id
    return Gain(own[gain][0], own[direction][0], dim) if gain in own and direction in own else None
