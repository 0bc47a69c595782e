"""The scale that a BatchNorm gives a channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sapwood.criteria.criterion import CRITERIA, ChannelsOnly, SliceCriterion
from sapwood.criteria.reduce import Reduction, slice_sums
from sapwood.criteria.view import ModelView
from sapwood.errors import CriterionError
from sapwood.graph import ChannelGroup


@CRITERIA.register("bn_scale")
@dataclass(frozen=True)
class BnScale(ChannelsOnly, SliceCriterion):
    r"""Scores a channel by :math:`|\gamma_c|`, over the BatchNorms of the group the mean by default.

    A group without a BatchNorm is refused; :func:`sapwood.criteria.score_groups` has a fallback.

    References:
        Liu et al., Learning Efficient Convolutional Networks through Network Slimming, 2017, arXiv:1708.06519.
    """

    name: ClassVar[str] = "bn_scale"
    reduction: Reduction = "mean"

    def slices(self, group: ChannelGroup, view: ModelView) -> Sequence[Tensor]:
        """Magnitudes of scales, one a BatchNorm."""
        found = [
            slice_sums(view.parameter(member.tensor).abs(), member.dim, member.column, group.num_channels)
            for member in group.members
            if member.tensor in view.batch_norm_scales and member.tensor in view.parameters
        ]
        if not found:
            raise CriterionError(f"{group.name}: no BatchNorm scales its channels")
        return found
