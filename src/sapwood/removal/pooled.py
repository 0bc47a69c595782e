"""Norms that pool over channels: removing channels changes their statistics, whatever the channels held."""

from __future__ import annotations

from collections.abc import Collection

from sapwood.graph import Analysis
from sapwood.ops import Call
from sapwood.removal.widths import Expectation


def pooled_norms(analysis: Analysis, expectation: Expectation, followed: Collection[int] = ()) -> tuple[str, ...]:
    """Names of the modules that take statistics over channels of which some go, in the order they run.

    Args:
        analysis: What hangs on what.
        expectation: What a plan makes of every tensor.
        followed: Indices of the calls that divide by how many channels there are, as a norm written by hand does.
    """
    changed = [call.module for call in analysis.graph.calls if call.index in followed or _changes(call, expectation)]
    return tuple(dict.fromkeys(changed))


def _changes(call: Call, expectation: Expectation) -> bool:
    if not call.facts.statistics:
        return False
    rows, norm = expectation.rows(call.args[0]), call.facts.norm
    if norm is not None and norm.kind == "group":
        kept = rows[1].reshape(int(call.args[call.facts.groups_at or 0]), -1)
        return bool((kept.any(axis=1) & ~kept.all(axis=1)).any())
    return not all(rows[dim].all() for dim in call.facts.pooled_dims(call))
