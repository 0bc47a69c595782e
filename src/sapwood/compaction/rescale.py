"""Keeps a value as large as it was in the dense model, by scaling the rows of the parameters that produce it.

Attention divides by the square root of the head width. Where code takes that width from the tensor at hand, the
temperature would change when head widths shrink; scaling the query's rows undoes it exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sapwood.compaction.expect import Expectation
from sapwood.compaction.follow import ScalarChange
from sapwood.graph import Analysis
from sapwood.models.plan import Rescale
from sapwood.ops import Call, TensorRef

MOVES = frozenset(
    f"aten.{name}"
    for name in """
    view _unsafe_view reshape transpose t permute select unbind split split_with_sizes slice narrow clone contiguous
    expand unsqueeze squeeze detach alias _to_copy chunk unflatten flatten unsafe_split unsafe_chunk
    """.split()
)
"""Operators that only move values; replayed on labels they tell which rows end up where."""

KEEPS_PLACES = frozenset(
    {"aten._to_copy", "aten.clone", "aten.detach", "aten.alias", "aten.add", "aten.add_", "aten.contiguous"}
)
"""Operators after which every value stands where it stood."""

NORMS = {"aten.native_layer_norm": 2, "aten._fused_rms_norm": 2, "aten.native_batch_norm": 1}
"""Norms, and where their weight and bias stand."""

SCALINGS = frozenset({"aten.mul", "aten.div"})

PRODUCTS = {"aten.addmm": 1, "aten.mm": 0, "aten.linear": 0, "aten.convolution": 0}
"""Operators with a weight, and where their input stands; the weight comes next."""


ATTENTION = frozenset(
    "aten._scaled_dot_product_" + name for name in ("flash_attention_for_cpu", "attention_math", "flash_attention")
)


def attention_changes(analysis: Analysis, expectation: Expectation) -> list[ScalarChange]:
    """Fused attention that takes its scale from the head width, where that width shrinks."""
    changes = []
    for call in analysis.graph.calls:
        if call.name in ATTENTION and call.kwargs.get("scale") is None:
            before, after = call.args[0].shape[-1], expectation.shape(call.args[0])[-1]
            if before != after:
                changes.append(ScalarChange(call, math.sqrt(after / before)))
    return changes


def producers(analysis: Analysis, change: ScalarChange) -> tuple[Rescale, ...] | None:
    """Finds the parameter rows whose scaling scales the first tensor of ``change.call`` by ``change.factor``.

    Returns:
        The rows, or None where the tensor does not come from one linear layer or norm by moving values alone.
    """
    owned = {**analysis.graph.buffers, **analysis.graph.parameters}
    names = {number: own[0] for number, own in owned.items()}
    makers = _Makers(analysis.graph.calls)
    path: list[tuple[Call, TensorRef]] = []
    biases: list[str] = []
    tensor: TensorRef = change.call.args[0]
    call = makers.of(tensor, change.call.index)
    while call is not None:
        if call.name in {"aten.add", "aten.add_"} and isinstance(call.args[1], TensorRef) and call.args[1].id in names:
            biases.append(names[call.args[1].id])
        elif call.name == "aten.bmm":
            path.clear()
            biases.clear()
        elif call.name not in MOVES and not (call.name in SCALINGS and _is_scalar(call.args[1])):
            break
        path.append((call, tensor))
        tensor = call.args[0]
        call = makers.of(tensor, call.index)
    found = _parameters_of(names, call, makers) if call is not None else None
    if call is None or found is None:
        return None
    own, dim = found
    path = [step for step in path if step[0].name != "aten.bmm"]
    rows = _rows(call, dim, path[::-1])
    whole = [Part(name, 0, int(rows[-1]) + 1) for name in biases] if rows else []
    rescales = []
    for part in own + whole:
        inside = tuple(row - part.start for row in rows if part.start <= row < part.stop)
        if inside:
            rescales.append(Rescale(part.name, inside, change.factor))
    return tuple(rescales)


@dataclass(frozen=True)
class Part:
    """A parameter, and where its rows stand in what it was concatenated to (a fused bias), or all of it."""

    name: str
    start: int
    stop: int


class _Makers:
    """Which call last wrote a tensor before another call read it."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self._writes: dict[int, list[Call]] = {}
        for call in calls:
            for output in call.tensor_outputs():
                self._writes.setdefault(output.id, []).append(call)

    def of(self, tensor: TensorRef, before: int) -> Call | None:
        return next((call for call in reversed(self._writes.get(tensor.id, [])) if call.index < before), None)


def _is_scalar(value: Any) -> bool:
    return isinstance(value, (int, float))


def _parameters_of(names: Mapping[int, str], call: Call, makers: _Makers) -> tuple[list[Part], int] | None:
    """The parameters whose dimension 0 is a dimension of the call's output, and that dimension."""
    last = len(call.outputs[0].shape) - 1
    if call.name in PRODUCTS:
        weight = call.args[PRODUCTS[call.name] + 1]
        maker = makers.of(weight, call.index)
        if weight.id not in names and maker is not None and maker.name in {"aten.t", "aten.transpose"}:
            weight = maker.args[0]
        bias = call.args[0] if call.name == "aten.addmm" else (call.args[2] if len(call.args) > 2 else None)
        tensors, dim = [weight, bias], 1 if call.name == "aten.convolution" else last
    elif call.name in NORMS:
        first = NORMS[call.name]
        tensors, dim = list(call.args[first : first + 2]), 1 if call.name == "aten.native_batch_norm" else last
    else:
        return None
    parts: list[Part] = []
    for tensor in tensors:
        if isinstance(tensor, TensorRef):
            found = _parts(names, tensor, call, makers)
            if found is None:
                return None
            parts += found
    return (parts, dim) if parts else None


def _parts(names: Mapping[int, str], tensor: TensorRef, call: Call, makers: _Makers) -> list[Part] | None:
    """The parameters that ``tensor`` is, or is concatenated from along dimension 0."""
    if tensor.id in names:
        return [Part(names[tensor.id], 0, tensor.shape[0])]
    maker = makers.of(tensor, call.index)
    if maker is None or maker.name != "aten.cat" or (len(maker.args) > 1 and maker.args[1] != 0):
        return None
    parts, start = [], 0
    for piece in maker.args[0]:
        if piece.id not in names:
            return None
        parts.append(Part(names[piece.id], start, start + piece.shape[0]))
        start += piece.shape[0]
    return parts


def _rows(start: Call, dim: int, path: list[tuple[Call, TensorRef]]) -> tuple[int, ...]:
    """Which indices of dimension ``dim`` of ``start``'s output arrive at the end of ``path``."""
    output = start.outputs[0]
    shape = [1] * len(output.shape)
    shape[dim] = output.shape[dim]
    labels = torch.arange(output.shape[dim]).reshape(shape).expand(output.shape)
    for call, reached in path:
        if call.name in SCALINGS or call.name in KEEPS_PLACES:
            continue
        op = torch.ops.aten.reshape.default if call.name in {"aten.view", "aten._unsafe_view"} else call.op
        results = op(labels, *call.args[1:], **dict(call.kwargs))
        results = results if isinstance(results, (list, tuple)) else [results]
        labels = next(value for ref, value in zip(call.outputs, results, strict=True) if ref == reached)
    return tuple(torch.unique(labels).tolist())
