"""Norms that pool over channels: removing channels changes their statistics, whatever the channels held."""

from __future__ import annotations

from typing import Any

from sapwood.compaction.expect import Expectation
from sapwood.graph import Analysis
from sapwood.ops import Call
from sapwood.ops.context import bound

OVER_LAST = frozenset({"aten.native_layer_norm", "aten._fused_rms_norm"})

STATISTICS = frozenset(f"aten.{name}" for name in "mean var std var_mean std_mean norm linalg_vector_norm".split())
"""What norms that are written out by hand are made of."""


def pooled_norms(analysis: Analysis, expectation: Expectation) -> tuple[str, ...]:
    """Names of the modules that take statistics over channels of which some go, in the order they run."""
    changed = [call.module for call in analysis.graph.calls if _changes(call, expectation)]
    return tuple(dict.fromkeys(changed))


def _changes(call: Call, expectation: Expectation) -> bool:
    if call.name == "aten.native_group_norm":
        kept = expectation.rows(call.args[0])[1].reshape(int(call.args[6]), -1)
        return bool((kept.any(axis=1) & ~kept.all(axis=1)).any())
    if call.name in OVER_LAST:
        return not all(rows.all() for rows in expectation.rows(call.args[0])[-len(call.args[1]) :])
    if call.name in STATISTICS:
        rows = expectation.rows(call.args[0])
        dims: Any = bound(call).get("dim")
        chosen = range(len(rows)) if dims is None or dims == [] else dims if isinstance(dims, (list, tuple)) else [dims]
        return not all(rows[dim].all() for dim in chosen)
    return False
