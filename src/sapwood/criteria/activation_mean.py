"""How large a channel is where it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sapwood.criteria.activations import ReaderCriterion
from sapwood.criteria.criterion import CRITERIA
from sapwood.criteria.reduce import Reduction


@CRITERIA.register("activation_mean")
@dataclass(frozen=True)
class ActivationMean(ReaderCriterion):
    """Scores a channel by its mean absolute value over samples and positions, the mean over the modules that read it.

    References:
        Molchanov et al., Pruning Convolutional Neural Networks for Resource Efficient Inference, 2017,
        arXiv:1611.06440, sec. 2.2 ("Activation").
    """

    name: ClassVar[str] = "activation_mean"
    needs: ClassVar[frozenset[str]] = frozenset({"input_abs_mean"})
    statistic: ClassVar[str] = "input_abs_mean"
    averages: ClassVar[bool] = True
    reduction: Reduction = "mean"
