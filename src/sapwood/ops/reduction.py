"""Reductions: the reduced dimensions disappear, the others pass."""

from __future__ import annotations

from typing import Any

from sapwood.ops.atoms import fixed_axis
from sapwood.ops.call import Call
from sapwood.ops.context import Context, bound, rule
from sapwood.ops.facts import note

POSITIONAL = frozenset({"aten.argmax", "aten.argmin", "aten.median", "aten.nanmedian"})
"""Reductions whose result names positions, so these may not move."""


def _reduced(call: Call) -> list[int]:
    """The dimensions that a reduction reduces; none where it compares two tensors."""
    values = bound(call)
    rank = len(call.args[0].shape)
    dims = values.get("dim")
    if "other" in values:
        return []
    return list(range(rank)) if dims is None or dims == [] else _normalised(dims, rank)


@rule(
    "mean", "sum", "amax", "amin", "max", "min", "prod", "var", "std", "var_mean", "std_mean", "norm",
    "linalg_vector_norm", "logsumexp", "any", "all", "argmax", "argmin", "median", "nansum",
    "nanmedian", "aminmax", "count_nonzero", "_is_all_true", "_is_any_true",
    spreads="reduced", pools=_reduced,
)  # fmt: skip
def _reduce(context: Context, call: Call) -> None:
    """Reduces over ``dim``, or over everything; indices of a reduced dimension that are read by value are frozen."""
    values = bound(call)
    axes = context.axes(call.args[0])
    if "other" in values:
        joined = context.broadcast(call.tensor_inputs(), call)
        context.set(call.outputs[0], joined)
        return
    chosen = _reduced(call)
    if call.name in POSITIONAL:
        context.fix([axes[dim] for dim in chosen], call)
    keep = bool(values.get("keepdim", False))
    result = [fixed_axis(1) if dim in chosen else axis for dim, axis in enumerate(axes) if keep or dim not in chosen]
    for output in call.tensor_outputs():
        if len(output.shape) == len(result):
            context.set(output, result)


def _normalised(dims: Any, rank: int) -> list[int]:
    listed = dims if isinstance(dims, (list, tuple)) else [dims]
    return [dim % max(rank, 1) for dim in listed]


note(
    "mean", "sum", "nansum", "amax", "amin", "max", "min", "prod", "var", "std", "var_mean", "std_mean", "norm",
    "linalg_vector_norm", "logsumexp", "any", "all", "aminmax", "count_nonzero", "_is_all_true",
    "_is_any_true", on_kept=True,
)  # fmt: skip
note(
    "mean", "var", "std", "var_mean", "std_mean", "norm", "linalg_vector_norm", "logsumexp", "amax", "amin", "max",
    "min", "prod", "all", "aminmax", statistics=True,
)  # fmt: skip
note("argmax", "argmin", "median", "nanmedian", "count_nonzero", chooses=True)
note("max", "min", positions=True)
note("mean", "sum", "amax", "amin", "std", "norm", "linalg_vector_norm", homogeneous="first")
note("sum", "nansum", adds_up=True)
