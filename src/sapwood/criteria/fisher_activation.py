"""Second-order expansion of the loss in a factor on the channel: group Fisher pruning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sapwood.criteria.activations import ReaderCriterion
from sapwood.criteria.criterion import CRITERIA


@CRITERIA.register("fisher_activation")
@dataclass(frozen=True)
class FisherActivation(ReaderCriterion):
    r"""Scores a channel by how much the loss would rise, to second order, if a factor on it became zero; loss units.

    .. math:: s_c = \frac{1}{2 N} \sum_{m} \sum_{n=1}^{N} \Big(\frac{\partial L_n}{\partial m_c}\Big)^2

    over samples n and the modules m that read the channel, each taken by itself: the paper adds up the derivatives of
    all of them before squaring.

    References:
        Liu et al., Group Fisher Pruning for Practical Network Compression, 2021, arXiv:2108.00708, eq. 4 and 6.
    """

    name: ClassVar[str] = "fisher_activation"
    loss_units: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"gate_grad_squared"})
    statistic: ClassVar[str] = "gate_grad_squared"
    averages: ClassVar[bool] = False

    def finished(self, values: Tensor) -> Tensor:
        """Halves."""
        return values / 2
