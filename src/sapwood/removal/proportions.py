"""Widths that a model's code makes of each other: they can only lose the same share.

Attention that cuts ``width // heads`` out of what ``3 * width`` rows made runs at any width of its input, as long as
the rows of each head lose as large a share as the input. No attribute says so; it shows where the code fails.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

import numpy as np

from sapwood.graph import Analysis, Structure
from sapwood.ops import Axis, Call
from sapwood.removal.beside import Divergence
from sapwood.removal.widths import Expectation
from sapwood.removal.widths_behind import Width

MAX_CALLS = 60
"""How many calls before the one in the way are looked at, and behind it where it is the first of its module."""


def proportions(
    structure: Structure, analysis: Analysis, expectation: Expectation, divergence: Divergence
) -> tuple[tuple[Width, ...], ...]:
    """Finds dimensions that may have to lose the same share, so that the code before a call fits.

    Args:
        structure: The dense model's recorded run.
        analysis: Its groups.
        expectation: What a plan makes of every tensor.
        divergence: Where the compact model does not follow.

    Returns:
        The dimensions, and those at the same line of other modules of the same class; nothing where all dimensions near
        the call keep the same share already.
    """
    clusters, call = _Clusters(analysis), divergence.call
    mentioned = {int(number) for number in re.findall(r"\d+", str(divergence.found))}
    before, behind = _around(analysis, call)
    own = (
        _differing(analysis, clusters, expectation, before, mentioned)
        or _differing(analysis, clusters, expectation, before)
        or _differing(analysis, clusters, expectation, [call, *behind])
    )
    if not own or not clusters.have_a_share(own, analysis):
        return ()
    return (own, *(peers for peers in _of_peers(structure, call, own) if clusters.have_a_share(peers, analysis)))


def _of_peers(structure: Structure, call: Call, own: Sequence[Width]) -> Iterator[tuple[Width, ...]]:
    """The same dimensions at the same call of other modules of the same class."""
    calls = structure.graph.sites()
    sites = {one.index: site for site, one in calls.items()}
    own_class = type(structure.model.get_submodule(call.module))
    for module, *place in list(calls):
        if (
            module != call.module
            and place == [*sites[call.index][1:]]
            and type(structure.model.get_submodule(module)) is own_class
        ):
            found = []
            for width in own:
                inside, location, name, count = sites[width.call.index]
                peer = calls.get((module + inside[len(call.module) :], location, name, count))
                found += [replace(width, call=peer)] if peer is not None and _is_alike(peer, width) else []
            if len(found) == len(own):
                yield tuple(found)


def _is_alike(peer: Call, width: Width) -> bool:
    """Whether a call at the same line has that dimension: it may read more or fewer tensors, of other ranks."""
    tensors, own = ([*call.tensor_inputs(), *call.tensor_outputs()] for call in (peer, width.call))
    return [len(one.shape) for one in tensors] == [len(one.shape) for one in own]


class _Clusters:
    """Which groups keep one share: factors of one dimension, of which one goes, and what is known to go together."""

    def __init__(self, analysis: Analysis) -> None:
        self._atoms = analysis.context.atoms
        self._owner = {unit: number for number, group in enumerate(analysis.groups) for unit in group.units}
        self._parent = list(range(len(analysis.groups)))
        factored = [(axis,) for axes in analysis.axes.values() for axis in axes if axis.shape[1] > 1]
        for axes in (*factored, *analysis.together):
            numbers = [number for axis in axes for number in self._numbers(axis)]
            for number in numbers[1:]:
                self._parent[self._root(number)] = self._root(numbers[0])

    def of(self, axis: Axis) -> int | None:
        """The cluster whose share ``axis`` keeps; None where some of its indices are in no group, or in another."""
        roots = self._atoms.resolve(axis)
        for column in roots.T:
            owners = {self._owner.get(unit) for unit in np.unique(column).tolist()}
            clusters = {None if number is None else self._root(number) for number in owners}
            if len(clusters) == 1 and None not in clusters:
                return clusters.pop()
        return None

    def have_a_share(self, widths: Sequence[Width], analysis: Analysis) -> bool:
        """Whether dimensions could keep the same share, but all: of a product that of its widest factor counts."""
        size = 0
        for width in widths:
            ref = [*width.call.tensor_inputs(), *width.call.tensor_outputs()][width.number]
            axis = analysis.context.axes(ref)[width.dim]
            if self.of(axis) is None:
                return False
            groups = [analysis.groups[number] for number in self._numbers(axis)]
            size = math.gcd(size, max(group.num_channels for group in groups) if axis.shape[1] > 1 else len(axis))
        return size != 1

    def _numbers(self, axis: Axis) -> list[int]:
        units = np.unique(self._atoms.resolve(axis)).tolist()
        return sorted({self._owner[unit] for unit in units if unit in self._owner})

    def _root(self, number: int) -> int:
        while self._parent[number] != number:
            number = self._parent[number]
        return number


def _around(analysis: Analysis, call: Call) -> tuple[list[Call], list[Call]]:
    """The call with those before it in its module, the nearest first, and those behind it."""
    inside = [one for one in analysis.graph.calls if one.modules[: len(call.modules)] == call.modules]
    place = [one.index for one in inside].index(call.index)
    return inside[: place + 1][::-1][:MAX_CALLS], inside[place + 1 :][:MAX_CALLS]


def _differing(
    analysis: Analysis,
    clusters: _Clusters,
    expectation: Expectation,
    calls: Sequence[Call],
    mentioned: Collection[int] | None = None,
) -> tuple[Width, ...]:
    """Dimensions of the first of the calls, and of the nearest behind it in the list, that keep different shares now.

    Args:
        analysis: The groups.
        clusters: Which of them keep one share in any case.
        expectation: What a plan makes of every tensor.
        calls: The calls.
        mentioned: Sizes of which dimensions of all calls but the first have one, as those that an error names.
    """
    found: dict[int, tuple[Width, float]] = {}
    size = 0
    for other in calls:
        for number, ref in enumerate((*other.tensor_inputs(), *other.tensor_outputs())):
            for dim, axis in enumerate(analysis.context.axes(ref)):
                cluster = clusters.of(axis) if len(axis) > 1 else None
                alive = expectation.alive(axis)
                unlikely = mentioned is not None and other is not calls[0] and alive.sum() not in mentioned
                if cluster is None or unlikely or math.gcd(size, len(axis)) == 1:  # no share but all suits both
                    continue
                size = size or len(axis)
                if cluster not in found or alive.mean() < found[cluster][1]:
                    found[cluster] = (Width(other, number, dim), float(alive.mean()))
        if len({share for _, share in found.values()}) > 1:
            return tuple(width for width, _ in found.values())
    return ()
