"""From removed units to what stays of every tensor."""

from __future__ import annotations

import numpy as np

from sapwood.graph import Analysis
from sapwood.models import Cut
from sapwood.ops import Axis
from sapwood.removal.widths import Expectation


def make_cuts(analysis: Analysis, removed: Axis) -> tuple[Cut, ...]:
    """What stays of every tensor when the units ``removed`` go."""
    return cuts_of(analysis, Expectation(analysis, removed))


def cuts_of(analysis: Analysis, expectation: Expectation) -> tuple[Cut, ...]:
    """What stays of every tensor; cuts that keep the same indices hold the same tuple of them."""
    cuts = []
    known: dict[bytes, tuple[int, ...]] = {}
    for name, axes in analysis.axes.items():
        for dim, axis in enumerate(axes):
            alive = expectation.alive(axis)
            if np.count_nonzero(alive) < len(alive):
                key = alive.tobytes()
                if key not in known:
                    known[key] = tuple(np.flatnonzero(alive).tolist())
                cuts.append(Cut(name, dim, len(axis), known[key]))
    return tuple(cuts)
