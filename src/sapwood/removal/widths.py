"""What every call of the recorded run must look like once the channels are gone."""

from __future__ import annotations

from typing import Any

import numpy as np

from sapwood.graph import Analysis, alive_rows, flags
from sapwood.ops import Axis, TensorRef


class Expectation:
    """Sizes of every tensor of the recorded run in the compact model."""

    def __init__(self, analysis: Analysis, removed: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        self._context = analysis.context
        self._gone = flags(analysis.context.atoms, removed)
        self._alive: dict[int, tuple[Axis, np.ndarray[Any, np.dtype[np.bool_]]]] = {}

    def alive(self, axis: Axis) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """For each index of ``axis``, whether it stays."""
        entry = self._alive.get(id(axis))
        if entry is None:
            entry = (axis, alive_rows(self._context.atoms, axis, self._gone))
            self._alive[id(axis)] = entry
        return entry[1]

    def rows(self, tensor: TensorRef) -> list[np.ndarray[Any, np.dtype[np.bool_]]]:
        """For each dimension of ``tensor``, which indices stay."""
        return [self.alive(axis) for axis in self._context.axes(tensor)]

    def shape(self, tensor: TensorRef) -> tuple[int, ...]:
        """The tensor's sizes in the compact model."""
        return tuple(int(rows.sum()) for rows in self.rows(tensor))

    def changed(self, tensor: TensorRef) -> bool:
        """Whether the tensor loses anything."""
        return self.shape(tensor) != tensor.shape
