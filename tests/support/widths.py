"""Models pruned to widths drawn at random, with no regard to any score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from sapwood.allocation import equal_sets, held_groups, settled, together_sets
from sapwood.goals import cuts
from sapwood.graph import Analysis
from sapwood.masks.select import lowest_units
from sapwood.models import apply_plan
from sapwood.ops import Axis
from sapwood.removal import Planner, unproven

NARROWEST = 0.1


@dataclass(frozen=True)
class RandomlyPruned:
    model: nn.Module
    analysis: Analysis
    held: Mapping[int, str]
    kept: np.ndarray


@dataclass(frozen=True)
class RandomWidths:
    removed: Axis
    kept: list[int]


def prune_at_random(model: nn.Module, inputs: Any, seed: int) -> RandomlyPruned:
    """Every group that may lose channels keeps a fraction drawn for it; groups that must stay equal share one."""
    rng = np.random.default_rng(seed)
    fractions: dict[str, float] = {}

    def select(analysis: Analysis) -> RandomWidths:
        held = held_groups(analysis)
        leader = {number: numbers[0] for numbers in equal_sets(analysis, cuts(analysis, {})) for number in numbers}
        kept = []
        for number, group in enumerate(analysis.groups):
            name = analysis.groups[leader.get(number, number)].name
            fraction = fractions.setdefault(name, rng.uniform(NARROWEST, 1.0))
            kept.append(group.num_channels if number in held else max(1, round(fraction * group.num_channels)))
        sizes = [group.num_channels for group in analysis.groups]
        kept = [*settled(kept, sizes, together_sets(analysis, held))]
        scores = [torch.arange(group.num_channels, 0, -1.0) for group in analysis.groups]
        return RandomWidths(lowest_units([group.units for group in analysis.groups], scores, kept), kept)

    solution = Planner(model, inputs).solve(select, prove=unproven)
    small = apply_plan(model, solution.realised.plan).eval()
    return RandomlyPruned(small, solution.analysis, held_groups(solution.analysis), np.array(solution.chosen.kept))
