"""How channels are chosen and the result is measured: what ``sapwood.prune`` was told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import nn

from sapwood.goals import Bench, Beside, Chooser, Deployment, Limits, Naming, Scorer, Sensitivity, Target, cost_of
from sapwood.graph import Outputs
from sapwood.measure import count_params
from sapwood.models import config_fields, framework_of
from sapwood.types import ExampleInputs


@dataclass(frozen=True)
class Ways:
    """What was asked for beside the target and what stays whole; numbers of a config that have to stay; whose names;
    the network that a latency is one of, where the one that is pruned was made of it."""

    score: Scorer
    allocator: str | None
    sensitivity: Sensitivity | None
    limits: Limits
    outputs: Outputs | None
    deployment: Deployment | None
    progress: Callable[[int, int], None] | None
    stays: Mapping[str, str] = field(default_factory=dict)
    naming: Naming | None = None
    beside: Beside | None = None

    def chooser(self, model: nn.Module, target: Target) -> Chooser:
        """What chooses widths and channels of a model for a target."""
        return Chooser(
            score=self.score,
            cost=cost_of(target, count_params(model)),
            allocator=self.allocator or ("uniform" if target.kind == "sparsity" else "knapsack"),
            limits=self.limits,
            routes=framework_of(model).routes(model),
            curves=None if self.sensitivity is None else self.sensitivity.curves(),
            fine=target.kind != "latency",
            fields=config_fields(model, self.stays) if self.limits.as_config else None,
            naming=self.naming,
        )

    def bench(self, example_inputs: ExampleInputs) -> Bench:
        """Where latency is measured."""
        return Bench.of(example_inputs, self.deployment or Deployment())
