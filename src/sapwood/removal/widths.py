"""What every call of the recorded run must look like once the channels are gone."""

from __future__ import annotations

from copy import copy
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from sapwood.graph import Analysis, Draws, alive_rows, flags
from sapwood.ops import Axis, Call, TensorRef
from sapwood.removal.orders import Orders

Bools: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"


class Expectation:
    """Sizes of every tensor of the recorded run in the compact model."""

    def __init__(self, analysis: Analysis, removed: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        self._context = analysis.context
        self._gone = flags(analysis.context.atoms, removed)
        self._alive: dict[int, tuple[Axis, Bools]] = {}
        self._of_tensors: dict[int, tuple[list[Bools], tuple[int, ...], tuple[int, ...]]] = {}
        self._orders: Orders | None = None

    def ordered(self, orders: Orders | None) -> Expectation:
        """The same, of a compact model that holds what stays in another order; None is the dense model's."""
        found = copy(self)
        found._orders = orders
        return found

    def alive(self, axis: Axis) -> Bools:
        """For each index of ``axis``, whether it stays."""
        entry = self._alive.get(id(axis))
        if entry is None:
            entry = (axis, self._made_alive(axis))
            self._alive[id(axis)] = entry
        return entry[1]

    def _made_alive(self, axis: Axis) -> Bools:
        source = self._context.followed(axis)
        if source is None:
            return alive_rows(axis, self._gone)
        return np.arange(len(axis)) * len(source) < int(self.alive(source).sum()) * len(axis)

    def rows(self, tensor: TensorRef) -> list[Bools]:
        """For each dimension of ``tensor``, which indices stay."""
        return self._known(tensor)[0]

    def smaller(self, tensor: TensorRef) -> tuple[int, ...]:
        """The dimensions of ``tensor`` of which something goes."""
        return self._known(tensor)[2]

    def _known(self, tensor: TensorRef) -> tuple[list[Bools], tuple[int, ...], tuple[int, ...]]:
        """What stays of a tensor, how many of each dimension, and of which all do not; asked for at every call."""
        found = self._of_tensors.get(tensor.id)
        if found is None:
            rows = [self.alive(axis) for axis in self._context.axes(tensor)]
            sizes = tuple(int(np.count_nonzero(one)) for one in rows)
            smaller = tuple(dim for dim, one in enumerate(rows) if sizes[dim] != len(one))
            found = self._of_tensors[tensor.id] = rows, sizes, smaller
        return found

    def kept(self, tensor: Tensor, ref: TensorRef) -> Tensor:
        """What stays of the value of ``ref`` in the dense model, in the order in which the compact one has it."""
        smaller = self.smaller(ref)
        for dim, rows in enumerate(self.rows(ref)):
            places = None if self._orders is None else self._orders.of_tensor(ref, dim, rows)
            if places is not None or dim in smaller:
                places = np.flatnonzero(rows) if places is None else places
                tensor = tensor.index_select(dim, torch.from_numpy(places).to(tensor.device))
        return tensor

    def shape(self, tensor: TensorRef) -> tuple[int, ...]:
        """The tensor's sizes in the compact model."""
        return self._known(tensor)[1]

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
