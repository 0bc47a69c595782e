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

from sapwood.graph import Analysis
from sapwood.models import Rescale
from sapwood.ops import Call, TensorRef
from sapwood.removal.beside import ScalarChange
from sapwood.removal.widths import Expectation


def attention_changes(analysis: Analysis, expectation: Expectation) -> list[ScalarChange]:
    """Fused attention that takes its scale from the head width, where that width shrinks."""
    changes = []
    for call in analysis.graph.calls:
        if call.facts.is_attention and call.kwargs.get("scale") is None:
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
        if call.facts.adds and isinstance(call.args[1], TensorRef) and call.args[1].id in names:
            biases.append(names[call.args[1].id])
        elif _is_product_of_values(call, names, makers):
            path.clear()
            biases.clear()
        elif not call.facts.moves and not (call.facts.scales and _is_scalar(call.args[1])):
            break
        path.append((call, tensor))
        tensor = call.args[0]
        call = makers.of(tensor, call.index)
    found = _parameters_of(names, call, makers) if call is not None else None
    if call is None or found is None:
        return None
    own, dim = found
    path = [step for step in path if not step[0].facts.is_product]
    rows = _rows(call, dim, path[::-1])
    whole = [ParameterPart(name, 0, int(rows[-1]) + 1) for name in biases] if rows else []
    rescales = []
    for part in own + whole:
        inside = tuple(row - part.start for row in rows if part.start <= row < part.stop)
        if inside:
            rescales.append(Rescale(part.name, inside, change.factor))
    return tuple(rescales)


@dataclass(frozen=True)
class ParameterPart:
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


def _is_product_of_values(call: Call, names: Mapping[int, str], makers: _Makers) -> bool:
    """Whether a call multiplies two values of the run, so that its result scales with the first."""
    if not call.facts.is_product or call.bias is not None:
        return False
    return _turned_back(call, names, makers).id not in names


def _turned_back(call: Call, names: Mapping[int, str], makers: _Makers) -> TensorRef:
    """The second factor of a product, as it was before it was transposed."""
    assert call.facts.sum is not None
    weight: TensorRef = call.args[call.facts.sum.weight]
    maker = makers.of(weight, call.index)
    turned = weight.id not in names and maker is not None and maker.facts.turns
    return maker.args[0] if turned and maker is not None else weight


def _parameters_of(names: Mapping[int, str], call: Call, makers: _Makers) -> tuple[list[ParameterPart], int] | None:
    """The parameters whose dimension 0 is a dimension of the call's output, and that dimension."""
    last, norm = len(call.outputs[0].shape) - 1, call.facts.norm
    tensors: list[TensorRef | None]
    if call.facts.is_product or call.facts.is_convolution:
        tensors, dim = [_turned_back(call, names, makers), call.bias], 1 if call.facts.is_convolution else last
    elif norm is not None:
        tensors, dim = list(call.args[norm.weight : norm.weight + 2]), last if norm.kind == "layer" else 1
    else:
        return None
    parts: list[ParameterPart] = []
    for tensor in tensors:
        if isinstance(tensor, TensorRef):
            found = _parts(names, tensor, call, makers)
            if found is None:
                return None
            parts += found
    return (parts, dim) if parts else None


def _parts(names: Mapping[int, str], tensor: TensorRef, call: Call, makers: _Makers) -> list[ParameterPart] | None:
    """The parameters that ``tensor`` is, or is concatenated from along dimension 0."""
    if tensor.id in names:
        return [ParameterPart(names[tensor.id], 0, tensor.shape[0])]
    maker = makers.of(tensor, call.index)
    if maker is None or not maker.facts.joins or (len(maker.args) > 1 and maker.args[1] != 0):
        return None
    parts, start = [], 0
    for piece in maker.args[0]:
        if piece.id not in names:
            return None
        parts.append(ParameterPart(names[piece.id], start, start + piece.shape[0]))
        start += piece.shape[0]
    return parts


def _rows(start: Call, dim: int, path: list[tuple[Call, TensorRef]]) -> tuple[int, ...]:
    """Which indices of dimension ``dim`` of ``start``'s output arrive at the end of ``path``."""
    output = start.outputs[0]
    shape = [1] * len(output.shape)
    shape[dim] = output.shape[dim]
    labels = torch.arange(output.shape[dim]).reshape(shape).expand(output.shape)
    for call, reached in path:
        if call.facts.scales or call.facts.in_place:
            continue
        op = torch.ops.aten.reshape.default if call.facts.reshapes else call.op
        results = op(labels, *call.args[1:], **dict(call.kwargs))
        results = results if isinstance(results, (list, tuple)) else [results]
        labels = next(value for ref, value in zip(call.outputs, results, strict=True) if ref == reached)
    return tuple(torch.unique(labels).tolist())
