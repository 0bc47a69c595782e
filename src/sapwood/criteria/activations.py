"""What the criteria share that look at what is read of a channel rather than at its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sapwood.criteria.criterion import ChannelsOnly, SliceCriterion
from sapwood.criteria.view import ModelView
from sapwood.errors import CriterionError
from sapwood.graph import ChannelGroup
from sapwood.ops import Axis


@dataclass(frozen=True)
class ReaderCriterion(ChannelsOnly, SliceCriterion):
    """A criterion whose slices are the convolution and linear modules that read a channel.

    A module that passes a channel on at its place (a depthwise convolution) does not count as reading it; one that runs
    several times has the statistics of all its runs.
    """

    statistic: ClassVar[str]
    averages: ClassVar[bool]
    """Whether a channel's value is the mean over the inputs it has in a module (the pixels of a flattened map), or the
    sum. Sums miss what is read outside of such modules, so that groups which that happens to are refused."""

    def slices(self, group: ChannelGroup, view: ModelView) -> Sequence[Tensor]:
        """One value a channel for each module that reads it."""
        readers = readers_of(group, view, sums=not self.averages)
        return [self.summed(self.inputs(module, view), places, group) for module, places in readers.items()]

    def inputs(self, module: str, view: ModelView) -> Tensor:
        """The value of each input channel of a module, shape (I,)."""
        return view.input_statistic(self.statistic, module)

    def summed(self, inputs: Tensor, places: Axis, group: ChannelGroup) -> Tensor:  # shape: (C,)
        """Brings the values of input channels to the channels of the group."""
        totals, counts = input_sums(inputs, places, group.num_channels)
        return totals / counts.clamp(min=1) if self.averages else totals


def readers_of(group: ChannelGroup, view: ModelView, *, sums: bool) -> dict[str, Axis]:
    """The modules that read channels of a group, with the positions of each of their input channels.

    Raises:
        CriterionError: If a channel is read by none of them; or, where the criterion ``sums``, if one is also read
            outside of them.
    """
    readers = view.readers.of(group)
    read = torch.zeros(group.num_channels, dtype=torch.float64)
    for places in readers.values():
        read += input_sums(torch.ones(len(places), dtype=torch.float64), places, group.num_channels)[1]
    unread = int((read == 0).sum())
    if unread:
        raise CriterionError(
            f"{group.name}: {unread} of {group.num_channels} channels are read by no convolution or linear module"
        )
    functional = view.readers.functional_of(group)
    if sums and functional:
        raise CriterionError(f"{group.name}: also read by {functional[0]}, which is no convolution or linear module")
    return readers


def input_sums(
    inputs: Tensor,  # shape: (I,)
    places: Axis,  # shape: (I, k)
    num_channels: int,
) -> tuple[Tensor, Tensor]:  # shapes: (C,), (C,)
    """Sums of the inputs that belong to each channel, and how many those are."""
    totals = torch.zeros(num_channels, dtype=torch.float64)
    counts = torch.zeros(num_channels, dtype=torch.float64)
    for column in places.T:
        index = torch.from_numpy(column)
        inside = index >= 0
        totals.index_add_(0, index[inside], inputs[inside])
        counts.index_add_(0, index[inside], torch.ones_like(inputs[inside]))
    return totals, counts
