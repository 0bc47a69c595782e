"""Groups that keep one share since one number says the widths of them all, as a config does for all layers.

A dimension is a multiple of one number, or of two: heads and their width. What it keeps must be what the numbers say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from sapwood.allocation.factors import held_groups
from sapwood.graph import Analysis
from sapwood.models import ConfigFields
from sapwood.ops import ALWAYS, Axis

NONE = -1
"""The owner of what is in no group."""

Role: TypeAlias = tuple[str, int, int]
"""A number, of how many factors its part of a dimension is made, and which of them, the outermost first."""


@dataclass(frozen=True)
class Multiple:
    """One number that must be a multiple of another, as the hidden size of a number of heads.

    Attributes:
        value: The number.
        groups: The groups whose share it keeps; none where it stays.
        of: The other number.
        factors: Groups whose shares make up what the other keeps, one a factor.
        tied: All groups that the other is said by.
    """

    value: int
    groups: tuple[int, ...]
    of: int
    factors: tuple[int, ...]
    tied: tuple[int, ...]


@dataclass(frozen=True)
class SharedWidths:
    """What one number for many widths asks for.

    Attributes:
        held: Groups that stay whole because another factor of their dimension goes, and its name.
        together: Sets of groups that keep the same share.
        whole: Groups that stay whole, with the reason.
        multiples: What must be a multiple of what.
    """

    held: Mapping[int, str]
    together: tuple[tuple[int, ...], ...] = ()
    whole: Mapping[int, str] = field(default_factory=dict)
    multiples: tuple[Multiple, ...] = ()


def shared_widths(
    analysis: Analysis, fields: ConfigFields, *, whole_heads: bool = False, both: bool = False
) -> SharedWidths:
    """Finds what has to keep the same share, or stay whole, so that the numbers of a config say every width.

    Args:
        analysis: The groups.
        fields: What the numbers say.
        whole_heads: As for :func:`sapwood.allocation.held_groups`.
        both: Likewise.
    """
    roles = _Roles(analysis, fields)
    while True:
        roles.settle()
        held = held_groups(analysis, whole_heads=whole_heads, both=both, whole=roles.whole)
        if not roles.hold_idle(held):
            return SharedWidths(held, tuple(roles.together(held)), roles.whole, tuple(roles.multiples(held)))


class _Roles:
    """Which groups play which part in which number, and what of them stays whole."""

    def __init__(self, analysis: Analysis, fields: ConfigFields) -> None:
        self._analysis = analysis
        self._fields = fields
        self._owner = np.full(len(analysis.context.atoms), NONE)
        for number, group in enumerate(analysis.groups):
            self._owner[list(group.units)] = number
        self._groups: dict[Role, set[int]] = defaultdict(set)
        self._dims: dict[str, list[frozenset[Role]]] = defaultdict(list)
        self._stiff = {name: f"stays whole: {reason}" for name, reason in fields.stays.items()}
        self.whole: dict[int, str] = {}
        self._read()

    def _read(self) -> None:
        names = {one: first for first, every in self._analysis.aliases.items() for one in every}
        for (tensor, dim), said in self._fields.dims.items():
            axes = self._analysis.axes.get(names.get(tensor, tensor))
            if axes is None:
                self._stiffen(said, f"{tensor}, which this run does not read")
            else:
                self._read_dim(f"{tensor}[{dim}]", axes[dim], said)
        for number, group in enumerate(self._analysis.groups):
            for member in group.members:
                every = self._analysis.aliases.get(member.tensor, (member.tensor,))
                if self._fields.computed.intersection(every):
                    self.whole.setdefault(
                        number, f"stays whole: {member.tensor} is worked out from the config, as for any width"
                    )
                elif not any((name, member.dim) in self._fields.dims for name in every):
                    self.whole.setdefault(
                        number, f"stays whole: no number of the config says {member.tensor}[{member.dim}]"
                    )

    def _read_dim(self, name: str, axis: Axis, said: tuple[str, ...]) -> None:
        columns = [self._owners(column) for column in axis.T]
        for column in (column for column, owners in zip(axis.T, columns, strict=True) if not owners):
            for number in set(self._owner[column[column != ALWAYS]].tolist()) - {NONE}:  # what rotary positions leave
                self.whole.setdefault(
                    number, f"stays whole: the config says one {said[-1]}, and a part of {name} stays"
                )
        free = [number for number, owners in enumerate(columns) if owners]
        if not free or (self._owner[axis[:, free]] == NONE).all(axis=1).any():
            self._stiffen(said, name)
            return
        parts = split_columns(axis, [self._fields.values[one] for one in said])
        for one, part in zip(said, parts, strict=True):
            own = [number for number in part if number in free]
            for level, number in enumerate(own):
                self._groups[one, len(own), level] |= columns[number]
            self._dims[one].append(frozenset((one, len(own), level) for level in range(len(own))))
            if not own:
                self._stiffen((one,), name)

    def _owners(self, column: Axis) -> set[int]:
        """The groups of a column; none where a part of it is in no group."""
        owners = self._owner[column[column != ALWAYS]]
        return set() if (owners == NONE).any() else set(np.unique(owners).tolist())

    def _stiffen(self, said: Collection[str], name: str) -> None:
        for one in said:
            self._stiff.setdefault(one, f"stays whole: the config says one {one}, also for {name}, which stays")

    def settle(self) -> None:
        """Holds what cannot go since something else cannot, until nothing more follows."""
        before = -1
        while before != len(self.whole) + len(self._stiff):
            before = len(self.whole) + len(self._stiff)
            for role, groups in self._groups.items():
                reason = self._stiff.get(role[0]) or next(
                    (self.whole[one] for one in groups if one in self.whole), None
                )
                for number in groups if reason is not None else ():
                    self.whole.setdefault(number, reason or "")
            for name, dims in self._dims.items():
                for roles in dims:
                    groups = set().union(*(self._groups[role] for role in roles))
                    if groups <= self.whole.keys() and name not in self._stiff:
                        self._stiff[name] = self.whole[min(groups)] if groups else "stays whole"

    def hold_idle(self, held: Mapping[int, str]) -> bool:
        """Holds numbers for which another factor goes in one of their dimensions; returns whether there were any."""
        before = len(self._stiff)
        for name, dims in self._dims.items():
            if name not in self._stiff and any(not self._active(roles, held) for roles in dims):
                self._stiff[name] = f"stays whole: another factor goes of what the config's {name} says"
        return len(self._stiff) > before

    def _active(self, roles: Collection[Role], held: Mapping[int, str]) -> set[int]:
        groups: set[int] = set().union(*(self._groups[role] for role in roles))
        return groups - held.keys() - self.whole.keys()

    def multiples(self, held: Mapping[int, str]) -> Iterator[Multiple]:
        """What must be a multiple of what, where both are known."""
        for name, other in self._fields.multiples:
            if not (self._dims[name] and self._dims[other]):
                continue
            factors = [min(self._groups[role]) for role in self._dims[other][0]]
            own, others = (
                tuple(sorted(set().union(*(self._active(roles, held) for roles in self._dims[one]))))
                for one in (name, other)
            )
            yield Multiple(self._fields.values[name], own, self._fields.values[other], tuple(factors), others)

    def together(self, held: Mapping[int, str]) -> Iterator[tuple[int, ...]]:
        """What keeps one share, for each number."""
        for name, dims in self._dims.items():
            groups = set().union(*(self._active(roles, held) for roles in dims))
            if name not in self._stiff and len(groups) > 1:
                yield tuple(sorted(groups))


def split_columns(axis: Axis, factors: Collection[int]) -> list[list[int]]:
    """Which columns of an axis are of which of its factors, both the outermost first.

    Args:
        axis: Shape (n, columns), resolved; an outer column is the same along the whole of the factors inside it.
        factors: One number, or two of which n is a multiple, the outer one first.

    Examples:
        >>> split_columns(np.array([[7, 1], [7, 2], [8, 1], [8, 2]]), [2, 2])
        [[0], [1]]
        >>> split_columns(np.array([[7, 1], [7, 2], [8, 1], [8, 2]]), [4])
        [[0, 1]]
    """
    numbers = sorted(range(axis.shape[1]), key=lambda number: -run_length(axis[:, number]))
    if len(factors) == 1:
        return [numbers]
    inner = [*factors][-1]
    return [
        [number for number in numbers if run_length(axis[:, number]) >= inner],
        [number for number in numbers if run_length(axis[:, number]) < inner],
    ]


def run_length(column: Axis) -> int:  # shape: (n,)
    """How many indices from the first on are the same.

    Examples:
        >>> run_length(np.array([4, 4, 5, 5]))
        2
    """
    other = np.flatnonzero(column != column[0])
    return int(other[0]) if len(other) else len(column)
