"""Statistics of parameters: the gradient of the loss, and its square."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sapwood.calibration.statistic import STATISTICS, Source


@dataclass(frozen=True)
class Gradient:
    """The gradient of the mean loss over all samples, in loss units per unit of weight."""

    source: ClassVar[Source] = "gradient"

    def term(self, values: Tensor, num_samples: int) -> tuple[Tensor, float]:
        """The batch's gradient, as often as it has samples."""
        return values * num_samples, num_samples

    def finish(self, total: Tensor, weight: float) -> Tensor:
        """The mean over samples."""
        return total / weight


@dataclass(frozen=True)
class GradientSquared:
    r"""The diagonal of the empirical Fisher matrix, in (loss units per unit of weight)^2.

    .. math:: \hat F_i = \frac{1}{M} \sum_{b=1}^{M} n_b \, g_{b,i}^2

    over M batches of :math:`n_b` samples, :math:`g_b` the gradient of the batch's mean loss. With batches of one sample
    this is the mean of the squared gradient of a sample, exactly. With larger ones it estimates the *variance* of that
    gradient plus :math:`n_b` times the square of its mean: the same thing where the mean is zero, as it is at the end
    of training, and more than it elsewhere.

    References:
        Theis et al., Faster gaze prediction with dense networks and Fisher pruning, 2018, arXiv:1801.05787, eq. 8.
    """

    source: ClassVar[Source] = "gradient"

    def term(self, values: Tensor, num_samples: int) -> tuple[Tensor, float]:
        """The batch's estimate, every batch the same weight."""
        return values.square() * num_samples, 1.0

    def finish(self, total: Tensor, weight: float) -> Tensor:
        """The mean over batches."""
        return total / weight


STATISTICS.register("grad")(Gradient())
STATISTICS.register("grad_squared")(GradientSquared())
