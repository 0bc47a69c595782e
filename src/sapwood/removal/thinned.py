"""Smaller example inputs that prove as much: fewer pictures of fewer pixels, met by the same calls.

That no channel is lost or mixed up is a matter of channels. A convolution does the same to every position of a map, so
that a map on which every place of its windows still meets a value tells as much as one with fifty times the
positions. What that takes is checked while the dense model runs: the same calls with the same numbers; every dimension
of which something goes as wide as it was; nothing shrunk to a single position; no map smaller than the windows that
read it. That sizes follow on the example inputs as they are has been checked before, call by call.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from sapwood.graph import OtherCallsError
from sapwood.models import map_tensors
from sapwood.ops import Call, Graph, TensorRef, floats_of, leaves, spans
from sapwood.removal.silenced import MaskedReference
from sapwood.types import ExampleInputs

STEP = 32
"""Sides of pictures are shortened by multiples of this, so that code which halves them finds what it found."""

SMALLEST = 64
"""Sides are not made shorter than that: smaller pictures cost nothing to speak of."""

FEW = 2
"""Pictures of a batch that are enough: one more than such as code may take for none."""

WORTH = 0.6
"""A run on more than this fraction of the pixels is not worth the risk that it tells nothing."""


def thinned(inputs: ExampleInputs, graph: Graph) -> ExampleInputs | None:
    """Example inputs with fewer pictures, and fewer rows and columns of these; None where that saves nothing.

    Args:
        inputs: Pictures among them are tensors of four or five dimensions, of which the last two are rows and columns.
        graph: The recorded run on them.
    """
    if graph.reads_values or graph.draws:
        return None
    needed = _needed(graph)

    def fewer(tensor: Tensor) -> Tensor:
        if tensor.dim() not in {4, 5} or not tensor.is_floating_point() or tensor.layout is not torch.strided:
            return tensor
        for dim in (-2, -1):
            size, kept = tensor.shape[dim], _side(tensor.shape[dim], needed)
            if kept < size:
                places = torch.arange(kept, device=tensor.device) * size // kept
                tensor = tensor.index_select(dim, places)
        return tensor[:FEW]

    smaller: ExampleInputs = map_tensors(fewer, inputs)
    sizes = [sum(leaf.numel() for leaf in leaves(one) if isinstance(leaf, Tensor)) for one in (smaller, inputs)]
    return smaller if sizes[0] < WORTH * sizes[1] else None


def _needed(graph: Graph) -> float:
    """The fraction of the rows and columns with which the windows of the run still find all that they read.

    What windows of three dimensions read along the first, as of clips, which keep all their pictures, does not count.
    """
    found = [min(span / size, 1.0) for call in graph.calls for span, size in _windows(call)[-2:] if span > 1]
    return max(found, default=1.0)


def _windows(call: Call) -> list[tuple[int, int]]:
    """The spans of windows, each with the size of the dimension that it goes along."""
    reach = spans(call)
    return list(zip(reach, call.args[0].shape[-len(reach) :], strict=True)) if reach else []


def _side(size: int, needed: float) -> int:
    """The shortest side that is long enough and differs from ``size`` by whole steps."""
    least = max(SMALLEST, math.ceil(needed * size))
    return size - max(size - least, 0) // STEP * STEP


class ThinnedReference(MaskedReference):
    """Runs the dense model on thinned inputs as :class:`MaskedReference` does, as long as that tells as much."""

    def make(self, call: Call, func: Any, args: Any, kwargs: Any) -> Any:
        """Makes the call.

        Raises:
            OtherCallsError: If it is not the recorded one but for the number of positions.
        """
        reach = spans(call)
        if reach:
            sizes = zip(reach, args[0].shape[-len(reach) :], call.args[0].shape[-len(reach) :], strict=True)
            if any(size < min(span, recorded) for span, size, recorded in sizes):
                raise OtherCallsError(f"a map is smaller than the windows of {call}")
        if call.floats and floats_of(args, kwargs) != call.floats:
            raise OtherCallsError(f"a number follows the size of pictures in {call}")
        at = call.facts.groups_at
        if at is not None and args[at] != call.args[at]:
            raise OtherCallsError(f"there are other groups in {call}")
        result = super().make(call, func, args, kwargs)
        made = [result] if isinstance(result, Tensor) else [leaf for leaf in leaves(result) if isinstance(leaf, Tensor)]
        for ref, tensor in zip(call.tensor_outputs(), made, strict=True):
            if tensor.shape != ref.shape:
                self._check_sizes(call, ref, tensor)
        return result

    def _check_sizes(self, call: Call, ref: TensorRef, tensor: Tensor) -> None:
        smaller = self._expectation.smaller(ref)
        shrunk = tensor.dim() == len(ref.shape) and all(
            size == recorded or (1 < size < recorded and dim not in smaller)
            for dim, (size, recorded) in enumerate(zip(tensor.shape, ref.shape, strict=True))
        )
        if not shrunk:
            raise OtherCallsError(f"{tuple(tensor.shape)} is made in {call}, where {ref.shape} was recorded")
