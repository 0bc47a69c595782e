"""Groups that must keep equal numbers, or the same share, because code reckons with their widths.

A cut at equal distances asks for equal numbers. ``width // heads`` in the code of attention asks for the same share:
with 32 channels and heads 8 wide, 24 go with 6, and nothing goes with 7.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from fractions import Fraction
from typing import TypeAlias

import numpy as np

from sapwood.errors import ConfigError
from sapwood.graph import Analysis, Ladder
from sapwood.ops import Axis

Tied: TypeAlias = tuple[tuple[int, int], ...]
"""Groups that are decided on together: the number of each, and how many of its channels are one unit."""


def equal_sets(analysis: Analysis, cuts: Iterable[Sequence[Axis]]) -> tuple[tuple[int, ...], ...]:
    """Finds the groups that have to keep equal numbers so that every cut stays one into equal parts.

    Args:
        analysis: The groups.
        cuts: For each cut the axes of its parts. A cut whose parts are made of different groups in different ways
            gives no set: no choice of numbers is obviously right for it.

    Returns:
        Disjoint sets of group numbers, in ascending order. Groups of a ladder are in none: its steps see to it.
    """
    stepped = {number for ladder in analysis.ladders for number in ladder.groups}
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
    return tuple(tuple(numbers) for numbers in sets.values() if len(numbers) > 1 and not stepped & set(numbers))


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


def together_sets(analysis: Analysis, held: Collection[int]) -> tuple[tuple[int, ...], ...]:
    """Finds the groups that have to keep the same share, so that the dimensions that code reckons with all do.

    Args:
        analysis: The groups, and the dimensions that keep the same share.
        held: Groups that stay whole because another factor of a dimension goes; what such a dimension keeps is the
            other's share. Groups of a ladder are in no set.
    """
    held = {*held, *(number for ladder in analysis.ladders for number in ladder.groups)}
    owner = {unit: number for number, group in enumerate(analysis.groups) for unit in group.units}
    found = []
    for axes in analysis.together:
        units = {unit for axis in axes for unit in np.unique(analysis.context.atoms.resolve(axis)).tolist()}
        found.append(tuple(sorted({owner[unit] for unit in units if unit in owner} - held)))
    return tuple(numbers for numbers in found if len(numbers) > 1)


def tied_sets(
    names: Sequence[str],
    num_channels: Sequence[int],
    equal: Iterable[Sequence[int]],
    together: Iterable[Sequence[int]],
) -> tuple[Tied, ...]:
    """Puts together what has to be decided on together; sets that overlap are one.

    Args:
        names: Names of the groups, for messages.
        num_channels: Channels of each group.
        equal: Sets of groups that keep equal numbers.
        together: Sets of groups that keep the same share of their channels.

    Returns:
        Every group in one set, in the order of their first members.

    Raises:
        ConfigError: If groups of different sizes have to keep equal numbers and the same share.

    Examples:
        >>> tied_sets("abcd", (32, 8, 5, 5), equal=[(2, 3)], together=[(0, 1)])
        (((0, 4), (1, 1)), ((2, 1), (3, 1)))
    """
    ratios: dict[int, list[tuple[int, Fraction]]] = defaultdict(list)
    for sets, sizes in ((equal, [1] * len(num_channels)), (together, num_channels)):
        for numbers in sets:
            for one, other in itertools.pairwise(numbers):
                ratios[one].append((other, Fraction(sizes[other], sizes[one])))
                ratios[other].append((one, Fraction(sizes[one], sizes[other])))
    found: list[Tied] = []
    seen: set[int] = set()
    for first in range(len(num_channels)):
        if first not in seen:
            tied = _sizes_from(first, ratios, names)
            seen |= tied.keys()
            found.append(_in_units(tied))
    return tuple(found)


def _sizes_from(first: int, ratios: dict[int, list[tuple[int, Fraction]]], names: Sequence[str]) -> dict[int, Fraction]:
    """What each group keeps for each channel of ``first``, of those that are tied to it."""
    sizes, waiting = {first: Fraction(1)}, [first]
    while waiting:
        number = waiting.pop()
        for other, ratio in ratios.get(number, ()):
            wanted = sizes[number] * ratio
            if other not in sizes:
                sizes[other] = wanted
                waiting.append(other)
            elif sizes[other] != wanted:
                raise ConfigError(
                    f"{names[number]}, {names[other]} must keep equal numbers and the same share, but differ in size"
                )
    return sizes


def _in_units(sizes: dict[int, Fraction]) -> Tied:
    """The smallest whole numbers in these proportions."""
    whole = math.lcm(*(size.denominator for size in sizes.values()))
    numbers = {number: int(size * whole) for number, size in sizes.items()}
    unit = math.gcd(*numbers.values())
    return tuple((number, size // unit) for number, size in sorted(numbers.items()))


def settled(
    kept: Sequence[int],
    num_channels: Sequence[int],
    together: Iterable[Sequence[int]],
    ladders: Iterable[Ladder] = (),
) -> tuple[int, ...]:
    """Widths in which groups that keep the same share do so: the largest share of each set, or the next there is.

    Those of a ladder take the step that comes nearest.

    Examples:
        >>> settled((17, 3, 5), (32, 8, 5), [(0, 1)])
        (20, 5, 5)
    """
    widths = list(kept)
    names = [str(number) for number in range(len(widths))]
    for tied in tied_sets(names, num_channels, (), together):
        if len(tied) > 1:
            units = max(-(-widths[number] // unit) for number, unit in tied)
            for number, unit in tied:
                widths[number] = units * unit
    for ladder in ladders:
        for number, width in zip(ladder.groups, ladder.nearest(widths), strict=True):
            widths[number] = width
    return tuple(widths)
