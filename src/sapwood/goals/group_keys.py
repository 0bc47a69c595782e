"""What a group is known by in every analysis of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from sapwood.graph import Analysis, ChannelGroup

GroupKey: TypeAlias = tuple[str, int]
"""What a group is known by in every analysis of a model; see :func:`group_key`."""


def group_key(group: ChannelGroup) -> GroupKey:
    """The group's name and the first index of that dimension that is its own: parts of one map have one name."""
    column = next(member.column for member in group.members if f"{member.tensor}[{member.dim}]" == group.name)
    return group.name, int(np.flatnonzero(column >= 0)[0])


def factor_key(group: ChannelGroup) -> tuple[GroupKey, int]:
    """With the first index of the second channel: heads and the places in a head have one map, from one index on."""
    name, first = group_key(group)
    column = next(member.column for member in group.members if f"{member.tensor}[{member.dim}]" == group.name)
    others = np.flatnonzero((column >= 0) & (column != column[first]))
    return (name, first), int(others[0]) if len(others) else -1


def multiples_of(analysis: Analysis, own: Mapping[GroupKey, int], usual: int) -> tuple[int, ...]:
    """What widths of each group should be multiples of: its own number where it has one, the network's otherwise."""
    return tuple(own.get(group_key(group), usual) for group in analysis.groups)
