"""Second moments of what layers read, and of the gradients behind them: what block OBS is computed from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sapwood.calibration.statistic import STATISTICS, Source


@dataclass(frozen=True)
class InputGram:
    """The mean of x xᵀ over patches x that a module multiplies its weights with, shape (groups, n, n), float64."""

    source: ClassVar[Source] = "patches"

    def term(self, values: Tensor, num_samples: int) -> tuple[Tensor, float]:
        """The sum over the batch, and how many patches that are."""
        del num_samples
        rows = values.transpose(0, 1)
        return rows.transpose(1, 2) @ rows, float(len(values))

    def finish(self, total: Tensor, weight: float) -> Tensor:
        """The mean."""
        return total / weight


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
