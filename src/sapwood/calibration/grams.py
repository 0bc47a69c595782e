"""Second moments of what layers read, and of the gradients behind them: what block OBS is computed from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sapwood.calibration.statistic import STATISTICS, Source

STRIPS = 8
"""Rows of a Gram matrix are added in so many strips, each up to the diagonal."""


@dataclass(frozen=True)
class InputGram:
    """The mean of x xᵀ over patches x that a module multiplies its weights with, shape (groups, n, n), float64.

    It is symmetric: sums hold its lower triangle, in :data:`STRIPS` strips, which is nearly half of the work.
    """

    source: ClassVar[Source] = "patches"

    def term(self, values: Tensor, num_samples: int) -> tuple[Tensor, float]:
        """The sum over the batch, and how many patches that are."""
        del num_samples
        _, groups, size = values.shape
        total = values.new_zeros(groups, size, size)
        return total, self.add_(total, values)

    def add_(self, total: Tensor, values: Tensor) -> float:
        """Adds the sum over the batch to ``total``; how many patches that are."""
        size = total.shape[-1]
        step = -(-size // STRIPS)
        for group, into in enumerate(total):
            rows = values[:, group]
            for first in range(0, size, step):
                strip = slice(first, first + step)
                into[strip, : first + step].addmm_(rows[:, strip].T, rows[:, : first + step])
        return float(len(values))

    def finish(self, total: Tensor, weight: float) -> Tensor:
        """The mean, both triangles."""
        total.tril_().div_(weight)
        above = torch.tril(total, diagonal=-1).transpose(1, 2)
        return total.add_(above)


@dataclass(frozen=True)
class OutputGradSquared:
    """The mean over samples of the squared gradients of a sample's loss, summed over positions; shape (outputs,)."""

    source: ClassVar[Source] = "output"

    def term(self, values: Tensor, num_samples: int) -> tuple[Tensor, float]:
        """Gradients of the batch's mean loss: each sample's counts 1 / num_samples there."""
        squares = values.double().square().sum(dim=list(range(values.dim() - 1)))
        return squares * num_samples**2, float(num_samples)

    def finish(self, total: Tensor, weight: float) -> Tensor:
        """The mean."""
        return total / weight


STATISTICS.register("input_gram")(InputGram())
STATISTICS.register("output_grad_squared")(OutputGradSquared())
