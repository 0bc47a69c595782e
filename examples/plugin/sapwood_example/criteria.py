"""The criterion ``l_half``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sapwood.criteria import CRITERIA, ModelView
from sapwood.criteria.criterion import WeightCriterion


@CRITERIA.register("l_half")
@dataclass(frozen=True)
class LHalf(WeightCriterion):
    r"""Scores by the sum of the roots of magnitudes: many small weights are worth more than a large one.

    .. math:: s_c = \sum_{i \in c} \sqrt{|w_i|}
    """

    name: ClassVar[str] = "l_half"

    def values(self, name: str, view: ModelView) -> Tensor:
        """The root of each magnitude."""
        return view.parameter(name).detach().double().abs().sqrt()
