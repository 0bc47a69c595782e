"""A plan: which indices of which tensors stay. Data, not code: it can be written, read and applied again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sapwood.graph import Analysis, alive_rows
from sapwood.ops import Axis


@dataclass(frozen=True)
class Cut:
    """What stays of one dimension of one tensor.

    Attributes:
        tensor: Name of the parameter or buffer.
        dim: The dimension.
        width: Its size before.
        kept: The indices that stay, in order.
    """

    tensor: str
    dim: int
    width: int
    kept: tuple[int, ...]


@dataclass(frozen=True)
class AttributeEdit:
    """An attribute of a module that has to follow the new widths.

    Attributes:
        module: Name of the module.
        attribute: Name of the attribute, with a position for an element of a list or tuple: ``"sizes[1]"``.
        before: Its value in the dense model.
        after: Its value in the compact model.
    """

    module: str
    attribute: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Rescale:
    """Rows of a parameter that are multiplied by a factor, so that a value stays as large as in the dense model.

    Attributes:
        tensor: Name of the parameter.
        rows: Indices of its dimension 0, in the dense model.
        factor: What they are multiplied by.
    """

    tensor: str
    rows: tuple[int, ...]
    factor: float


@dataclass(frozen=True)
class Plan:
    """Everything that turns the dense model into the compact one; see :func:`sapwood.compaction.apply_plan`."""

    cuts: tuple[Cut, ...] = ()
    attributes: tuple[AttributeEdit, ...] = ()
    rescales: tuple[Rescale, ...] = ()
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def make_cuts(analysis: Analysis, removed: Axis) -> tuple[Cut, ...]:
    """What stays of every tensor when the units ``removed`` go."""
    cuts = []
    for name, axes in analysis.axes.items():
        for dim, axis in enumerate(axes):
            alive = alive_rows(analysis.context.atoms, axis, removed)
            if not alive.all():
                cuts.append(Cut(name, dim, len(axis), tuple(np.flatnonzero(alive).tolist())))
    return tuple(cuts)
