"""In which order the channels of a compact model stand, where its code shuffles them.

The code is what it was, so it puts fewer channels into another order than the dense model's. The compact model's run is
analysed as the dense one was; what stays of the dense model takes the places there of channels of the same kind: of
those that stand in the same dimensions of the same parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import compress
from typing import Any, TypeAlias

import numpy as np

from sapwood.graph import Analysis, build_groups, find_shuffles, leaving_no_trace, plain_kernels, trace
from sapwood.models import Cut
from sapwood.ops import ALWAYS, Axis, Call, TensorRef

Place: TypeAlias = tuple[str, int]
"""A parameter or buffer, and a dimension of it."""

Marks: TypeAlias = "np.ndarray[Any, np.dtype[np.uint64]]"
"""One number a kind of channel."""

Flags: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"


def reached(analysis: Analysis, call: Call) -> tuple[Call, ...]:
    """Where the shuffles begin that meet a call, or another such shuffle, of those of which any channels may go."""
    context = analysis.context
    met = np.zeros(len(context.atoms), dtype=np.bool_)
    for ref in (*call.tensor_inputs(), *call.tensor_outputs()):
        for axis in context.axes(ref):
            met[context.atoms.resolve(axis)] = True
    met[ALWAYS] = False
    waiting, found = list(analysis.shuffles.values()), []
    while waiting:
        axes = [context.atoms.resolve(context.axes(one.source)[one.dim]) for one in waiting]
        near = [met[axis].any() or call in one.all_calls for one, axis in zip(waiting, axes, strict=True)]
        if not any(near):
            break
        for axis in compress(axes, near):
            met[axis] = True
        met[ALWAYS] = False
        found += [one.calls[0] for one in compress(waiting, near)]
        waiting = [one for one, own in zip(waiting, near, strict=True) if not own]
    return tuple(found)


@dataclass(frozen=True)
class Orders:
    """The order of what stays.

    Attributes:
        dense: The dense model's analysis.
        compact: The compact model's.
        names: For each atom of the compact model the dense one that stands in its place, itself for what is not moved.
        moved: For each atom of the dense model, whether it may stand elsewhere.
        of_places: For each dimension of a parameter or buffer that holds such, the dense indices in order.
    """

    dense: Analysis
    compact: Analysis
    names: Axis
    moved: Flags
    of_places: Mapping[Place, Axis]

    def cuts(self, cuts: Sequence[Cut]) -> tuple[Cut, ...]:
        """Cuts that keep what they kept, in order; where nothing goes from a dimension, its order alone may change."""
        found = {(cut.tensor, cut.dim): cut for cut in cuts}
        for (name, dim), kept in self.of_places.items():
            width = self.dense.shapes[name][dim]
            if (name, dim) in found:
                found[name, dim] = replace(found[name, dim], kept=tuple(kept.tolist()))
            elif not np.array_equal(kept, np.arange(width)):
                found[name, dim] = Cut(name, dim, width, tuple(kept.tolist()))
        return tuple(found.values())

    def of_tensor(self, ref: TensorRef, dim: int, alive: Flags) -> Axis | None:
        """The dense indices of a dimension in the order of the compact model; None where it is the same."""
        axis = self.dense.context.atoms.resolve(self.dense.context.axes(ref)[dim])
        other = self._counterparts.get(ref.id)
        if not self.moved[axis].any() or other is None:
            return None
        twin = self.compact.context.atoms.resolve(self.compact.context.axes(other)[dim])
        return _paired(axis, alive, self.names[twin])

    @cached_property
    def _counterparts(self) -> dict[int, TensorRef]:
        """For the number of each tensor that a call made the same one of the compact model."""
        return {
            ref.id: other
            for call, twin in zip(self.dense.graph.calls, self.compact.graph.calls, strict=True)
            for ref, other in zip(call.tensor_outputs(), twin.tensor_outputs(), strict=True)
        }


def find_orders(dense: Analysis, alive: Mapping[Place, Flags], model: Any, inputs: Any) -> Orders | None:
    """Finds the order for a compact model whose shapes are right.

    Args:
        dense: The dense model's analysis.
        alive: For each dimension of a parameter or buffer what stays.
        model: The compact model, or one of its shapes.
        inputs: Its example inputs.

    Returns:
        The order; None where the code asks for channels of kinds that do not stay.
    """
    with leaving_no_trace(model), plain_kernels(model):
        graph = trace(model, inputs)
    if [call.op for call in graph.calls] != [call.op for call in dense.graph.calls]:
        return None
    narrow = {start: one for start, one in find_shuffles(graph).items() if start in dense.shuffles}
    compact = build_groups(graph, loose=narrow, tied=dense.tied, climbed=False, by_position=dense.by_position)
    moved, places = _moved(dense)
    return _Match(dense, compact, alive, moved, places).orders()


def _moved(analysis: Analysis) -> tuple[Flags, list[Place]]:
    """The atoms that shuffles reach, with all that they stand beside, and the dimensions where these are."""
    atoms = analysis.context.atoms
    moved = np.zeros(len(atoms), dtype=np.bool_)
    for shuffle in analysis.shuffles.values():
        moved[atoms.resolve(analysis.context.axes(shuffle.source)[shuffle.dim])] = True
    moved[ALWAYS] = False
    places: list[Place] = []
    waiting = [(name, dim) for name, axes in analysis.axes.items() for dim in range(len(axes))]
    while True:
        found = [place for place in waiting if moved[analysis.axes[place[0]][place[1]]].any()]
        if not found:
            return moved, places
        for name, dim in found:
            moved[analysis.axes[name][dim]] = True
        moved[ALWAYS] = False
        places += found
        waiting = [place for place in waiting if place not in found]


class _Match:
    """The atoms of two analyses, put side by side."""

    def __init__(
        self, dense: Analysis, compact: Analysis, alive: Mapping[Place, Flags], moved: Flags, places: Sequence[Place]
    ) -> None:
        self._dense, self._compact, self._moved, self._alive = dense, compact, moved, alive
        self._places = places
        widest = max((self._rows(dense, place).shape[1] for place in places), default=0)
        self._marks = np.random.default_rng(0).integers(0, 2**63, size=(len(places), widest), dtype=np.uint64)

    def orders(self) -> Orders | None:
        """The order, where there is one."""
        rows = [self._rows(self._dense, place)[self._alive[place]] for place in self._places]
        twins = [self._rows(self._compact, place) for place in self._places]
        if [own.shape for own in rows] != [twin.shape for twin in twins]:
            return None
        own, kinds = self._sorted(rows, len(self._dense.context.atoms))
        other, wanted = self._sorted(twins, len(self._compact.context.atoms))
        if not np.array_equal(kinds, wanted):
            return None
        names = np.full(len(self._compact.context.atoms), -1, dtype=np.int64)
        names[other] = own
        names[ALWAYS] = ALWAYS
        found = {}
        for place, twin in zip(self._places, twins, strict=True):
            order = _paired(self._rows(self._dense, place), self._alive[place], names[twin])
            if order is None:
                return None
            found[place] = order
        return Orders(self._dense, self._compact, names, self._moved, found)

    @staticmethod
    def _rows(analysis: Analysis, place: Place) -> Axis:
        return analysis.axes[place[0]][place[1]]

    def _sorted(self, rows: Sequence[Axis], count: int) -> tuple[Axis, Marks]:
        """The atoms, by kind and then by where they come first; and their kinds."""
        kinds = np.zeros(count, dtype=np.uint64)
        first = np.full(count, np.iinfo(np.int64).max)
        begin = 0
        for marks, own in zip(self._marks, rows, strict=True):
            for mark, column in zip(marks, own.T, strict=False):
                units, at = np.unique(column, return_index=True)
                kinds[units] += mark
                first[units] = np.minimum(first[units], begin + at)
            begin += len(own)
        kinds[ALWAYS] = 0
        units = np.flatnonzero(kinds).astype(np.int64)
        order = np.lexsort((first[units], kinds[units]))
        return units[order], kinds[units][order]


def _paired(axis: Axis, alive: Flags, wanted: Axis) -> Axis | None:
    """The indices of ``axis`` that are alive, put so that their atoms are ``wanted``; None where they are others.

    Of indices that have the same atoms the order stays.
    """
    places = np.flatnonzero(alive)
    own = axis[places]
    if own.shape != wanted.shape:
        return None
    left, right = (np.lexsort(np.sort(rows, axis=1).T[::-1]) for rows in (own, wanted))
    if not np.array_equal(np.sort(own, axis=1)[left], np.sort(wanted, axis=1)[right]):
        return None
    found = np.empty(len(places), dtype=np.int64)
    found[right] = places[left]
    return found
