"""FPGM: a filter that lies in the middle of the others can be replaced by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sapwood.criteria.criterion import CRITERIA, ChannelsOnly, SliceCriterion
from sapwood.criteria.view import ModelView
from sapwood.errors import CriterionError
from sapwood.graph import ChannelGroup, Member


@CRITERIA.register("fpgm")
@dataclass(frozen=True)
class Fpgm(ChannelsOnly, SliceCriterion):
    r"""Scores a channel by the sum of the distances from its filter to all others of the group.

    .. math:: s_c = \sum_{u} \| W_c - W_u \|_2

    for each tensor that makes the channel (two dimensions or more), reduced over those.

    References:
        He et al., Filter Pruning via Geometric Median, 2019, arXiv:1811.00250, eq. 4.
    """

    name: ClassVar[str] = "fpgm"

    def slices(self, group: ChannelGroup, view: ModelView) -> Sequence[Tensor]:
        """Sums of distances, one a tensor that makes the channels."""
        members = [one for one in view.members(group, "producers") if view.parameter(one.tensor).dim() > 1]
        if not members:
            raise CriterionError(f"{group.name}: no filters make its channels")
        return [_distances(_filters(view.parameter(member.tensor), member, group)) for member in members]


def _filters(weight: Tensor, member: Member, group: ChannelGroup) -> Tensor:  # shape: (C, D)
    """The filter of each channel; where several rows belong to a channel, one after the other."""
    column = torch.from_numpy(member.column)
    counts = torch.bincount(column[column >= 0], minlength=group.num_channels)
    if not bool((counts == counts[0]).all()):
        raise CriterionError(f"{group.name}: its channels have different numbers of filters in {member.tensor!r}")
    rows = torch.argsort(column, stable=True)[int((column < 0).sum()) :]
    values = weight.detach().to("cpu", torch.float64).movedim(member.dim, 0)[rows]
    return values.reshape(group.num_channels, -1)


def _distances(filters: Tensor) -> Tensor:
    return torch.cdist(filters, filters, compute_mode="donot_use_mm_for_euclid_dist").sum(dim=1)
