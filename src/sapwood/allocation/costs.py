"""What a network costs as a function of how many channels each group keeps: sums of products of sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from sapwood.errors import ConfigError

IntArray: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
FloatArray: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"

_WHOLE = 1e-9
"""How far above a multiple of ``step`` a size may lie through rounding and still count as that multiple."""


@dataclass(frozen=True)
class Extent:
    """The size of one dimension: ``fixed`` plus what each kept channel of each group brings.

    Attributes:
        fixed: Indices that no group can take away.
        per_channel: Group number -> indices that each of its kept channels brings.
        step: Hardware works on multiples: a size above ``step`` counts as the next multiple of it.

    Raises:
        ConfigError: If a number is negative, so that keeping more would cost less, or ``step`` is below 1.
    """

    fixed: float = 0.0
    per_channel: Mapping[int, float] = field(default_factory=dict)
    step: int = 1

    def __post_init__(self) -> None:
        if self.fixed < 0 or any(value < 0 for value in self.per_channel.values()) or self.step < 1:
            raise ConfigError(f"{self}: expected sizes of at least 0 and a step of at least 1")


@dataclass(frozen=True)
class Term:
    """``factor`` times the product of some extents, as a convolution's out x in.

    Attributes:
        layer: What the cost belongs to; several terms may name the same layer.
        factor: In the table's unit, at least 0.
        extents: The sizes that are multiplied.

    Raises:
        ConfigError: If ``factor`` is negative.
    """

    layer: str
    factor: float
    extents: tuple[Extent, ...]

    def __post_init__(self) -> None:
        if self.factor < 0:
            raise ConfigError(f"{self.layer}: got the factor {self.factor}; expected at least 0")

    @property
    def groups(self) -> frozenset[int]:
        """The groups whose widths change the term."""
        return frozenset(number for extent in self.extents for number, by in extent.per_channel.items() if by > 0)


@dataclass(frozen=True)
class CostTable:
    """A cost as a function of the number of channels that each group keeps.

    Attributes:
        unit: What is counted, for messages: ``"MACs"``, ``"parameters"``, ``"ms"``.
        terms: The parts that depend on widths.
        fixed: What the network costs whatever the widths.

    Examples:
        Two layers of 3 -> group 0 -> group 1 channels, with 9 weights a pair:

        >>> first, second = Extent(0, {0: 1}), Extent(0, {1: 1})
        >>> table = CostTable("parameters", (Term("a", 9, (Extent(3), first)), Term("b", 9, (first, second))))
        >>> table.total(np.array([4, 8]))
        396.0
        >>> table.options(np.array([4, 8]), 0, np.array([1, 2, 4])).tolist()
        [99.0, 198.0, 396.0]
        >>> table.by_layer(np.array([4, 8]))
        {'a': 108.0, 'b': 288.0}
    """

    unit: str
    terms: tuple[Term, ...]
    fixed: float = 0.0

    def total(self, kept: IntArray) -> float:
        """The cost at these widths; ``kept`` has shape (G,)."""
        return self.fixed + float(self._by_term(kept).sum())

    def options(self, kept: IntArray, group: int, widths: IntArray) -> FloatArray:
        """The cost at each of some widths of one group, the others as in ``kept``.

        Args:
            kept: Shape (G,).
            group: Which group varies.
            widths: Shape (W,).

        Returns:
            The totals, shape (W,).
        """
        state = CostState(self, kept)
        return self.total(kept) + state.changes(group, np.asarray(widths, dtype=np.float64))

    def by_layer(self, kept: IntArray) -> dict[str, float]:
        """The cost of each layer at these widths; ``fixed`` belongs to none."""
        costs: dict[str, float] = {}
        for term, cost in zip(self.terms, self._by_term(kept).tolist(), strict=True):
            costs[term.layer] = costs.get(term.layer, 0.0) + cost
        return costs

    @property
    def separable(self) -> bool:
        """Whether every term depends on one group only, so that the cost is a sum over groups."""
        return all(len(term.groups) < 2 for term in self.terms)

    def merged(self, members: Sequence[Sequence[int]], units: Mapping[int, float] | None = None) -> CostTable:
        """The same cost over sets of groups that are decided on together.

        Args:
            members: For each new group the old ones it stands for; each old group in exactly one.
            units: Old group -> how many of its channels one of the new group's stands for, where it is more than one.
        """
        new = {old: number for number, olds in enumerate(members) for old in olds}

        def moved(extent: Extent) -> Extent:
            per_channel: dict[int, float] = {}
            for old, by in extent.per_channel.items():
                per_channel[new[old]] = per_channel.get(new[old], 0.0) + by * (units or {}).get(old, 1)
            return Extent(extent.fixed, per_channel, extent.step)

        terms = tuple(Term(term.layer, term.factor, tuple(map(moved, term.extents))) for term in self.terms)
        return CostTable(self.unit, terms, self.fixed)

    def smooth(self) -> CostTable:
        """The same cost without steps, which is never above it."""
        terms = tuple(
            Term(term.layer, term.factor, tuple(Extent(extent.fixed, extent.per_channel) for extent in term.extents))
            for term in self.terms
        )
        return CostTable(self.unit, terms, self.fixed)

    def _by_term(self, kept: IntArray) -> FloatArray:  # shape: (T,)
        layout = self.layout
        costs: FloatArray = layout.factors * _stepped(layout.sizes(kept), layout.steps).prod(axis=1)
        return costs

    @cached_property
    def layout(self) -> Layout:
        """The terms as arrays."""
        return Layout.of(self.terms)


@dataclass(frozen=True)
class GroupTerms:
    """The terms in which one group stands.

    Attributes:
        rows: Their numbers, shape (T_g,).
        factors: Shape (T_g,).
        slopes: What one kept channel adds to each extent, shape (T_g, K).
        steps: Shape (T_g, K).
        polynomial: Whether no extent the group is part of has a step, so that their sum is a polynomial of its width.
    """

    rows: IntArray
    factors: FloatArray
    slopes: FloatArray
    steps: FloatArray
    polynomial: bool


@dataclass(frozen=True)
class Layout:
    """Terms as arrays: T terms of up to K extents; the missing ones are 1.

    Attributes:
        factors: Shape (T,).
        fixed: Shape (T, K).
        steps: Shape (T, K).
        entries: Term, extent and group of every coefficient, shape (N, 3).
        values: The coefficients, shape (N,).
        groups: Group number -> the terms it stands in; groups that cost nothing are absent.
    """

    factors: FloatArray
    fixed: FloatArray
    steps: FloatArray
    entries: IntArray
    values: FloatArray
    groups: Mapping[int, GroupTerms]

    @classmethod
    def of(cls, terms: Sequence[Term]) -> Layout:
        """Lays terms out."""
        shape = (len(terms), max((len(term.extents) for term in terms), default=0))
        fixed, steps = np.ones(shape), np.ones(shape)
        found = []
        for row, term in enumerate(terms):
            for place, extent in enumerate(term.extents):
                fixed[row, place], steps[row, place] = extent.fixed, extent.step
                found += [(row, place, group, by) for group, by in extent.per_channel.items() if by > 0]
        entries = np.array([entry[:3] for entry in found], dtype=np.int64).reshape(-1, 3)
        values = np.array([entry[3] for entry in found], dtype=np.float64)
        factors = np.array([term.factor for term in terms], dtype=np.float64)
        groups = {
            int(group): _group_terms(entries[entries[:, 2] == group], values[entries[:, 2] == group], factors, steps)
            for group in np.unique(entries[:, 2])
        }
        return cls(factors, fixed, steps, entries, values, groups)

    def sizes(self, kept: IntArray) -> FloatArray:
        """The extents at these widths, before steps, shape (T, K)."""
        sizes: FloatArray = self.fixed.copy()
        term, place, group = self.entries.T
        np.add.at(sizes, (term, place), self.values * np.asarray(kept, dtype=np.float64)[group])
        return sizes


def _group_terms(entries: IntArray, values: FloatArray, factors: FloatArray, steps: FloatArray) -> GroupTerms:
    rows, position = np.unique(entries[:, 0], return_inverse=True)
    slopes = np.zeros((len(rows), steps.shape[1]))
    slopes[position.reshape(-1), entries[:, 1]] = values
    polynomial = bool((steps[rows][slopes > 0] == 1).all())
    return GroupTerms(rows, factors[rows], slopes, steps[rows], polynomial)


class CostState:
    """A table at one point, for searches that move one group at a time.

    Args:
        table: The costs.
        kept: Where to start, shape (G,).
    """

    def __init__(self, table: CostTable, kept: IntArray) -> None:
        self._groups = table.layout.groups
        self._steps = table.layout.steps
        self._sizes = table.layout.sizes(kept)
        self.kept = np.asarray(kept, dtype=np.int64).copy()

    def changes(self, group: int, widths: FloatArray) -> FloatArray:
        """How the cost changes if one group takes each of some widths; shape (W,) as ``widths``."""
        terms = self._groups.get(group)
        if terms is None:
            return np.zeros(len(widths))
        now = float(self.kept[group])
        if terms.polynomial:
            coefficients = self._coefficients(terms, now)
            return np.asarray(_horner(coefficients, widths) - _horner(coefficients, np.array([now])), np.float64)
        sizes = self._sizes[terms.rows] - terms.slopes * now
        costs = np.tile(terms.factors[:, None], (1, len(widths) + 1))  # the last column is the width as it is
        tried = np.append(widths, now)
        for place in range(sizes.shape[1]):
            varied = sizes[:, place, None] + terms.slopes[:, place, None] * tried
            costs *= _stepped(varied, terms.steps[:, place, None])
        totals = costs.sum(axis=0)
        change: FloatArray = totals[:-1] - totals[-1]
        return change

    def slope(self, group: int) -> float:
        """The derivative of the cost without steps by one group's width; tables with steps: use ``smooth()`` first."""
        terms = self._groups.get(group)
        if terms is None:
            return 0.0
        now = float(self.kept[group])
        coefficients = self._coefficients(terms, now)
        return float(_horner(coefficients[1:] * np.arange(1, len(coefficients)), np.array([now]))[0])

    def move(self, group: int, width: int) -> None:
        """Lets one group keep ``width`` channels."""
        terms = self._groups.get(group)
        if terms is not None:
            self._sizes[terms.rows] += terms.slopes * float(width - self.kept[group])
        self.kept[group] = width

    def _coefficients(self, terms: GroupTerms, now: float) -> FloatArray:  # shape: (K + 1,), the constant first
        """The group's terms as one polynomial of its width, which is ``now``."""
        sizes = self._sizes[terms.rows]
        constants = _stepped(sizes - terms.slopes * now, terms.steps)
        product = terms.factors[:, None]
        for place in range(sizes.shape[1]):
            grown = np.zeros((len(product), product.shape[1] + 1))
            grown[:, :-1] = product * constants[:, place, None]
            grown[:, 1:] += product * terms.slopes[:, place, None]
            product = grown
        total: FloatArray = product.sum(axis=0)
        return total


def _horner(coefficients: FloatArray, x: FloatArray) -> FloatArray:
    value = np.full(len(x), coefficients[-1]) if len(coefficients) else np.zeros(len(x))
    for coefficient in coefficients[-2::-1]:
        value = value * x + coefficient
    return value


def _stepped(sizes: FloatArray, steps: FloatArray) -> FloatArray:
    """Sizes as the hardware counts them."""
    rounded: FloatArray = np.where(sizes > steps, np.ceil(sizes / steps - _WHOLE) * steps, sizes)
    return np.where(steps > 1, rounded, sizes)
