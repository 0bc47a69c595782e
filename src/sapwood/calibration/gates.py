r"""Statistics of gates on what convolutions and linear modules read, one value an input channel.

A gate is a factor :math:`m_c = 1` on input channel c of one module alone. The derivative of a sample's loss by it is
:math:`q_c = \sum_{p} x_{c,p} \, \partial L / \partial x_{c,p}` over the positions p, the gradient taken through that
module only. Where a module runs several times, the gate is the same one every time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sapwood.calibration.statistic import STATISTICS, Source


@dataclass(frozen=True)
class _GateMean:
    source: ClassVar[Source] = "gate"

    def finish(self, total: Tensor, weight: float) -> Tensor:
        """The mean over samples."""
        return total / weight


@dataclass(frozen=True)
class GateGradient(_GateMean):
    """The derivative of the mean loss by the gate of each input channel, in loss units, shape (C,)."""

    def term(self, values: Tensor, num_samples: int) -> tuple[Tensor, float]:
        """The sum over samples."""
        return values.sum(dim=0), num_samples


@dataclass(frozen=True)
class GateGradientSquared(_GateMean):
    """The mean over samples of the squared derivative, in (loss units)^2, shape (C,): the Fisher diagonal of gates.

    References:
        Liu et al., Group Fisher Pruning for Practical Network Compression, 2021, arXiv:2108.00708, eq. 4.
    """

    def term(self, values: Tensor, num_samples: int) -> tuple[Tensor, float]:
        """The sum of squares over samples."""
        return values.square().sum(dim=0), num_samples


STATISTICS.register("gate_grad")(GateGradient())
STATISTICS.register("gate_grad_squared")(GateGradientSquared())
