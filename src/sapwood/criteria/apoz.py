"""How often a channel is zero where it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sapwood.criteria.activations import ReaderCriterion
from sapwood.criteria.criterion import CRITERIA
from sapwood.criteria.reduce import Reduction
from sapwood.criteria.view import ModelView


@CRITERIA.register("apoz")
@dataclass(frozen=True)
class Apoz(ReaderCriterion):
    """Scores a channel by the fraction of its values that are not exactly zero, in [0, 1].

    After an activation that is never exactly zero (leaky, SiLU) all channels score 1.

    References:
        Hu et al., Network Trimming, 2016, arXiv:1607.03250, eq. 1 (the average percentage of zeros; here 1 minus it).
    """

    name: ClassVar[str] = "apoz"
    needs: ClassVar[frozenset[str]] = frozenset({"input_zeros"})
    statistic: ClassVar[str] = "input_zeros"
    averages: ClassVar[bool] = True
    reduction: Reduction = "mean"

    def inputs(self, module: str, view: ModelView) -> Tensor:
        """The fraction that is not zero."""
        return 1 - view.input_statistic(self.statistic, module)
