"""A model without some of its residual blocks, and what is left to do of a target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import nn

from sapwood.goals import Bench, Target, alone
from sapwood.measure import count_macs, count_params
from sapwood.models import Plan, apply_plan
from sapwood.removal import Blocks, Verification
from sapwood.types import ExampleInputs

TIMED = "ratios of latency are to the network without the blocks that went"


@dataclass(frozen=True)
class Shallower:
    """A model without some blocks.

    Attributes:
        model: It, in the type of its weights.
        plan: What was removed.
        verification: The proof.
        blocks: The names of the blocks.
    """

    model: nn.Module
    plan: Plan
    verification: Verification
    blocks: tuple[str, ...]

    @staticmethod
    def without(blocks: Blocks, names: Sequence[str]) -> Shallower:
        """Removes blocks, and proves it.

        Raises:
            CheckFailedError: If the model without them differs from the one in which their results are zeros.
        """
        gone = tuple(names)
        done = blocks.proven(gone)
        plan = blocks.plan(gone)
        return Shallower(apply_plan(blocks.model, plan), plan, done, gone)

    def joined(self, plan: Plan, done: Verification, far: Callable[[], float | None]) -> tuple[Plan, Verification]:
        """One plan and one proof of this and of what was cut afterwards.

        Args:
            plan: Of the model without the blocks.
            done: Its proof.
            far: Measures how far the result is from the dense model.
        """
        both = replace(
            done,
            max_abs_error=max(done.max_abs_error, self.verification.max_abs_error),
            passed=done.passed and self.verification.passed,
            distance_from_dense=far(),
        )
        return replace(plan, removed=self.plan.removed), both


def rest_of(target: Target, dense: nn.Module, left: nn.Module, inputs: ExampleInputs, bench: Bench | None) -> Target:
    """What a target for the dense model is for what is left of it; all of that may stay where it is met already."""
    if target.kind == "macs":
        had, has = (count_macs(model, inputs).total for model in (dense, left))
        return Target(macs=min(1.0, target.value * had / has))
    if target.kind == "params":
        return Target(params=min(1.0, target.value * count_params(dense) / count_params(left)))
    if target.kind == "latency" and target.milliseconds is None and bench is not None:
        return replace(target, latency=f"{target.value * alone(bench, dense):.6g}ms")
    return target
