"""How many channels of each group may stay where a model shuffles them.

Behind a shuffle code cuts channels by position: one half goes through a block, the other passes, and the halves are
shuffled again. Which block a channel is read by follows from its place, so that code which is not changed asks for so
many channels of each kind; which ones these are is free, for producers and readers are permuted alike. The numbers are
found by doing to narrower axes what the code did to the dense ones.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from sapwood.ops import ALWAYS, Atoms, Axis, Derived, Turned

Key: TypeAlias = bytes
"""An axis by its atoms."""

Marks: TypeAlias = "np.ndarray[Any, np.dtype[np.uint64]]"
"""One number a kind of channel."""

MAX_STEPS = 512
"""Of wider axes not every width is a step."""

FIXED = -1
"""Stands for a group where a channel is in none, and so stays."""


@dataclass(frozen=True)
class Ladder:
    """Groups that are decided on together, in steps.

    Attributes:
        groups: Their numbers.
        levels: How wide each step is, as a number of channels of the widest axis that is shuffled; ascending, the last
            one is the full width. Shape (L,).
        rows: How many channels each group keeps at each step; none where the code asks for none of its kind.
            Shape (L, groups).
    """

    groups: tuple[int, ...]
    levels: Axis
    rows: Axis

    def nearest(self, kept: Sequence[int]) -> tuple[int, ...]:
        """What the groups keep at the step that comes nearest to ``kept``, numbers of all groups, in their sum."""
        wanted = sum(kept[number] for number in self.groups)
        return tuple(self.rows[int(np.argmin(np.abs(self.rows.sum(axis=1) - wanted)))].tolist())


@dataclass(frozen=True, eq=False)
class _Making:
    made: Key
    sources: tuple[Key, ...]
    derived: Derived


def ladders(
    atoms: Atoms, derived: Iterable[Derived], groups: Sequence[Sequence[int]]
) -> tuple[tuple[Ladder, ...], list[Turned]]:
    """Finds the groups that shuffles tie, and the numbers that these may keep.

    Args:
        atoms: Of the analysis.
        derived: How its axes were made.
        groups: The units of each group.

    Returns:
        One ladder for each set of axes that shuffles connect, and the shuffles for which nothing but the full width is
        right. Axes of which an index needs several channels are in no such set: they are cut as a grid is.
    """
    steps, axes = _steps(atoms, derived)
    owner = np.full(len(atoms), FIXED, dtype=np.int64)
    for number, units in enumerate(groups):
        owner[list(units)] = number
    found: list[Ladder] = []
    stiff: list[Turned] = []
    for own in _connected(steps, axes, owner):
        shuffles = [step.derived.way for step in own if isinstance(step.derived.way, Turned)]
        ladder = _Numbers(own, axes, owner, groups).ladder() if shuffles else None
        if ladder is not None:
            found.append(ladder)
        else:
            stiff += shuffles
    return tuple(found), stiff


def _steps(atoms: Atoms, derived: Iterable[Derived]) -> tuple[list[_Making], dict[Key, Axis]]:
    """What was done to axes of which each index is one channel, and these axes."""
    axes: dict[Key, Axis] = {}
    steps: dict[tuple[Key, tuple[Key, ...], str], _Making] = {}
    for one in derived:
        resolved = [atoms.resolve(axis) for axis in (one.made, *one.sources)]
        if any(axis.shape[1] > 1 for axis in resolved):
            continue
        columns = [axis[:, 0] if axis.shape[1] else np.full(len(axis), ALWAYS, dtype=np.int64) for axis in resolved]
        keys = [column.tobytes() for column in columns]
        if keys[0] not in keys[1:] and (columns[0] != ALWAYS).any():
            axes.update(zip(keys, columns, strict=True))
            steps.setdefault((keys[0], tuple(keys[1:]), str(one.way)), _Making(keys[0], tuple(keys[1:]), one))
    return list(steps.values()), axes


def _connected(steps: Sequence[_Making], axes: Mapping[Key, Axis], owner: Axis) -> list[list[_Making]]:
    """The steps in sets that share no group."""
    sets: list[tuple[set[int], list[_Making]]] = []
    for step in steps:
        own = {int(number) for key in (step.made, *step.sources) for number in np.unique(owner[axes[key]])} - {FIXED}
        joined, together = set(own), [step]
        rest = []
        for numbers, others in sets:
            if numbers & joined:
                joined |= numbers
                together = others + together
            else:
                rest.append((numbers, others))
        sets = [*rest, (joined, together)]
    return [own for numbers, own in sets if numbers]


class _Numbers:
    """One set of axes that shuffles connect."""

    def __init__(
        self, steps: Sequence[_Making], axes: Mapping[Key, Axis], owner: Axis, groups: Sequence[Sequence[int]]
    ) -> None:
        self._axes, self._owner, self._groups = axes, owner, groups
        made = {step.made for step in steps}
        self._sources = list(dict.fromkeys(key for step in steps for key in step.sources if key not in made))
        self._steps = _in_order(steps, self._sources)
        self._full = tuple(len(axes[key]) for key in self._sources)
        keys = [*self._sources, *made]
        marks = np.random.default_rng(0).integers(0, 2**63, size=len(keys), dtype=np.uint64)
        self._marks = dict(zip(keys, marks, strict=True))

    def ladder(self) -> Ladder | None:
        """The steps at which the code asks for channels of kinds that there are; None where that is one alone."""
        kinds = self._kinds()
        if kinds is None:
            return None
        numbers = tuple(sorted(set(kinds.values()) - {FIXED}))
        most = np.array([len(self._groups[number]) for number in numbers])
        whole = self._counted(self._full, kinds)
        if whole is None or [whole[number] for number in numbers] != most.tolist():
            return None
        levels, rows = [], []
        widest = max(self._full)
        for level in range(widest, 0, -widest // MAX_STEPS):
            for sizes in self._sizes(level):
                counts = self._counted(sizes, kinds)
                row = None if counts is None else np.array([counts[number] for number in numbers])
                if counts is not None and counts[FIXED] == whole[FIXED] and (row <= most).all():
                    levels.append(level)
                    rows.append(row)
                    break
        return Ladder(numbers, np.array(levels[::-1]), np.array(rows[::-1])) if len(levels) > 1 else None

    def _sizes(self, level: int) -> Iterator[tuple[int, ...]]:
        """Sizes of the sources at a step: in proportion and, where they differ, with one more or less of one."""
        full = self._full
        sizes = [max(1, round(level * size / max(full))) for size in full]
        yield tuple(sizes)
        if len(set(full)) > 1 and level < max(full):
            for place, change in itertools.product(range(len(full)), (1, -1)):
                if 0 < sizes[place] + change <= full[place]:
                    yield (*sizes[:place], sizes[place] + change, *sizes[place + 1 :])

    def _kinds(self) -> dict[int, int] | None:
        """The group of each kind of channel: those of one kind stand in the same axes."""
        marked = self._marked(self._full)
        if marked is None:
            return None
        units = np.concatenate([self._axes[key] for key in self._sources])
        if len(np.unique(units[units != ALWAYS])) != (units != ALWAYS).sum():
            return None  # a channel of two axes, of which neither is made of the other
        kinds: dict[int, int] = {}
        for mark, number in set(zip(marked.tolist(), self._owner[units].tolist(), strict=True)):
            if kinds.setdefault(mark, number) != number:
                return None
        return kinds

    def _counted(self, sizes: Sequence[int], kinds: Mapping[int, int]) -> dict[int, int] | None:
        """How many channels of each group the code asks for at sizes of the sources; None where there are none such."""
        marked = self._marked(sizes)
        if marked is None:
            return None
        counts: dict[int, int] = defaultdict(int)
        for mark, count in zip(*(found.tolist() for found in np.unique(marked, return_counts=True)), strict=True):
            if mark not in kinds:
                return None
            counts[kinds[mark]] += count
        return counts

    def _marked(self, sizes: Sequence[int]) -> Marks | None:
        """For each channel of the sources, which axes it stands in; None where the code does not run at their sizes."""
        ends = np.cumsum(sizes)
        made = {
            key: np.arange(end - size, end, dtype=np.int64)
            for key, size, end in zip(self._sources, sizes, ends.tolist(), strict=True)
        }
        for step in self._steps:
            found = step.derived.way.of([made[key] for key in step.sources])
            if found is None or not np.array_equal(made.setdefault(step.made, found), found):
                return None
        if min(map(len, made.values())) < 2:
            return None  # a dimension of one index is one of no channels
        marks = np.zeros(int(ends[-1]), dtype=np.uint64)
        for key, places in made.items():
            np.add.at(marks, places, self._marks[key])
        return marks


def _in_order(steps: Sequence[_Making], sources: Iterable[Key]) -> list[_Making]:
    """The steps, each behind those that make what it is made of; without those that make each other."""
    known, waiting = set(sources), list(steps)
    ordered: list[_Making] = []
    while waiting:
        ready = [step for step in waiting if known.issuperset(step.sources)]
        if not ready:
            break
        waiting = [step for step in waiting if not known.issuperset(step.sources)]
        known.update(step.made for step in ready)
        ordered += ready
    return ordered
