"""What pruning and compacting share: remove, look what the model's code lets change, and try again with less."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from sapwood.compaction import Obstacle, Realised, realise
from sapwood.errors import CheckFailedError
from sapwood.graph import Analysis, build_groups
from sapwood.models import Plan
from sapwood.ops import Axis, Graph
from sapwood.types import ExampleInputs

TOLERANCE = 1e-9
"""Relative, in float64: rounding of sums over a few thousand terms in another order stays below it."""

MAX_ROUNDS = 40


@dataclass(frozen=True)
class Verification:
    """How far the compact model is from the dense one with the removed channels silenced.

    Attributes:
        max_abs_error: Over the largest output, both in float64.
        dtype: The type both were run in.
        passed: Whether the error is within :data:`TOLERANCE`.
    """

    max_abs_error: float
    dtype: str
    passed: bool


Select: TypeAlias = Callable[[Analysis], Axis]
"""Channel groups -> the units that go."""

Finish: TypeAlias = Callable[[Analysis, Realised], tuple[Plan, Verification]]
"""A plan whose model runs -> the final plan and its proof."""


@dataclass(frozen=True)
class Settled:
    """A plan that the model's code allows.

    Attributes:
        plan: The plan.
        verification: Its proof.
        analysis: The channel groups under all that was learned on the way.
    """

    plan: Plan
    verification: Verification
    analysis: Analysis

    def check(self) -> None:
        """Raises where the proof failed.

        Raises:
            CheckFailedError: If the compact model is not what it should be.
        """
        if not self.verification.passed:
            raise CheckFailedError(
                f"the compact model differs from the masked one by {self.verification.max_abs_error:.1e} of the "
                f"largest output; expected at most {TOLERANCE:.0e}. The model given is unchanged."
            )


def settle(
    dense: nn.Module,
    inputs: ExampleInputs,
    graph: Graph,
    *,
    frozen: Mapping[str, str],
    select: Select,
    finish: Finish,
) -> Settled:
    """Selects and realises until nothing is in the way any more.

    Args:
        dense: The model, in float64 and eval mode; it is not changed.
        inputs: Example inputs for it.
        graph: Its recorded run.
        frozen: Tensors or dimensions that must stay whole, with the reason.
        select: Picks the units that go.
        finish: Completes and proves a plan; a failed proof counts as an obstacle where the compact model took another
            way through its code.

    Raises:
        CheckFailedError: If obstacles are left after :data:`MAX_ROUNDS` rounds.
    """
    constraints = _Constraints(dict(frozen))
    for _ in range(MAX_ROUNDS):
        analysis = constraints.analyse(graph)
        outcome = realise(dense, inputs, analysis, select(analysis))
        if isinstance(outcome, Obstacle):
            constraints.add(graph, outcome)
            continue
        plan, verification = finish(analysis, outcome)
        if not verification.passed and outcome.doubt is not None:
            constraints.add(graph, outcome.doubt)
            continue
        return Settled(plan, verification, analysis)
    raise CheckFailedError(f"no compact model after {MAX_ROUNDS} rounds; the last obstacle: {constraints.last}")


class _Constraints:
    """What the model's own code does not let change, learned round by round.

    A call that is in the way is fixed in steps: first what it makes, then also what it reads, then all that its module
    works on.
    """

    def __init__(self, frozen: dict[str, str]) -> None:
        self._frozen = frozen
        self._tied: set[int] = set()
        self._met: Counter[int] = Counter()
        self._fixed: dict[int, tuple[str, bool]] = {}
        self.last = ""

    def add(self, graph: Graph, obstacle: Obstacle) -> None:
        """Remembers an obstacle."""
        call = obstacle.call
        self.last = obstacle.reason
        if obstacle.tie and call.index not in self._tied:
            self._tied.add(call.index)
            return
        self._met[call.index] += 1
        self._fixed[call.index] = (obstacle.reason, self._met[call.index] > 1)
        if self._met[call.index] > 2:
            same = [other.index for other in graph.calls if call.module in other.modules]
            self._fixed.update(dict.fromkeys(same, (obstacle.reason, True)))

    def analyse(self, graph: Graph) -> Analysis:
        """Groups the recorded run under what is known so far."""
        return build_groups(graph, frozen=self._frozen, tied=self._tied, fixed=self._fixed)


def as_float64(inputs: ExampleInputs) -> ExampleInputs:
    """The inputs with every floating-point tensor in float64."""

    def convert(leaf: Any) -> Any:
        return leaf.to(torch.float64) if isinstance(leaf, Tensor) and leaf.dtype.is_floating_point else leaf

    return tree_map(convert, inputs)  # type: ignore[no-any-return]
