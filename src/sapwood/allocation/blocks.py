"""Whole blocks as further options of a problem: which go, and what the groups of the others keep."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf
from typing import TypeAlias

import numpy as np

from sapwood.allocation.costs import CostTable, IntArray
from sapwood.allocation.coupled import Search, descend
from sapwood.allocation.problem import Allocation, Problem, allocation, decisions, merged
from sapwood.allocation.separable import solve_separable
from sapwood.errors import BudgetError

_MISSES = 3
"""How many more blocks go, one after the other, without the loss falling before the way ends."""
_AT_ONCE = 8
"""One of so many blocks that are worth less than what they cost goes with the others, where there are many."""
_EXCHANGES = 3
"""How many blocks, those on the edge first, are tried the other way round in each round."""
_TINY = 1e-300

Allocate: TypeAlias = Callable[[Problem, float], Allocation]
"""What shares a budget out among groups."""


@dataclass(frozen=True)
class BlockOption:
    """A block that may go as a whole.

    Attributes:
        name: Its name.
        loss: That of the network without it, in the unit of the groups' losses.
        layers: The layers whose costs go with it.
        groups: Numbers of the groups that are in it alone.
        of: Blocks of one such name cannot all go; any may where it is empty.
    """

    name: str
    loss: float
    layers: frozenset[str]
    groups: frozenset[int]
    of: str = ""


@dataclass(frozen=True)
class BlockChoice:
    """Which blocks go.

    Attributes:
        gone: Their names, in the order of the options.
        allocation: What the groups keep beside that; those of blocks that go keep everything, which costs nothing.
        loss: Of both together.
    """

    gone: tuple[str, ...]
    allocation: Allocation
    loss: float


def choose_blocks(problem: Problem, options: Sequence[BlockOption], budget: float, allocate: Allocate) -> BlockChoice:
    r"""Minimises the losses of blocks that go and of groups that are narrowed, in one budget.

    .. math:: \min_{B, w} \sum_{b \in B} d_b + \sum_{g \notin B} \ell_g(w_g) \quad \text{with} \quad C_{-B}(w) \le C

    With a price on cost a block is worth the losses and the price of what it keeps; those worth less than what their
    loss is go, the ones of which that is most true first, and the widths are solved anew each time. From the best of
    these sets, single blocks are put back, taken out or exchanged while that helps.

    Args:
        problem: The groups.
        options: The blocks.
        budget: In the unit of the problem's cost.
        allocate: Chooses the widths, given which blocks are gone.

    Raises:
        BudgetError: If neither is enough: the text says what all blocks and the smallest widths leave.
    """
    search = _SetsOfBlocks(problem, options, budget, allocate)
    best = search.forward()
    if best is None:
        raise BudgetError(search.too_little())
    return search.choice(search.exchanged(best))


def only_blocks(problem: Problem, options: Sequence[BlockOption], budget: float) -> BlockChoice:
    """The blocks of least loss without which all groups fit a budget as wide as they are: the best there is.

    Raises:
        BudgetError: If all blocks together do not save that much; the text says what is left then.
    """
    whole = np.array(problem.num_channels, dtype=np.int64)
    pinned = replace(
        problem,
        widths=tuple(whole[number : number + 1] for number in range(len(whole))),
        losses=tuple(np.zeros(1) for _ in whole),
        equal=(),
        together=(),
        ladders=(),
    )
    search = _SetsOfBlocks(pinned, options, budget, lambda own, _: allocation(own, own.num_channels, gap=0.0))
    dense = problem.dense_cost
    saved = [cost_of_layers(problem.cost, option.layers, whole) for option in options]
    families = [[number for number, one in enumerate(options) if one.of == name] for name in _families(options)]
    best: tuple[float, frozenset[int]] | None = None
    for stay in _one_of_each(families):
        free = [number for number in range(len(options)) if number not in stay]
        choice = solve_separable(
            [np.array([0.0, options[number].loss]) for number in free],
            [np.array([saved[number], 0.0]) for number in free],
            budget - dense + sum(saved[number] for number in free),
        )
        if choice is not None and (best is None or choice.loss < best[0]):
            picked = zip(free, choice.picks, strict=True)
            best = choice.loss, frozenset(number for number, pick in picked if pick == 1)
    if best is None:
        raise BudgetError(search.too_little())
    return search.choice(best[1])


def without_blocks(problem: Problem, gone: Collection[BlockOption]) -> Problem:
    """The problem of what is left: no costs of the blocks that went, and no losses of their groups."""
    layers = frozenset[str]().union(*(one.layers for one in gone))
    groups = frozenset[int]().union(*(one.groups for one in gone))
    cost = replace(problem.cost, terms=tuple(term for term in problem.cost.terms if term.layer not in layers))
    whole = [np.array([count], dtype=np.int64) for count in problem.num_channels]

    def left(sets: Sequence[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
        kept = (tuple(number for number in own if number not in groups) for own in sets)
        return tuple(own for own in kept if len(own) > 1)

    return replace(
        problem,
        widths=tuple(whole[number] if number in groups else own for number, own in enumerate(problem.widths)),
        losses=tuple(np.zeros(1) if number in groups else own for number, own in enumerate(problem.losses)),
        cost=cost,
        equal=left(problem.equal),
        together=left(problem.together),
        ladders=tuple(ladder for ladder in problem.ladders if not groups.intersection(ladder.groups)),
    )


def cost_of_layers(table: CostTable, layers: Collection[str], kept: IntArray) -> float:
    """What some layers cost at these widths, shape (G,)."""
    return replace(table, terms=tuple(term for term in table.terms if term.layer in layers), fixed=0.0).total(kept)


class _SetsOfBlocks:
    """Sets of blocks that go, each with the widths of the others."""

    def __init__(self, problem: Problem, options: Sequence[BlockOption], budget: float, allocate: Allocate) -> None:
        self._problem, self._options, self._budget, self._allocate = problem, options, budget, allocate
        self._known: dict[frozenset[int], Allocation | None] = {}

    def choice(self, gone: frozenset[int]) -> BlockChoice:
        """A set as it is told."""
        found = self._solved(gone)
        assert found is not None
        return BlockChoice(tuple(self._options[number].name for number in sorted(gone)), found, self._loss(gone))

    def forward(self) -> frozenset[int] | None:
        """The best set on the way from none; None where none fits."""
        gone: frozenset[int] = frozenset()
        best, misses = (gone if self._solved(gone) else None), 0
        while misses < _MISSES:
            worth = {number: gain for number, gain in self._gains(gone).items() if number not in gone}
            ranked = sorted((number for number in worth if self._may_go(gone, number)), key=lambda one: -worth[one])
            if not ranked or (best is not None and worth[ranked[0]] <= 0.0 and misses):
                break
            many = ceil(sum(worth[number] > 0.0 for number in ranked) / _AT_ONCE)
            for number in ranked[: max(1, many)]:
                if self._may_go(gone, number):
                    gone |= {number}
            if self._solved(gone) is not None and (best is None or self._loss(gone) < self._loss(best)):
                best, misses = gone, 0
            elif best is not None:
                misses += 1
        return best

    def exchanged(self, gone: frozenset[int]) -> frozenset[int]:
        """The same with single blocks the other way round, and pairs exchanged, while that helps."""
        while True:
            gains = self._gains(gone)
            back = sorted(gone, key=lambda one: -gains[one])[-_EXCHANGES:]
            more = sorted(gains.keys() - gone, key=lambda one: -gains[one])[:_EXCHANGES]
            tries = [gone - {one} for one in back]
            tries += [gone | {one} for one in more if self._may_go(gone, one)]
            tries += [(gone - {one}) | {other} for one in back for other in more if self._may_go(gone - {one}, other)]
            best = min(tries, key=self._loss, default=gone)
            if not self._loss(best) < self._loss(gone):
                return gone
            gone = best

    def too_little(self) -> str:
        """What is left without all blocks that can go, and with the smallest widths of the others."""
        gone: frozenset[int] = frozenset()
        for number in range(len(self._options)):
            if self._may_go(gone, number):
                gone |= {number}
        left = without_blocks(self._problem, [self._options[number] for number in gone])
        tied = merged(left)
        least = left.cost.total(np.array(tied.expanded([int(own[0]) for own in tied.problem.widths]), dtype=np.int64))
        dense, unit = self._problem.dense_cost, left.cost.unit
        narrow = any(len(own) > 1 for own in left.widths)
        return (
            f"budget {self._budget:g} {unit} ({self._budget / dense:.4g} of the dense cost): without the "
            f"{len(gone)} blocks that can go{', at the smallest widths of the others,' if narrow else ''} {least:g} "
            f"{unit} stay ({least / dense:.4g} of the dense cost); expected at least that"
        )

    def _solved(self, gone: frozenset[int]) -> Allocation | None:
        """The widths without these blocks; None where none fit."""
        if gone not in self._known:
            left = without_blocks(self._problem, [self._options[number] for number in gone])
            try:
                self._known[gone] = self._allocate(left, self._budget)
            except BudgetError:
                self._known[gone] = None
        return self._known[gone]

    def _loss(self, gone: frozenset[int]) -> float:
        found = self._solved(gone)
        return inf if found is None else found.loss + sum(self._options[number].loss for number in gone)

    def _gains(self, gone: frozenset[int]) -> dict[int, float]:
        """By how much the losses and the price of what a block keeps exceed its own loss; where nothing fits, the cost
        that it saves for its loss."""
        left = without_blocks(self._problem, [self._options[number] for number in gone])
        found = self._solved(gone)
        if found is None:
            tied = merged(left)
            least = np.array(tied.expanded([int(own[0]) for own in tied.problem.widths]), dtype=np.int64)
            return {
                number: cost_of_layers(self._problem.cost, option.layers, least) / (option.loss + _TINY)
                for number, option in enumerate(self._options)
            }
        price, kept = self._price(left), np.array(found.kept, dtype=np.int64)
        return {
            number: self._inner_loss(option, found)
            + price * cost_of_layers(self._problem.cost, option.layers, kept)
            - option.loss
            for number, option in enumerate(self._options)
        }

    def _inner_loss(self, option: BlockOption, found: Allocation) -> float:
        """The losses of a block's own groups."""
        return sum(
            float(np.interp(found.kept[number], self._problem.widths[number], self._problem.losses[number]))
            for number in option.groups
        )

    def _price(self, left: Problem) -> float:
        """The loss that a unit of cost is worth at the budget."""
        search = Search(decisions(left, self._budget).problem, self._budget)
        return descend(search)

    def _may_go(self, gone: frozenset[int], number: int) -> bool:
        """Whether one more block may go: not twice, not within another, not the last of its name."""
        one, others = self._options[number], [self._options[other] for other in gone]
        if number in gone or any(one.layers < other.layers or other.layers < one.layers for other in others):
            return False
        return not one.of or any(
            other.of == one.of and place != number and place not in gone for place, other in enumerate(self._options)
        )


def _families(options: Sequence[BlockOption]) -> list[str]:
    """The names of which one block has to stay."""
    return list(dict.fromkeys(option.of for option in options if option.of))


def _one_of_each(families: Sequence[Sequence[int]]) -> Iterator[frozenset[int]]:
    """Every way to let one of each set stay."""
    if not families:
        yield frozenset()
        return
    for others in _one_of_each(families[1:]):
        for number in families[0]:
            yield others | {number}
