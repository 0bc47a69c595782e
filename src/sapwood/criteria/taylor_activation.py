"""First-order Taylor expansion of the loss in a factor on the channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sapwood.criteria.activations import ReaderCriterion
from sapwood.criteria.criterion import CRITERIA


@CRITERIA.register("taylor_activation")
@dataclass(frozen=True)
class TaylorActivation(ReaderCriterion):
    r"""Scores a channel by the magnitude of the derivative of the loss by a factor on it, in loss units.

    .. math:: s_c = \Big| \sum_{m} \frac{\partial L}{\partial m_c} \Big|

    over the modules m that read the channel. With ``reduction="sum"`` this is the root of what ``taylor`` with
    ``variant="squared_sum"`` and ``members="consumers"`` gives.

    References:
        Molchanov et al., Pruning Convolutional Neural Networks for Resource Efficient Inference, 2017,
        arXiv:1611.06440, eq. 7 (the magnitude taken of the mean over samples instead of each).
    """

    name: ClassVar[str] = "taylor_activation"
    loss_units: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"gate_grad"})
    statistic: ClassVar[str] = "gate_grad"
    averages: ClassVar[bool] = False

    def finished(self, values: Tensor) -> Tensor:
        """Magnitudes."""
        return values.abs()
