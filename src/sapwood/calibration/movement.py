"""How far each weight moves away from zero, in units of loss, while a copy of the model trains a little."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sapwood.calibration.statistic import STATISTICS, Source


@dataclass(frozen=True)
class MovementSum:
    r"""The sum over steps of training of :math:`-w_i \, g_i`: positive where the step takes the weight away from zero.

    References:
        Sanh et al., Movement Pruning, 2020, arXiv:2005.07683, sec. 4 (without the constant learning rate).
    """

    source: ClassVar[Source] = "step"

    def term(self, values: Tensor, num_samples: int) -> tuple[Tensor, float]:
        """What the step adds."""
        del num_samples
        return values, 1.0

    def finish(self, total: Tensor, weight: float) -> Tensor:
        """The sum over steps."""
        del weight
        return total


STATISTICS.register("movement")(MovementSum())
