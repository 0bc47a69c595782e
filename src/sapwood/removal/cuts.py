"""From removed units to what stays of every tensor."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
from torch import nn
from torch.nn.modules.conv import _ConvNd

from sapwood.graph import Analysis
from sapwood.models import Cut, named_modules
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


def cuts_of_unread_biases(model: nn.Module, cuts: Sequence[Cut], read: Collection[str]) -> Iterator[Cut]:
    """What stays of biases that no call reads, beside weights that code reads itself, as kernels that it adds up.

    Args:
        model: The dense model.
        cuts: What stays of what is read.
        read: Names of all that is read.
    """
    rows = {cut.tensor: cut for cut in cuts if cut.dim == 0}
    for name, module in named_modules(model):
        is_layer = isinstance(module, nn.Linear) or (isinstance(module, _ConvNd) and not module.transposed)
        cut = rows.get(f"{name}.weight".lstrip(".")) if is_layer else None
        bias = f"{name}.bias".lstrip(".")
        if cut is not None and module.bias is not None and bias not in read:
            yield Cut(bias, 0, cut.width, cut.kept)
