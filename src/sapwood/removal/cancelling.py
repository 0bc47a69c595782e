"""Numbers that follow a width and cancel out again, as in ``s * g + (s - s * g)``.

A learned quantiser has a step of one element, and passes its gradient on ``g = 1 / sqrt(width)`` times as large: ``g``
changes with the width, and what is made of it does not. Whether that is so is found by working out the calls on tensors
of one element with values drawn at random, with the dense model's numbers and with the compact one's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sapwood.graph import Analysis
from sapwood.ops import Call, TensorRef, mapped
from sapwood.removal.code_numbers import EQUAL, NumberChange

Pair = tuple[Tensor, Tensor]
"""A value in the dense model and in the compact one."""


def cancelling(analysis: Analysis, changes: Sequence[NumberChange]) -> frozenset[int]:
    """Indices of the calls whose numbers follow a width without any effect on what is made of them.

    All calls on tensors of one element are judged together: where one of them hands on another value, none is returned.
    """
    own: dict[int, list[NumberChange]] = {}
    for change in changes:
        if _is_single(change.call):
            own.setdefault(change.call.index, []).append(change)
    if not own or not _all_settles(analysis, own):
        return frozenset()
    return frozenset(own)


def _all_settles(analysis: Analysis, changes: Mapping[int, Sequence[NumberChange]]) -> bool:
    """Whether no value that differs reaches the outputs, or a call on more than single elements."""
    generator = torch.Generator().manual_seed(0)
    values: dict[int, Pair] = {}
    differing: set[int] = set()
    for call in analysis.graph.calls:
        read = {ref.id for ref in call.tensor_inputs()}
        if not _is_single(call):
            if read & differing:
                return False
            continue
        try:
            made = _made(call, values, changes.get(call.index, ()), generator)
        except Exception:  # an operator that cannot be made anew of numbers alone
            made = None
        if made is None:
            if read & differing or call.index in changes:
                return False
            continue
        (ref,) = call.tensor_outputs()
        values[ref.id] = made
        differing.discard(ref.id)
        if not math.isclose(*map(float, made), rel_tol=EQUAL):
            differing.add(ref.id)
    return not differing.intersection(ref.id for ref in analysis.graph.outputs)


def _is_single(call: Call) -> bool:
    """Whether a call reads and makes floating tensors of one element, and writes over none."""
    refs = [*call.tensor_inputs(), *call.tensor_outputs()]
    plain = not call.op._schema.is_mutable and not call.facts.random and len(call.tensor_outputs()) == 1
    return plain and all(math.prod(ref.shape) == 1 and ref.dtype.is_floating_point for ref in refs)


def _made(
    call: Call, values: dict[int, Pair], changes: Sequence[NumberChange], generator: torch.Generator
) -> Pair | None:
    """What a call makes of the values known so far; those that are not are drawn, the same for both models."""
    after = {change.before: change.after for change in changes}

    def given(leaf: Any, which: int) -> Any:
        if isinstance(leaf, TensorRef):
            if leaf.id not in values:
                drawn = torch.rand(leaf.shape, generator=generator, dtype=torch.float64) + 0.5
                values[leaf.id] = (drawn, drawn)
            return values[leaf.id][which]
        return after.get(leaf, leaf) if which and type(leaf) in {int, float} else leaf

    def worked_out(which: int) -> Any:
        args, kwargs = mapped(lambda leaf: given(leaf, which), (call.args, dict(call.kwargs)))
        return call.op(*args, **kwargs)

    dense, compact = worked_out(0), worked_out(1)
    plain = all(isinstance(one, Tensor) and one.numel() == 1 and not one.is_meta for one in (dense, compact))
    return (dense, compact) if plain else None
