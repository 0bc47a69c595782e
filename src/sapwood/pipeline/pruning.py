"""``sapwood.prune``: record, group, score, allocate, select, realise, verify; with less where code is in the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from sapwood.allocation import uniform
from sapwood.compaction import (
    Obstacle,
    Realised,
    realise,
    reference_outputs,
    relative_error,
)
from sapwood.criteria import norm_scores
from sapwood.errors import CheckFailedError, ConfigError
from sapwood.graph import Analysis, Unpruned, build_groups, call_model, output_tensors, plain_kernels, trace
from sapwood.masks.select import removed_units
from sapwood.models import Plan, apply_plan, copy_model
from sapwood.ops import Axis, Graph
from sapwood.types import ExampleInputs

TOLERANCE = 1e-9
"""Relative, in float64: rounding of sums over a few thousand terms in another order stays below it."""

MAX_ROUNDS = 40


@dataclass(frozen=True)
class Target:
    """What the pruned model should be: exactly one of the fields.

    Attributes:
        sparsity: Fraction of the channels removed, in [0, 1).
    """

    sparsity: float | None = None

    def __post_init__(self) -> None:
        if self.sparsity is None:
            raise ConfigError("Target() names no goal; expected sparsity=")
        if not 0.0 <= self.sparsity < 1.0:
            raise ConfigError(f"sparsity {self.sparsity}; expected a number in [0, 1)")


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


@dataclass(frozen=True)
class Pruned:
    """A pruned model, how it came about, and the proof.

    Attributes:
        model: A module of the same class, smaller.
        plan: Which indices of which tensors stay: data, JSON, re-appliable.
        verification: Compact against masked.
        unpruned: What could not be pruned, each with its reason.
    """

    model: nn.Module
    plan: Plan
    verification: Verification
    unpruned: tuple[Unpruned, ...]


def prune(
    model: nn.Module,
    example_inputs: ExampleInputs,
    *,
    target: Target,
    ignore: Mapping[str, str] | None = None,
    round_to: int = 1,
    minimum: int = 1,
) -> Pruned:
    """Removes channels of ``model``, with everything that hangs on them; ``model`` itself is not touched.

    Args:
        model: Any module.
        example_inputs: A tensor, a tuple of positional or a dict of keyword arguments.
        target: What to reach.
        ignore: Tensors (``"name"``) or dimensions (``"name[0]"``) that must stay whole, with the reason.
        round_to: Multiple that each width should be of.
        minimum: The fewest channels that stay in a group.

    Returns:
        The smaller model with its plan and its verification.

    Raises:
        CheckFailedError: If no compact model could be made that equals the masked one; nothing is returned then.
    """
    dense = copy_model(model).eval().to(torch.float64)
    inputs = _as_float64(example_inputs)
    graph = trace(copy_model(dense), inputs)
    constraints = _Constraints(dict(ignore or {}))
    for _ in range(MAX_ROUNDS):
        analysis = constraints.analyse(graph)
        removed = _select(analysis, dense, target, round_to, minimum)
        outcome = realise(dense, inputs, analysis, removed)
        if isinstance(outcome, Obstacle):
            constraints.add(graph, outcome)
            continue
        verification = _verify(dense, inputs, analysis, outcome)
        if not verification.passed and outcome.doubt is not None:
            constraints.add(graph, outcome.doubt)
            continue
        if not verification.passed:
            raise CheckFailedError(
                f"the compact model differs from the masked one by {verification.max_abs_error:.1e} of the largest "
                f"output; expected at most {TOLERANCE:.0e}. The model given is unchanged."
            )
        return Pruned(apply_plan(model, outcome.plan), outcome.plan, verification, analysis.unpruned)
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


def _select(analysis: Analysis, dense: nn.Module, target: Target, round_to: int, minimum: int) -> Axis:
    parameters = dict(dense.named_parameters())
    sparsities = uniform(analysis, float(target.sparsity or 0.0))
    return removed_units(
        [group.units for group in analysis.groups],
        [norm_scores(group, parameters) for group in analysis.groups],
        sparsities,
        round_to=round_to,
        minimum=minimum,
    )


def _verify(dense: nn.Module, inputs: ExampleInputs, analysis: Analysis, realised: Realised) -> Verification:
    """Runs the compact model and the masked reference in float64."""
    wanted = reference_outputs(copy_model(dense), inputs, analysis, realised.expectation)
    compact = apply_plan(dense, realised.plan)
    with plain_kernels(compact):
        found = output_tensors(call_model(compact, inputs))
    error = relative_error(found, wanted)
    return Verification(error, "float64", error <= TOLERANCE)


def _as_float64(inputs: ExampleInputs) -> ExampleInputs:
    def convert(leaf: Any) -> Any:
        return leaf.to(torch.float64) if isinstance(leaf, Tensor) and leaf.dtype.is_floating_point else leaf

    return tree_map(convert, inputs)  # type: ignore[no-any-return]
