"""Deep chains in which a signal fades out: their outputs hang on biases alone, and prove nothing about early layers.

With PyTorch's first weights a difference loses two thirds of its size in each layer: behind twenty layers no more is
left of it than the proof allows. Where every way from the inputs to an output leads through so many, another run on
other inputs shows whether outputs follow them. Residual networks have a short way, and cost no such run. What has faded
is proven in segments (:mod:`sapwood.removal.segments`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from sapwood.models import map_tensors
from sapwood.ops import Graph
from sapwood.removal.difference import relative_error, telling
from sapwood.types import ExampleInputs

DEEP = 20
"""Layers with weights on the shortest way through a model; in shallower ones nothing fades out."""

FADED = 1e-3
"""Outputs that follow other inputs by less than this, relative, are taken as faded."""


def depths(graph: Graph) -> dict[int, int]:
    """For the number of each tensor how many layers with weights the shortest way from the inputs to it has."""
    depth = {ref.id: 0 for ref in graph.inputs}
    for call in graph.calls:
        before = [depth[ref.id] for ref in call.tensor_inputs() if ref.id in depth]
        if before:
            own = min(before) + (call.facts.sum is not None)
            depth.update((ref.id, own) for ref in call.tensor_outputs())
    return depth


def is_deep(graph: Graph) -> bool:
    """Whether an output has no way to the inputs of fewer than :data:`DEEP` layers with weights."""
    depth = depths(graph)
    return max((depth.get(ref.id, 0) for ref in graph.outputs), default=0) >= DEEP


def other_inputs(inputs: ExampleInputs) -> ExampleInputs:
    """Example inputs of the same sizes and about the same values, each another one."""
    generator = torch.Generator().manual_seed(0)

    def other(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point() or tensor.layout is not torch.strided:
            return tensor
        noise = torch.rand(tensor.shape, generator=generator).to(tensor)
        return tensor + noise * tensor.abs().max() if tensor.numel() else tensor

    changed: ExampleInputs = map_tensors(other, inputs)
    return changed


def has_faded(found: list[Tensor], other: list[Tensor]) -> bool:
    """Whether an output hardly followed the inputs.

    Args:
        found: What a model returned.
        other: The same for :func:`other_inputs`.

    Examples:
        >>> one = torch.ones(3)
        >>> has_faded([one], [one * 2]), has_faded([one, one], [one * 2, one + 1e-5])
        (False, True)
    """
    return any(
        relative_error([one], [two]) < FADED
        for one, two in zip(found, other, strict=True)
        if one.is_floating_point() and telling([two])
    )
