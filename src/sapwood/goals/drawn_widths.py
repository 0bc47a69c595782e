"""Networks of given widths, made only to be timed: which channels go is all the same to the clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch

from sapwood.allocation import equal_sets, held_groups, settled, together_sets
from sapwood.goals.group_sets import cuts
from sapwood.graph import Analysis
from sapwood.masks import lowest_units
from sapwood.ops import Axis
from sapwood.removal import Select

Draw: TypeAlias = Callable[[Sequence[int], Sequence[Sequence[int]]], Sequence[int]]
"""From the channels of each group, and the sets of groups that keep equal numbers, to what each keeps."""


@dataclass(frozen=True)
class DrawnWidths:
    """How many channels each group keeps, and the units that go."""

    removed: Axis
    kept: Sequence[int]


def select_drawn(draw: Draw, *, whole_heads: bool, routes: Mapping[str, int]) -> Select[DrawnWidths]:
    """Returns what chooses the last units of each group, at the widths that ``draw`` says.

    Args:
        draw: What each group keeps; groups that are held keep everything.
        whole_heads: Whether attention loses whole heads.
        routes: The Darknet routes that take equal parts.
    """

    def select(analysis: Analysis) -> DrawnWidths:
        sizes = [group.num_channels for group in analysis.groups]
        held = held_groups(analysis, whole_heads=whole_heads)
        together = together_sets(analysis, held)
        equal = equal_sets(analysis, cuts(analysis, routes))
        stepped = [ladder.groups for ladder in analysis.ladders]
        wanted = settled(draw(sizes, [*equal, *together, *stepped]), sizes, together, analysis.ladders)
        kept = [size if own in held else width for own, (size, width) in enumerate(zip(sizes, wanted, strict=True))]
        scores = [torch.arange(size, 0, -1, dtype=torch.float64) for size in sizes]
        return DrawnWidths(lowest_units([group.units for group in analysis.groups], scores, kept), kept)

    return select
