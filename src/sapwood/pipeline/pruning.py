"""``sapwood.prune``: which channels go, and the model without them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from sapwood.allocation import uniform
from sapwood.criteria import norm_scores
from sapwood.errors import ConfigError
from sapwood.graph import Analysis, Unpruned
from sapwood.masks.select import removed_units
from sapwood.models import Plan, apply_plan
from sapwood.ops import Axis
from sapwood.pipeline.search import Dense, Verification, search
from sapwood.types import ExampleInputs


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

    def select(analysis: Analysis) -> Axis:
        return _select(analysis, model, target, round_to, minimum)

    solution = search(Dense(model, example_inputs), select, ignore or {})
    plan = solution.realised.plan
    return Pruned(apply_plan(model, plan), plan, solution.verification, solution.analysis.unpruned)


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
