"""The same sparsity everywhere."""

from __future__ import annotations

from collections.abc import Mapping

from sapwood.allocation.factors import held_groups
from sapwood.graph import Analysis


def uniform(analysis: Analysis, sparsity: float) -> Mapping[int, float]:
    """Gives every channel group the same sparsity.

    Args:
        analysis: The model's groups.
        sparsity: Fraction of each group's channels that goes, in [0, 1).

    Returns:
        Position in ``analysis.groups`` -> fraction of its channels that goes. A dimension made of two factors loses
        from one of them only.
    """
    held = held_groups(analysis)
    return {number: 0.0 if number in held else sparsity for number in range(len(analysis.groups))}
