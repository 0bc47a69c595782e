"""Where the constants of removed channels go: into a bias, one that is made for them, or a running mean."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from torch import nn
from torch.nn.modules.conv import _ConvNd

from sapwood.compaction.contributions import Bools, Contribution
from sapwood.models import Cut, Plan, Shift
from sapwood.ops import Call, Graph, TensorRef, bound
from sapwood.removal import Expectation

AGREE = 1e-12
"""Two uses of one bias want the same constant where they differ by less, relative to the largest: rounding."""


@dataclass(frozen=True)
class ConstantPlace:
    """A parameter or buffer that takes the constants of a sum.

    Attributes:
        tensor: Its name.
        sign: 1 where the constant is added, -1 where it is taken away, as from a running mean.
        scaled_by: The parameter whose rescaled rows rescale the constant as well.
        weight: The number of the weight of the sum in the recorded run.
        number: The tensor's own number there, or None for a bias that is to be made.
    """

    tensor: str
    sign: float
    scaled_by: str
    weight: int
    number: int | None = None

    @property
    def made(self) -> bool:
        """Whether the module has no such bias yet."""
        return self.number is None


@dataclass(frozen=True)
class Fold:
    """What a call's constants need.

    Attributes:
        contribution: What its indices add.
        place: Where constants go, or None.
        needed: bool, shape (I, O): the pairs that must not be parted, for what is added cannot be replaced.
        reason: Why constants cannot be replaced, where they cannot.
    """

    contribution: Contribution
    place: ConstantPlace | None
    needed: Bools
    reason: str


def find_folds(
    graph: Graph,
    model: nn.Module,
    found: Sequence[Contribution],
    *,
    exact: bool,
    carrying: Collection[str] = (),
) -> list[Fold]:
    """Decides for every sum which constants can be replaced by a bias.

    Args:
        graph: The recorded run.
        model: The model that ran.
        found: What the indices of its sums add.
        exact: Whether constants that differ over positions stay; else their median replaces them.
        carrying: Weights in front of which one channel carries the constants of others; for the reason.
    """
    finder = _ConstantPlaces(graph, model)
    places = [finder.find(one.call) for one in found]
    refused = _refusals(graph, found, places)
    folds = []
    for one, place, refusal in zip(found, places, refused, strict=True):
        needed = one.live.copy()
        there = (one.values != 0) | one.uneven
        reason = place if isinstance(place, str) else "two uses of its bias want different constants"
        if isinstance(place, str):
            needed[one.indices] |= there
        else:
            needed[one.indices] |= there & refusal[:, None]
            if exact:
                needed[one.indices] |= one.uneven
                reason = reason if refusal.any() else _uneven_reason(graph, one.call, carrying)
        folds.append(Fold(one, None if isinstance(place, str) else place, needed, f"{reason}, in {one.call}"))
    return folds


def _uneven_reason(graph: Graph, call: Call, carrying: Collection[str]) -> str:
    if call.facts.is_convolution and not set(graph.parameters.get(call.args[1].id, ())).isdisjoint(carrying):
        return "it carries the constants of all others, which meet zero padding"
    if call.facts.is_convolution and any(call.args[4]):
        return "its constant meets zero padding"
    return "its constant is not the same at every position"


class _ConstantPlaces:
    """Finds where the constants of a sum can go."""

    def __init__(self, graph: Graph, model: nn.Module) -> None:
        self._graph = graph
        self._model = model
        self._returned = {ref.id for ref in graph.outputs}
        self._readers: dict[int, list[Call]] = defaultdict(list)
        self._transposed: dict[int, TensorRef] = {}
        for call in graph.calls:
            for ref in call.tensor_inputs():
                self._readers[ref.id].append(call)
            if call.facts.turns and len(call.outputs[0].shape) == 2:
                self._transposed[call.outputs[0].id] = call.args[0]

    def find(self, call: Call) -> ConstantPlace | str:
        """The place, or why there is none."""
        found = call.facts.sum
        if found is None or found.kind == "attention":
            return "there is no bias to put its constant into"
        weight = call.args[found.weight]
        if found.kind == "product" and len(weight.shape) != 2:
            return "there is no bias to put its constant into"
        weight = self._transposed.get(weight.id, weight)
        if call.bias is not None:
            return self._existing(call, call.bias, weight)
        return self._only_norm(call, weight) or self._of_module(call, weight)

    def _existing(self, call: Call, bias: TensorRef, weight: TensorRef) -> ConstantPlace | str:
        names = self._graph.parameters.get(bias.id)
        if names is None or (call.facts.is_product and bias.shape != call.outputs[0].shape[-1:]):
            return "the bias that its constant would go into is no parameter"
        if any(call.kwargs.get(key, 1) != 1 for key in ("alpha", "beta")):
            return "its sum is scaled"
        return ConstantPlace(names[0], 1.0, names[0], weight.id, bias.id)

    def _only_norm(self, call: Call, weight: TensorRef) -> ConstantPlace | None:
        """The running mean of the batch norm that alone reads what the call makes."""
        output = call.outputs[0]
        readers = self._readers[output.id]
        channels_second = call.facts.is_convolution or len(output.shape) == 2
        if len(readers) != 1 or output.id in self._returned or not channels_second:
            return None
        norm = readers[0].facts.norm
        if norm is None or norm.kind != "batch" or readers[0].facts.pooled_dims(readers[0]):
            return None
        mean = bound(readers[0]).get("running_mean")
        if not isinstance(mean, TensorRef) or mean.id not in self._graph.buffers:
            return None
        return ConstantPlace(self._graph.buffers[mean.id][0], -1.0, "", weight.id, mean.id)

    def _of_module(self, call: Call, weight: TensorRef) -> ConstantPlace | str:
        """The bias of the module that runs, if it is one whose own forward adds it."""
        module = self._model.get_submodule(call.module)
        name, tensor = (f"{call.module}.{leaf}".lstrip(".") for leaf in ("weight", "bias"))
        own = self._graph.parameters.get(weight.id, ())
        if not isinstance(module, (_ConvNd, nn.Linear)) or name not in own:
            return "its weight belongs to no layer that could take a bias"
        for number, names in self._graph.parameters.items():
            if tensor in names:
                return ConstantPlace(names[0], 1.0, names[0], weight.id, number)
        return ConstantPlace(tensor, 1.0, name, weight.id)


def _refusals(graph: Graph, found: Sequence[Contribution], places: Sequence[ConstantPlace | str]) -> list[Bools]:
    """For every sum, which of its constant indices want what another reader of the same place does not."""
    refused = [np.zeros(len(one.indices), dtype=bool) for one in found]
    reads = Counter(ref.id for call in graph.calls for ref in call.tensor_inputs())
    sharing: dict[str, list[int]] = defaultdict(list)
    for number, place in enumerate(places):
        if isinstance(place, ConstantPlace):
            sharing[place.tensor].append(number)
    for numbers in sharing.values():
        place = cast(ConstantPlace, places[numbers[0]])
        own = [found[number] for number in numbers]
        shared = {other.weight for other in places if isinstance(other, ConstantPlace) and other.tensor == place.tensor}
        alone = len(shared) == 1 and (place.number is None or reads[place.number] == len(own))
        for number in numbers:
            for row, index in enumerate(found[number].indices.tolist()):
                refused[number][row] = not alone or not _all_add(own, index)
    return refused


def _all_add(own: Sequence[Contribution], index: int) -> bool:
    """Whether all sums add the same constant for an index."""
    rows = [one.values[one.indices == index] for one in own]
    if any(len(row) != 1 for row in rows):
        return False
    scale = max(float(np.abs(row).max()) for row in rows)
    return all(float(np.abs(row - rows[0]).max()) <= AGREE * scale for row in rows)


def add_shifts(plan: Plan, folds: Sequence[Fold], expectation: Expectation) -> Plan:
    """The plan with the constants of what it removes put where they belong.

    Args:
        plan: What goes.
        folds: Where the constants of each sum go.
        expectation: What the plan makes of every tensor.
    """
    shifts: dict[str, Shift] = {}
    cuts = list(plan.cuts)
    for fold in folds:
        one, place = fold.contribution, fold.place
        if place is None or place.tensor in shifts or one.output_dim is None:
            continue
        gone = ~expectation.rows(one.source)[one.dim][one.indices]
        rows = expectation.rows(one.call.outputs[0])[one.output_dim]
        values = one.values[gone].sum(axis=0) * place.sign * rows * _factors(plan, place, len(rows))
        if not values.any():
            continue
        shifts[place.tensor] = Shift(place.tensor, tuple(values.tolist()))
        if place.made and not rows.all():
            cuts.append(Cut(place.tensor, 0, len(rows), tuple(np.flatnonzero(rows).tolist())))
    return replace(plan, cuts=tuple(cuts), shifts=(*plan.shifts, *shifts.values()))


def _factors(plan: Plan, place: ConstantPlace, size: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """What the plan multiplies each row of the sum by."""
    factors = np.ones(size)
    for rescale in plan.rescales:
        if rescale.tensor == place.scaled_by:
            factors[list(rescale.rows)] *= rescale.factor
    return factors
