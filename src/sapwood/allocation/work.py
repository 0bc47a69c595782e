"""The work of a model as a function of how many channels each group keeps, read off its recorded run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from sapwood.allocation.costs import CostTable, Extent, Term
from sapwood.graph import Analysis
from sapwood.ops import ALWAYS, Axis, Call, TensorRef, bound

KINDS = ("macs", "reads", "writes")
"""What work consists of: multiply-accumulates, numbers read from maps, numbers written to maps."""


@dataclass(frozen=True)
class Work:
    """Terms by kind of work (:data:`KINDS`), each with the layer (module path) that does it."""

    terms: Mapping[str, tuple[Term, ...]]
    layers: tuple[str, ...]

    def table(self, kind: str, unit: str) -> CostTable:
        """All terms of one kind as a cost."""
        return CostTable(unit, self.terms[kind])


class Extents:
    """Sizes of dimensions as functions of what the groups keep.

    Args:
        analysis: The groups.
        held: Numbers of groups that keep everything; their channels count as fixed.
    """

    def __init__(self, analysis: Analysis, held: Collection[int] = ()) -> None:
        self._context = analysis.context
        self._group = np.full(len(analysis.context.atoms), -1, dtype=np.int64)
        self._sizes = [group.num_channels for group in analysis.groups]
        for number, group in enumerate(analysis.groups):
            if number not in held:
                self._group[list(group.units)] = number
        self._known: dict[int, tuple[Axis, tuple[Extent, ...]]] = {}

    def of(self, axis: Axis) -> tuple[Extent, ...]:
        """The size of a dimension with this axis, as factors.

        A grid (conv groups x positions in a group) has the size of its one side times that of the other. Of another
        axis an index that needs channels of several groups counts for the group with the most of them.
        """
        entry = self._known.get(id(axis))
        if entry is None:
            entry = (axis, self._made(self._context.atoms.resolve(axis)))
            self._known[id(axis)] = entry
        return entry[1]

    def of_tensor(self, tensor: TensorRef) -> list[tuple[Extent, ...]]:
        """The sizes of a tensor."""
        return [self.of(axis) for axis in self._context.axes(tensor)]

    def _made(self, axis: Axis) -> tuple[Extent, ...]:
        owners = self._group[np.where(axis == ALWAYS, 0, axis)]
        if not owners.size:
            return (Extent(float(len(axis)), {}),)
        moving = [number for number in range(axis.shape[1]) if (owners[:, number] >= 0).any()]
        sides = [np.unique(axis[:, number], return_index=True)[1] for number in range(axis.shape[1])]
        if len(moving) > 1 and int(np.prod([len(side) for side in sides])) == len(axis):
            return tuple(self._counted(owners[side, number]) for number, side in enumerate(sides))
        return (self._counted(owners.max(axis=1) if owners.shape[1] == 1 else self._widest(owners)),)

    def _counted(self, owner: Axis) -> Extent:
        """How many indices are fixed, and how many each channel of a group brings."""
        numbers, rows = np.unique(owner[owner >= 0], return_counts=True)
        brings = {int(number): float(count) / self._sizes[number] for number, count in zip(numbers, rows, strict=True)}
        return Extent(float((owner < 0).sum()), brings)

    def _widest(self, owners: Axis) -> Axis:
        sizes = np.array([*self._sizes, 0])[owners]
        return np.asarray(np.take_along_axis(owners, sizes.argmax(axis=1)[:, None], axis=1)[:, 0])


def layer_work(analysis: Analysis, held: Collection[int] = ()) -> Work:
    """Reads the work of every layer off the recorded run.

    Args:
        analysis: The recorded run and its groups.
        held: Numbers of groups that keep everything.

    Returns:
        MACs as :func:`sapwood.measure.count_macs` counts them; numbers read and written are those of maps, views left
        out, for weights are read as often as they are multiplied.
    """
    extents = Extents(analysis, held)
    owned = {*analysis.graph.parameters, *analysis.graph.buffers}
    terms: dict[str, list[Term]] = {kind: [] for kind in KINDS}
    layers: dict[str, None] = {}
    for call in analysis.graph.evaluated:
        if call.op.is_view or call.facts.makes_nothing:
            continue
        layers[call.module] = None
        terms["macs"] += [_term(call.module, factor, dims) for factor, dims in _macs(call, extents)]
        maps = [tensor for tensor in call.tensor_inputs() if tensor.id not in owned]
        for kind, tensors in (("reads", maps), ("writes", call.tensor_outputs()[:1])):
            terms[kind] += [_term(call.module, 1.0, extents.of_tensor(tensor)) for tensor in tensors]
    return Work({kind: _merged(found) for kind, found in terms.items()}, tuple(layers))


def params_table(analysis: Analysis, total: int, held: Collection[int] = ()) -> CostTable:
    """The number of parameters as a cost.

    Args:
        analysis: The groups.
        total: All parameters of the model; those that the recorded run did not touch are fixed.
        held: Numbers of groups that keep everything.
    """
    extents = Extents(analysis, held)
    terms, counted = [], 0
    for number, names in analysis.graph.parameters.items():
        axes = analysis.axes.get(names[0])
        if axes is not None:
            terms.append(_term(names[0].rpartition(".")[0], 1.0, [extents.of(axis) for axis in axes]))
            counted += int(np.prod(analysis.shapes[names[0]]))
        del number
    return CostTable("parameters", _merged(terms), float(total - counted))


def channels_table(analysis: Analysis, held: Mapping[int, str]) -> CostTable:
    """The number of channels in all groups as a cost; groups that are held count as well, and keep theirs."""
    del held
    terms = [Term(group.name, 1.0, (Extent(0.0, {number: 1.0}),)) for number, group in enumerate(analysis.groups)]
    return CostTable("channels", tuple(terms))


def _macs(call: Call, extents: Extents) -> Iterable[tuple[float, Sequence[tuple[Extent, ...]]]]:
    """The products that a call adds up: (factor, sizes to multiply)."""
    found = call.facts.sum
    if found is None:
        return []
    if found.kind in {"convolution", "deformed"}:
        over = call.args[found.source] if bound(call).get("transposed") else call.outputs[0]
        return [(1.0, [*extents.of_tensor(over), *extents.of_tensor(call.args[found.weight])[1:]])]
    shapes = [extents.of_tensor(one) if isinstance(one, TensorRef) else () for one in call.args]
    return [(1.0, sizes) for sizes in found.products(shapes)]


def _term(layer: str, factor: float, sizes: Iterable[tuple[Extent, ...]]) -> Term:
    """A product with its fixed sizes in the factor."""
    moving = []
    for extent in chain.from_iterable(sizes):
        if extent.per_channel:
            moving.append(extent)
        else:
            factor *= extent.fixed
    return Term(layer, factor, tuple(moving))


def _merged(terms: Iterable[Term]) -> tuple[Term, ...]:
    """Terms of one layer with the same sizes become one."""
    found: dict[tuple[Any, ...], list[Term]] = defaultdict(list)
    for term in terms:
        key = tuple(sorted((extent.fixed, tuple(extent.per_channel.items())) for extent in term.extents))
        found[term.layer, key].append(term)
    return tuple(Term(same[0].layer, sum(term.factor for term in same), same[0].extents) for same in found.values())
