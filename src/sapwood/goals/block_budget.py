"""Blocks and widths in one budget: which blocks go so that both together cost least accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from sapwood.allocation import ALLOCATORS, BlockChoice, BlockOption, CostTable, choose_blocks, only_blocks
from sapwood.goals.chooser import Chooser
from sapwood.graph import Analysis

AUTO, ONLY = "auto", "only"
"""What is asked for where the budget says which blocks go: beside channels, or alone."""


class Removable(Protocol):
    """A block that may go."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def of(self) -> str:
        """Blocks of one such name cannot all go; any may where it is empty."""
        ...

    def holds(self, module: str) -> bool:
        """Whether a module is of the block alone."""
        ...


def block_options(
    analysis: Analysis, table: CostTable, blocks: Sequence[Removable], losses: Mapping[str, float]
) -> list[BlockOption]:
    """What each block is in the problem: the layers and the groups that go with it.

    Args:
        analysis: The groups of the whole model.
        table: Its cost.
        blocks: Those that may go.
        losses: Of the model without each of them, by name.
    """
    layers = {term.layer for term in table.terms}
    members = [
        {name.rpartition(".")[0] for one in group.members for name in analysis.aliases.get(one.tensor, (one.tensor,))}
        for group in analysis.groups
    ]
    return [
        BlockOption(
            block.name,
            losses[block.name],
            frozenset(layer for layer in layers if block.holds(layer)),
            frozenset(number for number, modules in enumerate(members) if all(map(block.holds, modules))),
            block.of,
        )
        for block in blocks
    ]


def blocks_in_budget(
    chooser: Chooser,
    analysis: Analysis,
    blocks: Sequence[Removable],
    losses: Mapping[str, float],
    fraction: float,
    *,
    only: bool = False,
) -> BlockChoice:
    """Which blocks go, so that these and the channels that go with them cost least accuracy.

    Args:
        chooser: How widths are chosen, and what is budgeted.
        analysis: The groups of the whole model.
        blocks: Those that may go.
        losses: Of the model without each of them, in the unit of the chooser's losses.
        fraction: The cost that may stay, as a fraction of the whole model's.
        only: Whether no channel goes.

    Raises:
        BudgetError: If that is not to be reached; the text says what is.
    """
    problem = chooser.problem(analysis, chooser.score(analysis))
    options = block_options(analysis, problem.cost, blocks, losses)
    budget = fraction * problem.dense_cost
    if only:
        return only_blocks(problem, options, budget)
    return choose_blocks(problem, options, budget, ALLOCATORS[chooser.allocator]())
