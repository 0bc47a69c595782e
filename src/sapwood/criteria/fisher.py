"""Second-order expansion of the loss in the weights, with the diagonal of the empirical Fisher matrix as curvature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sapwood.criteria.criterion import CRITERIA, WeightCriterion
from sapwood.criteria.view import ModelView


@CRITERIA.register("fisher")
@dataclass(frozen=True)
class Fisher(WeightCriterion):
    r"""Scores by how much the loss would rise, to second order, in loss units.

    .. math:: s_c = \frac{1}{2} \sum_{i \in c} w_i^2 \, \hat F_i

    References:
        LeCun et al., Optimal Brain Damage, 1990, eq. 5, with the Fisher diagonal for the second derivative, as in
        Theis et al., 2018, arXiv:1801.05787, eq. 11.
    """

    name: ClassVar[str] = "fisher"
    loss_units: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"grad_squared"})

    def values(self, name: str, view: ModelView) -> Tensor:
        """Half the squared weight times the Fisher diagonal."""
        return view.parameter(name).double().square() * view.parameter_statistic("grad_squared", name).double() / 2
