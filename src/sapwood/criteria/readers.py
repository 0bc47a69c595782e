"""Where channels are summed over: which input channels of which modules belong to which units."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sapwood.graph import Analysis, ChannelGroup
from sapwood.ops import ALWAYS, Axis, Call, TensorRef, bound, order_of


@dataclass(frozen=True)
class ChannelReader:
    """A call that sums over channels.

    Attributes:
        call: A convolution, a matrix product, or attention (which sums over the width of queries and keys).
        units: int64, shape (I, k): of each channel summed over, the units that go no further than this sum.
        groups: Of a convolution.
        transposed: Whether it is a transposed convolution.
    """

    call: Call
    units: Axis
    groups: int = 1
    transposed: bool = False

    def places(self, group: ChannelGroup) -> Axis:  # shape: (I, k)
        """For each of its channels, the positions in ``group`` that it belongs to, or -1."""
        units = np.asarray(group.units)
        order = np.argsort(units)
        found = np.searchsorted(units, self.units, sorter=order).clip(max=len(units) - 1)
        return np.where(units[order[found]] == self.units, order[found], -1)


@dataclass(frozen=True)
class Readers:
    """All sums over channels in a run.

    Attributes:
        modules: By the name of the convolution or linear module that makes it; one that runs several times stands once.
        functional: The sums that no such module makes.
    """

    modules: Mapping[str, ChannelReader]
    functional: tuple[ChannelReader, ...]

    def of(self, group: ChannelGroup) -> dict[str, Axis]:
        """The modules that read channels of ``group``, with the positions of each of their input channels."""
        places = {name: reader.places(group) for name, reader in self.modules.items()}
        return {name: found for name, found in places.items() if (found >= 0).any()}

    def functional_of(self, group: ChannelGroup) -> tuple[Call, ...]:
        """The calls outside such modules that sum over channels of ``group``."""
        return tuple(reader.call for reader in self.functional if (reader.places(group) >= 0).any())


def find_readers(analysis: Analysis, modules: Collection[str]) -> Readers:
    """Finds where the channels of a run are summed over.

    A convolution with groups passes a whole conv group on to the outputs of that group (a depthwise one passes every
    channel on); only what lies inside a conv group is summed over.

    Args:
        analysis: The run and its units.
        modules: Names of the convolution and linear modules.
    """
    found: dict[str, ChannelReader] = {}
    functional = []
    for reader in _sums(analysis):
        if reader.call.module not in modules:
            functional.append(reader)
        elif reader.call.module not in found:
            found[reader.call.module] = reader
    return Readers(found, tuple(functional))


def _sums(analysis: Analysis) -> Iterator[ChannelReader]:
    atoms, axes = analysis.context.atoms, analysis.context.axes
    for call in analysis.graph.evaluated:
        if call.facts.is_convolution:
            yield _convolution(analysis, call)
        elif call.facts.sum is not None and not call.facts.is_deformed:
            yield ChannelReader(call, atoms.resolve(axes(call.args[call.facts.sum.source])[-1]))


def _convolution(analysis: Analysis, call: Call) -> ChannelReader:
    source, weight = call.args[:2]
    values: dict[str, Any] = bound(call)
    groups, transposed = int(values["groups"]), bool(values.get("transposed", False))
    channel = len(source.shape) - len(weight.shape) + 1
    units = analysis.context.atoms.resolve(analysis.context.axes(source)[channel])
    reader = ChannelReader(call, units, groups, transposed)
    if groups == 1:
        return reader
    return replace(reader, units=np.where(whole_groups(units, groups), ALWAYS, units))


def whole_groups(column: Axis, groups: int) -> np.ndarray[Any, np.dtype[np.bool_]]:  # shapes: (I, *) -> (I, *)
    """Whether an entry is the same for all channels of its conv group, so that it stands for the group as a whole."""
    grid = column.reshape(groups, len(column) // groups, *column.shape[1:])
    same = (grid == grid[:, :1]).all(axis=1, keepdims=True)
    return np.asarray(np.broadcast_to(same, grid.shape).reshape(column.shape), dtype=np.bool_)


def summed_dims(analysis: Analysis) -> dict[tuple[str, int], int]:
    """The dimensions of parameters that convolutions and matrix products sum over.

    Parameters are followed through transpositions, masks and changes of type; one that is cut or put together before it
    is multiplied is not.

    Returns:
        (Name, dimension) -> into how many conv groups the dimension falls; the sums are inside of those.
    """
    held: dict[int, tuple[str, tuple[int, ...]]] = {}
    for call in analysis.graph.calls:
        for reference in call.tensor_inputs():
            if reference.id in analysis.graph.parameters:
                name = analysis.graph.parameters[reference.id][0]
                held[reference.id] = (name, tuple(range(len(reference.shape))))
    found = {}
    for call in analysis.graph.calls:
        for reference, dim, groups in _factors(call):
            if reference.id in held:
                name, dims = held[reference.id]
                found[name, dims[dim]] = groups
        moved = _moved(call)
        if moved is not None and isinstance(call.args[0], TensorRef) and call.args[0].id in held:
            name, dims = held[call.args[0].id]
            held[call.outputs[0].id] = (name, tuple(dims[dim] for dim in moved))
    return found


def _factors(call: Call) -> list[tuple[TensorRef, int, int]]:
    """The tensors of a sum with the dimension that is summed over, and the conv groups along it."""
    if call.facts.is_convolution:
        values: dict[str, Any] = bound(call)
        return [(call.args[1], 0, int(values["groups"])) if values.get("transposed", False) else (call.args[1], 1, 1)]
    found = call.facts.sum
    if found is None or found.kind != "product":
        return []
    left, right = call.args[found.source], call.args[found.weight]
    second = -1 if found.turned or len(right.shape) == 1 else -2
    return [(left, -1, 1), (right, second, 1)]


def _moved(call: Call) -> list[int] | None:
    """Where each dimension of the output comes from, for calls that only move dimensions or scale elements."""
    if not call.args or not isinstance(call.args[0], TensorRef):
        return None
    if call.facts.turns:
        return order_of(call)
    same = call.facts.scales == "times" or (call.facts.moves and call.facts.in_place)
    return list(range(len(call.args[0].shape))) if same and call.outputs[0].shape == call.args[0].shape else None
