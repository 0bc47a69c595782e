"""Weights that training moves towards zero are worth little."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sapwood.criteria.criterion import CRITERIA, WeightCriterion
from sapwood.criteria.view import ModelView


@CRITERIA.register("movement")
@dataclass(frozen=True)
class Movement(WeightCriterion):
    r"""Scores by :math:`s_c = -\sum_{i \in c} \sum_t w_i^{(t)} g_i^{(t)}`, signed, over steps t of a short training.

    References:
        Sanh et al., Movement Pruning, 2020, arXiv:2005.07683, sec. 4.
    """

    name: ClassVar[str] = "movement"
    loss_units: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"movement"})

    def values(self, name: str, view: ModelView) -> Tensor:
        """The movement of each weight."""
        return view.parameter_statistic("movement", name).double()
