"""What each index of a summed-over dimension adds to a sum: what follows the input, a constant, or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from sapwood.compaction.dependence import RecordedStep, alive, kernels_alive
from sapwood.ops import Call, TensorRef

UNIFORM = 1e-12
"""A constant is one number where its values over all positions differ by less, relative to the largest: rounding."""

Bools: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"
Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"


@dataclass(frozen=True)
class Contribution:
    """What the indices of one summed-over dimension add to one call's output.

    Attributes:
        call: The sum.
        source: The activation it reads.
        dim: The dimension of ``source`` that is summed over, I indices.
        output_dim: The dimension of the call's output that the columns below stand for, O indices, or None where the
            only column stands for all of the output.
        live: bool, shape (I, O): what follows the input.
        indices: int64, shape (F,): the indices that add a constant other than zero.
        values: float64, shape (F, O): the constants; the median over batch and positions where they differ.
        uneven: bool, shape (F, O): where they differ.
    """

    call: Call
    source: TensorRef
    dim: int
    output_dim: int | None
    live: Bools
    indices: np.ndarray[Any, np.dtype[np.int64]]
    values: Floats
    uneven: Bools


def contributions(step: RecordedStep) -> list[Contribution]:
    """What the summed-over dimensions of a call add; empty for a call that sums over no channels."""
    found = step.call.facts.sum
    makers = {"convolution": _of_convolution, "product": _of_product, "attention": _of_attention}
    return [makers[found.kind](step)] if found is not None and found.kind in makers else []


@dataclass(frozen=True)
class _Constants:
    indices: Tensor
    values: Tensor
    uneven: Tensor

    def of(self, source: tuple[Call, TensorRef, int], output_dim: int | None, live: Tensor) -> Contribution:
        """With what they are a part of."""
        live, indices, values, uneven = (part.cpu() for part in (live, self.indices, self.values, self.uneven))
        return Contribution(*source, output_dim, live.numpy(), indices.numpy(), values.numpy(), uneven.numpy())


def _of_convolution(step: RecordedStep) -> Contribution:
    x, weight = step.args[:2]
    x_mask, weight_mask = step.masks[:2]
    transposed, groups = bool(step.args[6]), int(step.args[8])
    channel = x.dim() - weight.dim() + 1
    others = [dim for dim in range(x.dim()) if dim != channel]
    depends, there = x_mask.any(dim=others), alive(x, x_mask).any(dim=others)
    kernels = kernels_alive(alive(weight, weight_mask), groups, transposed)
    changing = kernels_alive(weight_mask, groups, transposed)

    def spread(read: Tensor) -> Tensor:
        """From (groups, inputs a group, outputs a group) to all pairs of input and output channels."""
        count, inputs, outputs = read.shape
        full = torch.zeros(count, inputs, count, outputs, dtype=torch.bool, device=read.device)
        full[torch.arange(count), :, torch.arange(count)] = read
        return full.reshape(count * inputs, count * outputs)

    live = (depends[:, None] & spread(kernels)) | (there[:, None] & spread(changing))
    constant = there & ~depends & spread(kernels & ~changing).any(dim=1)
    found = _convolved(step, constant.nonzero()[:, 0], channel, live.shape[1])
    return found.of((step.call, step.call.args[0], channel), channel, live)


def _convolved(step: RecordedStep, indices: Tensor, channel: int, num_outputs: int) -> _Constants:
    """Convolves each of the channels ``indices`` alone."""
    x, weight = step.args[:2]
    transposed, groups = bool(step.args[6]), int(step.args[8])
    inputs, outputs = x.shape[channel] // groups, num_outputs // groups
    values = x.new_zeros(len(indices), num_outputs)
    uneven = torch.zeros_like(values, dtype=torch.bool)
    for row, index in enumerate(indices.tolist()):
        group, place = divmod(index, inputs)
        one = x.narrow(channel, index, 1)
        if channel == 1 and bool((one == one[:1]).all()):
            one = one[:1]
        kernel = weight[index : index + 1] if transposed else weight[group * outputs :][:outputs, place : place + 1]
        alone = step.call.op(one, kernel, None, *step.args[3:8], 1, *step.args[9:])
        into = slice(group * outputs, (group + 1) * outputs)
        alone = alone.movedim(channel, 0).flatten(1)
        values[row, into], uneven[row, into] = _level(alone, alone.abs().amax())
    return _Constants(indices, values, uneven)


def _level(values: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's median, and whether the row holds anything else."""
    middle = values.median(dim=1).values
    distance = (values - middle[:, None]).abs().amax(dim=1)
    return middle, distance > UNIFORM * scale


def _of_product(step: RecordedStep) -> Contribution:
    operands = step.call.facts.sum
    assert operands is not None
    place = operands.source
    left, right = step.args[place : place + 2]
    left_mask, right_mask = step.masks[place : place + 2]
    if operands.turned:
        right, right_mask = right.t(), right_mask.t()
    output_dim = len(step.call.outputs[0].shape) - 1 if right.dim() > 1 else None
    if right.dim() == 1:
        right, right_mask = right[:, None], right_mask[:, None]
    batch = list(range(right.dim() - 2))
    read, changing = alive(right, right_mask), right_mask
    if batch:
        read, changing = read.any(dim=batch), changing.any(dim=batch)
    rows, row_masks = left.reshape(-1, left.shape[-1]), left_mask.reshape(-1, left.shape[-1])
    depends, there = row_masks.any(dim=0), alive(rows, row_masks).any(dim=0)
    live = (depends[:, None] & read) | (there[:, None] & changing)
    indices = (there & ~depends & read.any(dim=1)).nonzero()[:, 0]
    constants = rows[:, indices].t() if len(rows) else rows.new_zeros(len(indices), 1)
    middle, differs = _level(constants, constants.abs().amax(dim=1))
    if batch:
        values, uneven = torch.ones_like(read[indices], dtype=left.dtype), read[indices]
    else:
        values, uneven = middle[:, None] * right[indices], differs[:, None] & read[indices]
    found = _Constants(indices, values, uneven)
    return found.of((step.call, step.call.args[place], left.dim() - 1), output_dim, live)


def _of_attention(step: RecordedStep) -> Contribution:
    """Queries times keys, summed over the width of a head; a constant there has no bias to go into."""
    (query, key), (query_mask, key_mask) = step.args[:2], step.masks[:2]
    query_alive = alive(query, query_mask).any(dim=list(range(query.dim() - 1)))
    key_alive = alive(key, key_mask).any(dim=list(range(key.dim() - 1)))
    nothing = query.new_zeros(0, 1)
    none = _Constants(torch.zeros(0, dtype=torch.int64), nothing, nothing != 0)
    return none.of((step.call, step.call.args[0], query.dim() - 1), None, (query_alive & key_alive)[:, None])
