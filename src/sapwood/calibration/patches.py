"""What convolutions and linear layers multiply their weights with: patches at drawn places."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Geometry:
    """How a convolution moves: one number a spatial dimension each.

    Examples:
        >>> Geometry((3, 3), (2, 2), (1, 1), (1, 1)).output_size((8, 8))
        (4, 4)
    """

    kernel: Sequence[int]
    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]

    def output_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """The spatial size of the output for an input of spatial size ``size``."""
        parts = zip(size, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        return tuple((length + 2 * pad - gap * (taps - 1) - 1) // step + 1 for length, taps, step, pad, gap in parts)


def convolution_patches(
    inputs: Tensor,  # shape: (N, C, *size)
    chosen: Tensor,  # shape: (P,)
    geometry: Geometry,
    groups: int,
) -> Tensor:  # shape: (N * P, groups, C / groups * prod(kernel))
    """The patches behind some positions of a convolution's output, padded with zeros.

    Args:
        inputs: What the convolution reads.
        chosen: Positions of its output, counted row by row.
        geometry: How it moves.
        groups: Conv groups.
    """
    dims = len(geometry.kernel)
    padded = F.pad(inputs, [side for value in reversed(list(geometry.padding)) for side in (value, value)])
    places = torch.unravel_index(chosen, geometry.output_size(inputs.shape[-dims:]))
    index: list[Any] = [slice(None), slice(None)]
    for dim, (place, taps) in enumerate(zip(places, geometry.kernel, strict=True)):
        outer, inner = [1] * (dims + 1), [1] * (dims + 1)
        outer[0], inner[dim + 1] = len(place), taps
        offsets = torch.arange(taps) * geometry.dilation[dim]
        index.append((place * geometry.stride[dim]).reshape(outer) + offsets.reshape(inner))
    rows = padded[tuple(index)].transpose(1, 2).flatten(0, 1)  # (N * P, C, *kernel)
    return rows.reshape(len(rows), groups, -1)


def each_dimension(value: Sequence[int], dims: int) -> list[int]:
    """One number a dimension, where one stands for all."""
    return list(itertools.islice(itertools.cycle(value), dims))


def module_patches(module: Any, inputs: Tensor, per_sample: int, seed: int) -> Tensor | None:
    """The patches that a module reads at places drawn once for all samples of a batch.

    Args:
        module: A convolution or linear module.
        inputs: What it reads.
        per_sample: Places a sample, at most.
        seed: Of the draw.

    Returns:
        Shape (rows, groups, unknowns of one output), float64; of a transposed convolution single pixels, since each of
        its taps reads one. None of convolutions that pad with anything but zeros.
    """
    generator = torch.Generator().manual_seed(seed)
    if isinstance(module, nn.Linear):
        rows = inputs.reshape(-1, inputs.shape[-1])
        wanted = per_sample * (len(inputs) if inputs.dim() > 1 else 1)
        return rows[torch.randperm(len(rows), generator=generator)[:wanted]][:, None].double()
    padding = module.padding
    if module.padding_mode != "zeros" or isinstance(padding, str):
        return None
    dims = len(module.kernel_size)
    if inputs.dim() == dims + 1:
        inputs = inputs[None]
    geometry = Geometry(module.kernel_size, module.stride, padding, module.dilation)
    if module.transposed:
        geometry = Geometry([1] * dims, [1] * dims, [0] * dims, [1] * dims)
    count = math.prod(geometry.output_size(inputs.shape[2:]))
    chosen = torch.randperm(count, generator=generator)[:per_sample]
    return convolution_patches(inputs, chosen, geometry, module.groups).double()
