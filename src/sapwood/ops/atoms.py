"""Index atoms: which indices of which tensors must stay or go together.

Every dimension of every tensor is an *axis*: an integer array of shape (size, k) whose row ``i`` holds the atoms of
index ``i``. The index is alive while all of its atoms are. An axis without columns carries nothing that can be pruned.
The functions here only move and join atoms; where two axes cannot be joined exactly, both are frozen with a reason.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

Axis: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
"""int64, shape (size, k): the atoms of each index."""

ALWAYS = 0
"""The atom that is always alive; it fills up rows that have fewer atoms than their axis has columns."""

CUT = "is cut together with indices that stay"
"""Why indices stay of a dimension that is cut into several, of which some hold nothing that can go."""

TWO_WAYS = "its indices are grouped in two ways that do not match"
"""Why indices stay that one side takes for parts of dimensions which the other does not have."""

NEVER = -1
"""Stands for the number of an expansion where an atom has none."""


FIRST = 1 << 12
"""Atoms that there is room for at first."""


@functools.lru_cache(maxsize=1 << 10)
def fixed_axis(size: int) -> Axis:
    """An axis none of whose indices can go."""
    return np.zeros((size, 0), dtype=np.int64)


class Atoms:
    """A union-find over atoms, with atoms that turn out to be made of several others.

    Splitting a dimension of 512 into 8 x 64 makes atoms ``h`` and ``d``; the atom of the old index ``i`` then *expands*
    to ``{h[i // 64], d[i % 64]}`` wherever it stands.

    Examples:
        >>> atoms = Atoms()
        >>> a, b = atoms.fresh(4), atoms.fresh(4)
        >>> atoms.join(a, b, "added")
        >>> bool((atoms.resolve(a) == atoms.resolve(b)).all())
        True
    """

    def __init__(self) -> None:
        self._parent = np.zeros(1, dtype=np.int64)
        self._count = 1
        self._expansion: list[Axis] = []
        self._expanded = np.full(1, NEVER, dtype=np.int64)
        self._expanded_row = np.zeros(1, dtype=np.int64)
        self._reason: dict[int, str] = {ALWAYS: "a dimension of fixed size"}
        self._frozen = np.ones(1, dtype=np.bool_)
        self._grow(FIRST)

    def __len__(self) -> int:
        return self._count

    def fresh(self, size: int) -> Axis:
        """An axis of ``size`` new atoms; an axis of one index carries none, for the last index never goes."""
        if size <= 1:
            return fixed_axis(size)
        start = self._count
        self._count += size
        if self._count > len(self._parent):
            self._grow(max(self._count, 2 * len(self._parent)))
        return np.arange(start, start + size, dtype=np.int64)[:, None]

    def _grow(self, size: int) -> None:
        old = len(self._parent)
        more = size - old
        self._parent = np.concatenate((self._parent, np.arange(old, size, dtype=np.int64)))
        self._expanded = np.concatenate((self._expanded, np.full(more, NEVER, dtype=np.int64)))
        self._expanded_row = np.concatenate((self._expanded_row, np.zeros(more, dtype=np.int64)))
        self._frozen = np.concatenate((self._frozen, np.zeros(more, dtype=np.bool_)))

    def find(self, atoms: Axis) -> Axis:
        """The representative of each atom."""
        roots = self._parent[atoms]
        above = self._parent[roots]
        if _equal(above, roots):  # as after most looks before this one
            return roots
        while not _equal(above, roots):
            roots = above
            above = self._parent[roots]
        self._parent[atoms] = roots
        return roots

    def resolve(self, axis: Axis) -> Axis:
        """The axis in representatives, with every expanded atom replaced by what it is made of."""
        columns: list[Axis] = []
        for number in range(axis.shape[1]):
            columns += self._resolve_column(self.find(axis[:, number]))
        if len(columns) == 1:
            return columns[0][:, None] if np.count_nonzero(columns[0]) else fixed_axis(len(axis))
        kept = {column.tobytes(): column for column in columns if np.count_nonzero(column)}
        return np.stack(list(kept.values()), axis=1) if kept else fixed_axis(len(axis))

    def resolve_all(self, axes: Sequence[Axis]) -> list[Axis]:
        """What :meth:`resolve` makes of each: one array for those that come out alike, as of a norm's four tensors."""
        single = [number for number, axis in enumerate(axes) if axis.shape[1] == 1 and len(axis)]
        roots = self.find(np.concatenate([axes[number][:, 0] for number in single] or [np.zeros(0, dtype=np.int64)]))
        made: dict[bytes, Axis] = {}
        found = list(axes)
        start = 0
        for number in single:
            end = start + len(axes[number])
            column = roots[start:end]
            key = column.tobytes()
            if key not in made:
                made[key] = self.resolve(column[:, None])
            found[number] = made[key]
            start = end
        return [
            self.resolve(axis) if axis.shape[1] > 1 and axis is axes[place] else axis
            for place, axis in enumerate(found)
        ]

    def _resolve_column(self, column: Axis) -> list[Axis]:
        if not self._expansion:
            return [column]
        numbers = self._expanded[column]
        if _everywhere(numbers == numbers[:1]):  # all in one way, as they mostly are
            if not len(numbers) or numbers[0] == NEVER:
                return [column]
            whole = self._expansion[numbers[0]][self._expanded_row[column]]
        else:
            known = [number for number in np.unique(numbers).tolist() if number != NEVER]
            width = max(self._expansion[number].shape[1] for number in known)
            whole = np.full((len(column), width), ALWAYS, dtype=np.int64)
            whole[:, 0] = column
            for number in known:
                rows, table = numbers == number, self._expansion[number]
                whole[rows, : table.shape[1]] = table[self._expanded_row[column[rows]]]
        return [part for place in range(whole.shape[1]) for part in self._resolve_column(self.find(whole[:, place]))]

    def spread(self, flags: np.ndarray[Any, np.dtype[np.bool_]]) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """For each atom, whether its representative, or one of those that it is made of, is flagged.

        What holds for an axis is then one look at each of its atoms, without :meth:`resolve`.
        """
        found = flags[self.find(np.arange(self._count))]
        expanded = np.flatnonzero(self._expanded[: self._count] != NEVER)
        if not len(expanded):
            return found
        sizes = [len(table) for table in self._expansion]
        tables = np.full((sum(sizes), max(table.shape[1] for table in self._expansion)), ALWAYS, dtype=np.int64)
        starts = np.cumsum([0, *sizes[:-1]])
        for start, table in zip(starts.tolist(), self._expansion, strict=True):
            tables[start : start + len(table), : table.shape[1]] = table
        parts = tables[starts[self._expanded[expanded]] + self._expanded_row[expanded]]
        while True:  # as often as expansions stand in expansions
            more = found[parts].any(axis=1) & ~found[expanded]
            if not more.any():
                return found
            found[expanded[more]] = True
            found |= found[self._parent[: self._count]]

    def freeze(self, axis: Axis, reason: str) -> None:
        """Keeps every index of ``axis`` alive for good; the first reason is remembered."""
        roots = self.resolve(axis)
        fresh = roots[~self._frozen[roots]]
        self._reason.update(dict.fromkeys(fresh.tolist(), reason))  # those that are frozen have one, and no others
        self._frozen[fresh] = True

    def _hold(self, root: int, reason: str) -> None:
        self._reason.setdefault(root, reason)
        self._frozen[root] = True

    def frozen_reason(self, root: int) -> str | None:
        """Why the atom can never go, or None where it can."""
        return self._reason.get(root)

    def is_frozen(self, roots: Axis) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """For each representative, whether it can never go."""
        return np.asarray(self._frozen[roots], dtype=np.bool_)

    def join(self, first: Axis, second: Axis, reason: str) -> None:
        """Says that index ``i`` of both axes is alive at the same time, for every ``i``.

        Args:
            first: Axis of some size.
            second: Axis of the same size.
            reason: Why a fixed side freezes the other, should one be fixed.
        """
        if len(first) != len(second):
            raise ValueError(f"axes of {len(first)} and {len(second)} indices cannot be joined")
        first, second = self.resolve(first), self.resolve(second)
        if not len(first):
            return
        if first.shape == second.shape:
            if _equal(first, second):
                return
            if (
                first.shape[1] == 1 and _everywhere(first) and _everywhere(second)
            ):  # no index stays for good: as most joins are
                self._union_roots(first[:, 0], second[:, 0])
                return
        counts = np.stack([(axis != ALWAYS).sum(axis=1) for axis in (first, second)], axis=1)
        if (counts == counts[:1]).all():
            self._join_rows(_compact(first, counts[0, 0]), _compact(second, counts[0, 1]), reason)
            return
        for pair in np.unique(counts, axis=0):  # what is made of what may be another thing behind each of them
            rows = (counts == pair).all(axis=1)
            self.join(first[rows], second[rows], reason)

    def _join_rows(self, first: Axis, second: Axis, reason: str) -> None:
        wide, narrow = (first, second) if first.shape[1] >= second.shape[1] else (second, first)
        if narrow.shape[1] == 0:
            self.freeze(wide, reason)
        elif narrow.shape[1] == wide.shape[1]:
            for left, right in zip(self._aligned(first, second), second.T, strict=True):
                self._union(left, right)
        elif narrow.shape[1] == 1:
            self._expand(narrow[:, 0], wide)
        elif (whole := (wide == wide[:1]).all(axis=0)).any():  # a part as a whole, which the other side does not know
            self.freeze(wide[:, whole], f"{reason}; {TWO_WAYS}")
            self._join_rows(wide[:, ~whole], narrow, reason)
        else:
            self.freeze(wide, f"{reason}; {TWO_WAYS}")
            self.freeze(narrow, f"{reason}; {TWO_WAYS}")

    @staticmethod
    def _aligned(first: Axis, second: Axis) -> list[Axis]:
        """The columns of ``first``, those that also stand in ``second`` put where they stand there."""
        left = {number: first[:, number] for number in range(first.shape[1])}
        placed: dict[int, Axis] = {}
        for target in range(second.shape[1]):
            for number, column in list(left.items()):
                if np.array_equal(column, second[:, target]):
                    placed[target] = left.pop(number)
                    break
        rest = iter(left.values())
        return [placed[target] if target in placed else next(rest) for target in range(second.shape[1])]

    def _union(self, first: Axis, second: Axis) -> None:
        self._union_roots(self.find(first), self.find(second))

    def _union_roots(self, left: Axis, right: Axis) -> None:
        while not _equal(left, right):
            low, high = np.minimum(left, right), np.maximum(left, right)
            held = high[self._frozen[high]]
            each_once = _everywhere(high[1:] > high[:-1])  # as channels mostly stand
            if each_once:
                self._parent[high] = low
            else:
                np.minimum.at(self._parent, high, low)
            if len(held):
                self._hold_like(self.find(held), held)
            if each_once:
                return
            left, right = self.find(left), self.find(right)

    def _hold_like(self, roots: Axis, held: Axis) -> None:
        """Freezes what frozen atoms were joined to."""
        new = ~self._frozen[roots]
        for child, root in zip(held[new].tolist(), roots[new].tolist(), strict=True):
            self._hold(root, self._reason[child])

    def _expand(self, column: Axis, parts: Axis) -> None:
        """Says that each atom of ``column`` is made of the atoms of its row of ``parts``."""
        if not _everywhere(column[1:] > column[:-1]):
            order = np.argsort(column, kind="stable")
            ordered = column[order]
            same = ordered[1:] == ordered[:-1]
            if np.count_nonzero(same):
                self.join_columns(parts[order[1:][same]], parts[order[:-1][same]])
                parts = np.stack([self.find(parts[:, number]) for number in range(parts.shape[1])], axis=1)
        if parts.max() >= column.min() and parts.min() <= column.max() and np.isin(parts, column).any():
            own = (parts == column[:, None]).all(axis=0)  # each is made of itself and of what then has to stay
            self.freeze(parts[:, ~own], "its indices are tied to groups of themselves")
            return
        held = self._frozen[column]
        for root, row in zip(column[held].tolist(), parts[held].tolist(), strict=True):
            for part in row:
                self._hold(part, self._reason[root])
        self._expanded[column] = len(self._expansion)
        self._expanded_row[column] = np.arange(len(column))
        self._expansion.append(_each_once(parts))

    def join_columns(self, first: Axis, second: Axis) -> None:
        """Joins two arrays of atoms position by position."""
        for left, right in zip(first.T, second.T, strict=True):
            self._union(left, right)

    def split(self, axis: Axis, sizes: Sequence[int], reason: str = CUT) -> list[Axis]:
        """Cuts one axis into several, row-major: index ``i`` becomes (``i // sizes[1]``, ``i % sizes[1]``).

        Atoms that vary along one of the new dimensions only go to that dimension; others are made of new atoms, so
        that what is kept is always rectangular.

        Args:
            axis: Axis whose size is the product of ``sizes``.
            sizes: Sizes of the new dimensions, outermost first.
            reason: Why indices stay that are cut together with such as stay.

        Returns:
            One axis a size.
        """
        columns: list[list[Axis]] = [[] for _ in sizes]
        resolved = self.resolve(axis)
        if self._is_grouped_in_part(resolved, sizes):
            whole = [self.fresh(size) for size in sizes]
            self.join(resolved, merge(whole), reason)
            return whole
        for number in range(resolved.shape[1]):
            column = resolved[:, number]
            varies = _varies(column, sizes)
            grid = column.reshape(tuple(sizes))
            if len(varies) > 1:
                fresh = {dim: self.fresh(sizes[dim]) for dim in varies}
                self.join(
                    column[:, None], merge([fresh.get(dim, fixed_axis(n)) for dim, n in enumerate(sizes)]), reason
                )
                for dim, part in fresh.items():
                    columns[dim].append(part)
            else:
                dim = varies[0] if varies else 0
                columns[dim].append(np.moveaxis(grid, dim, 0).reshape(sizes[dim], -1)[:, :1])
        return [
            np.concatenate(parts, axis=1) if parts else fixed_axis(size)
            for parts, size in zip(columns, sizes, strict=True)
        ]

    @staticmethod
    def _is_grouped_in_part(axis: Axis, sizes: Sequence[int]) -> bool:
        """Whether some indices of an axis are made of more atoms than others, as many as there are sizes at most.

        So it is where what is concatenated has groups of its own on one side: what one index lacks, others have.
        """
        if axis.shape[1] < 2 or axis.shape[1] > sum(size > 1 for size in sizes):
            return False
        lacking = (axis == ALWAYS).any(axis=0) & (axis != ALWAYS).any(axis=0)
        return any(len(_varies(axis[:, number], sizes)) > 1 for number in np.flatnonzero(lacking))


def _varies(column: Axis, sizes: Sequence[int]) -> list[int]:
    """The dimensions of a grid along which a column is not one and the same."""
    grid = column.reshape(tuple(sizes))
    return [dim for dim in range(len(sizes)) if (grid != grid.take([0], axis=dim)).any()]


def merge(axes: Sequence[Axis]) -> Axis:
    """Makes one axis of several, row-major: the reverse of :meth:`Atoms.split`.

    Examples:
        >>> merge([np.array([[1], [2]]), np.array([[3], [4]])]).tolist()
        [[1, 3], [1, 4], [2, 3], [2, 4]]
    """
    sizes = [len(axis) for axis in axes]
    columns = []
    for dim, axis in enumerate(axes):
        shape = [1] * len(sizes)
        shape[dim] = sizes[dim]
        columns += [np.broadcast_to(column.reshape(shape), sizes).reshape(-1) for column in axis.T]
    total = int(np.prod(sizes))
    return np.stack(columns, axis=1) if columns else fixed_axis(total)


def concatenate(axes: Sequence[Axis]) -> Axis:
    """Puts axes one after the other."""
    width = max(axis.shape[1] for axis in axes)
    padded = [np.pad(axis, ((0, 0), (0, width - axis.shape[1])), constant_values=ALWAYS) for axis in axes]
    return np.concatenate(padded, axis=0)


def _everywhere(values: np.ndarray[Any, Any]) -> bool:
    """What ``values.all()`` is: for a few hundred numbers, counting takes NumPy a fifth of that."""
    return bool(np.count_nonzero(values) == values.size)


def _equal(first: Axis, second: Axis) -> bool:
    """Whether two arrays of one shape are equal: with a few hundred numbers, NumPy takes four times as long."""
    return first.tobytes() == second.tobytes()


def _each_once(rows: Axis) -> Axis:
    """The atoms of each row without those that stand before them."""
    rows = rows.copy()
    for number in range(1, rows.shape[1]):
        again = (rows[:, :number] == rows[:, number : number + 1]).any(axis=1)
        if np.count_nonzero(again):
            rows[again, number] = ALWAYS
    if _everywhere(rows):
        return rows
    width = max(1, int((rows != ALWAYS).sum(axis=1).max(initial=0)))
    return _gathered(rows, width)


def _compact(rows: Axis, width: int) -> Axis:
    """The ``width`` atoms of each row that are not :data:`ALWAYS`, in order."""
    return rows if width == rows.shape[1] else _gathered(rows, width)


def _gathered(rows: Axis, width: int) -> Axis:
    """Rows with what is not :data:`ALWAYS` first, in order, cut to ``width`` atoms."""
    order = np.argsort(rows == ALWAYS, axis=1, kind="stable")
    return np.take_along_axis(rows, order, axis=1)[:, :width]
