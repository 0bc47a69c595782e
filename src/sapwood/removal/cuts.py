"""From removed units to what stays of every tensor."""

from __future__ import annotations

import numpy as np

from sapwood.graph import Analysis, alive_rows, flags
from sapwood.models import Cut
from sapwood.ops import Axis


def make_cuts(analysis: Analysis, removed: Axis) -> tuple[Cut, ...]:
    """What stays of every tensor when the units ``removed`` go."""
    gone = flags(analysis.context.atoms, removed)
    cuts = []
    for name, axes in analysis.axes.items():
        for dim, axis in enumerate(axes):
            alive = alive_rows(axis, gone)
            if not alive.all():
                cuts.append(Cut(name, dim, len(axis), tuple(np.flatnonzero(alive).tolist())))
    return tuple(cuts)
