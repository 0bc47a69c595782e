"""Groups that must keep equal numbers, because code cuts what they are part of at equal distances."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from sapwood.graph import Analysis
from sapwood.ops import Axis


def equal_sets(analysis: Analysis, cuts: Iterable[Sequence[Axis]]) -> tuple[tuple[int, ...], ...]:
    """Finds the groups that have to keep equal numbers so that every cut stays one into equal parts.

    Args:
        analysis: The groups.
        cuts: For each cut the axes of its parts. A cut whose parts are made of different groups in different ways
            gives no set: no choice of numbers is obviously right for it.

    Returns:
        Disjoint sets of group numbers, in ascending order.
    """
    owner = {unit: number for number, group in enumerate(analysis.groups) for unit in group.units}
    parent = list(range(len(analysis.groups)))

    def root(number: int) -> int:
        while parent[number] != number:
            number = parent[number]
        return number

    for parts in cuts:
        for side_by_side in _aligned([_owners(analysis, part, owner) for part in parts], analysis):
            for number in side_by_side[1:]:
                low, high = sorted((root(side_by_side[0]), root(number)))
                parent[high] = low
    sets: dict[int, list[int]] = {}
    for number in range(len(parent)):
        sets.setdefault(root(number), []).append(number)
    return tuple(tuple(numbers) for numbers in sets.values() if len(numbers) > 1)


def _owners(analysis: Analysis, part: Axis, owner: dict[int, int]) -> list[tuple[int, int]]:
    """The groups of a part in the order of its indices, each with how many indices it has."""
    found: dict[int, int] = {}
    for unit in analysis.context.atoms.resolve(part).reshape(-1).tolist():
        if unit in owner:
            found[owner[unit]] = found.get(owner[unit], 0) + 1
    return list(found.items())


def _aligned(parts: Sequence[Sequence[tuple[int, int]]], analysis: Analysis) -> list[tuple[int, ...]]:
    """Groups that stand at the same place of every part, where the parts are alike."""
    sizes = {tuple((count, analysis.groups[number].num_channels) for number, count in part) for part in parts}
    if len(sizes) != 1:
        return []
    return [tuple(number for number, _ in column) for column in zip(*parts, strict=True)]


def equal_slices(axis: Axis, parts: int) -> list[Axis]:
    """An axis cut into equal parts."""
    return [np.asarray(part) for part in np.split(axis, parts)]
