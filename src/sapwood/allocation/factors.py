"""Where a dimension is made of two (heads x width, conv groups x position), only one is pruned."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sapwood.graph import Analysis
from sapwood.ops import Axis


def held_groups(analysis: Analysis) -> Mapping[int, str]:
    """Groups that stay whole because another factor of the same dimension is pruned instead.

    Of the factors of a dimension the one with more channels is pruned, for its steps are finer; of equals the inner.
    Wide dimensions choose first, and a factor that one of them holds is no choice for the next.

    Returns:
        Position in ``analysis.groups`` -> the name of the group that is pruned in its place.
    """
    owner = {unit: number for number, group in enumerate(analysis.groups) for unit in group.units}
    held: dict[int, str] = {}
    several = [axis for axes in analysis.axes.values() for axis in axes if axis.shape[1] > 1]
    for axis in sorted(several, key=len, reverse=True):
        factors = [_owners(column, owner) - held.keys() for column in axis.T]
        present = [numbers for numbers in factors if numbers]
        if len(present) < 2:
            continue
        chosen = max(
            reversed(present), key=lambda numbers: sum(analysis.groups[number].num_channels for number in numbers)
        )
        for numbers in present:
            held.update((number, analysis.groups[min(chosen)].name) for number in numbers - chosen)
    return held


def _owners(column: Axis, owner: Mapping[int, int]) -> frozenset[int]:
    return frozenset(owner[unit] for unit in np.unique(column).tolist() if unit in owner)
