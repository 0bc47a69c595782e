"""Where a dimension is made of two (heads x width, conv groups x position), only one is pruned."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sapwood.graph import Analysis
from sapwood.ops import Axis


def held_groups(analysis: Analysis, *, whole_heads: bool = False) -> Mapping[int, str]:
    """Groups that stay whole because another factor of the same dimension is pruned instead.

    Of the factors of a dimension the one with more channels is pruned, for its steps are finer; of equals the inner.
    Wide dimensions choose first, and a factor that one of them holds is no choice for the next.

    Args:
        analysis: The groups.
        whole_heads: Of a linear layer's dimension (attention's heads x width) the outer factor is pruned, so that heads
            go whole and keep their width.

    Returns:
        Position in ``analysis.groups`` -> the name of the group that is pruned in its place.
    """
    owner = {unit: number for number, group in enumerate(analysis.groups) for unit in group.units}
    held: dict[int, str] = {}
    several = [
        (axis, whole_heads and len(axes) <= 2) for axes in analysis.axes.values() for axis in axes if axis.shape[1] > 1
    ]
    for axis, outer in sorted(several, key=lambda item: len(item[0]), reverse=True):
        factors = [_owners(column, owner) - held.keys() for column in axis.T]
        present = [numbers for numbers in factors if numbers]
        if len(present) < 2:
            continue
        inner = max(
            reversed(present), key=lambda numbers: sum(analysis.groups[number].num_channels for number in numbers)
        )
        chosen = present[0] if outer else inner
        for numbers in present:
            held.update((number, analysis.groups[min(chosen)].name) for number in numbers - chosen)
    return held


def _owners(column: Axis, owner: Mapping[int, int]) -> frozenset[int]:
    return frozenset(owner[unit] for unit in np.unique(column).tolist() if unit in owner)
