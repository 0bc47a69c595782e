"""First-order Taylor expansion of the loss in the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from sapwood.criteria.criterion import CRITERIA, WeightCriterion
from sapwood.criteria.view import ModelView

Variant = Literal["abs", "squared_sum", "sum_of_squares", "signed"]


@CRITERIA.register("taylor")
@dataclass(frozen=True)
class Taylor(WeightCriterion):
    r"""Scores by how much the loss changes, to first order, when weights become zero.

    .. math:: \sum_{i \in c} |w_i \, g_i|, \quad \Big(\sum_{i \in c} w_i \, g_i\Big)^2, \quad
        \sum_{i \in c} (w_i \, g_i)^2 \quad\text{or}\quad -\sum_{i \in c} w_i \, g_i

    The sum over the slices that *read* a channel is the derivative of the loss by a factor on the channel there, which
    is what removing the channel sets to zero (as long as no such weight is used elsewhere, too). Of a network trained
    to the end it is mostly noise; the default is the variant whose order is closest to that of the true rise of the
    loss in ``benchmarks/criteria.py``.

    Attributes:
        variant: ``"abs"`` (loss units), ``"squared_sum"``, ``"sum_of_squares"`` (both in (loss units)^2) or
            ``"signed"`` (loss units; channels whose removal promises a lower loss go first).

    References:
        Molchanov et al., Importance Estimation for Neural Network Pruning, 2019, arXiv:1906.10771, eq. 8 and 9.
    """

    name: ClassVar[str] = "taylor"
    loss_units: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"grad"})

    variant: Variant = "abs"

    def values(self, name: str, view: ModelView) -> Tensor:
        """Weight times gradient, its magnitude or its square."""
        products = view.parameter(name).double() * view.parameter_statistic("grad", name).double()
        if self.variant == "sum_of_squares":
            return products.square()
        if self.variant == "abs":
            return products.abs()
        return -products if self.variant == "signed" else products

    def finished(self, values: Tensor) -> Tensor:
        """The square of a signed sum; the others as they are."""
        return values.square() if self.variant == "squared_sum" else values
