"""What a compact model keeps though it carries nothing, each with its reason."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from sapwood.compaction.dead import Dead
from sapwood.graph import Analysis, alive_rows, flags
from sapwood.ops import ALWAYS, Axis

MEETS_OTHERS = "they share their channels with values that are read"


@dataclass(frozen=True)
class Kept:
    """Indices of a parameter that stay though they carry nothing.

    Attributes:
        tensor: Name of the parameter.
        dim: The dimension.
        indices: The indices that stay.
        reason: Why.
    """

    tensor: str
    dim: int
    indices: tuple[int, ...]
    reason: str

    def __str__(self) -> str:
        subject = "1 dead channel stays" if len(self.indices) == 1 else f"{len(self.indices)} dead channels stay"
        return f"{self.tensor}[{self.dim}]: {subject}: {self.reason}"


def name_kept(analysis: Analysis, dead: Dead, parameters: Mapping[str, Tensor]) -> tuple[Kept, ...]:
    """Names the zeroed filters and the dead channels that a plan leaves.

    Args:
        analysis: The channel groups.
        dead: What goes, and which dead units are held.
        parameters: The values of the model's parameters.
    """
    found: dict[tuple[str, int, str], set[int]] = defaultdict(set)
    for group in analysis.groups:
        member = next(one for one in group.members if f"{one.tensor}[{one.dim}]" == group.name)
        for index, place in enumerate(member.column.tolist()):
            reason = dead.held.get(group.units[place]) if place >= 0 else None
            if reason is not None:
                found[member.tensor, member.dim, reason].add(index)
    removed = flags(analysis.context.atoms, dead.removed)
    for name, axes in analysis.axes.items():
        weight = parameters.get(name)
        if weight is None or weight.dim() < 2:
            continue
        stays = alive_rows(axes[0], removed)
        zero = (weight == 0).flatten(1).all(dim=1).cpu().numpy()
        for index in np.flatnonzero(stays & zero).tolist():
            found[name, 0, _reason(analysis, dead, axes[0][index])].add(index)
    return tuple(Kept(name, dim, tuple(sorted(rows)), reason) for (name, dim, reason), rows in found.items())


def _reason(analysis: Analysis, dead: Dead, units: Axis) -> str:
    """Why an index that needs ``units`` stays."""
    own = [unit for unit in np.unique(analysis.context.atoms.resolve(units[None])).tolist() if unit != ALWAYS]
    frozen = {unit: analysis.context.atoms.frozen_reason(unit) for unit in own}
    for reasons in (dead.held, frozen, dead.mixed):
        for unit in own:
            reason = reasons.get(unit)
            if reason is not None:
                return reason
    return MEETS_OTHERS
