"""What every call of the recorded run must look like once the channels are gone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sapwood.graph import Analysis, Draws, alive_rows, flags
from sapwood.ops import Axis, Call, TensorRef


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

    def kept(self, tensor: Tensor, ref: TensorRef) -> Tensor:
        """What stays of the value of ``ref`` in the dense model."""
        for dim, rows in enumerate(self.rows(ref)):
            if not rows.all():
                tensor = tensor.index_select(dim, torch.from_numpy(np.flatnonzero(rows)).to(tensor.device))
        return tensor

    def shape(self, tensor: TensorRef) -> tuple[int, ...]:
        """The tensor's sizes in the compact model."""
        return tuple(int(rows.sum()) for rows in self.rows(tensor))

    def changed(self, tensor: TensorRef) -> bool:
        """Whether the tensor loses anything."""
        return self.shape(tensor) != tensor.shape


def kept_draws(draws: Draws, call: Call, expectation: Expectation | None) -> list[Tensor]:
    """What stays of the random numbers that a call drew in the dense model."""
    drawn = zip(call.tensor_outputs(), draws.of(call.index), strict=False)
    return [value if expectation is None else expectation.kept(value, ref) for ref, value in drawn]


def all_kept_draws(draws: Draws, analysis: Analysis, expectation: Expectation) -> Draws:
    """What stays of all random numbers that a run like the recorded one drew."""
    kept = Draws()
    for call in analysis.graph.calls:
        if call.facts.random:
            kept.keep(call.index, kept_draws(draws, call, expectation))
    return kept
