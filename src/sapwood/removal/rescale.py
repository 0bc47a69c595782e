"""Keeps a value as large as it was in the dense model, by scaling the rows of the parameters that produce it.

Attention divides by the square root of the head width. Where code takes that width from the tensor at hand, the
temperature would change when head widths shrink; scaling the query's rows undoes it exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from sapwood.graph import Analysis
from sapwood.models import Rescale
from sapwood.ops import Call, Graph, TensorRef, bound, moved
from sapwood.removal.arrived import Arrived
from sapwood.removal.code_numbers import NumberChange
from sapwood.removal.widths import Expectation

MAX_STEPS = 300
"""How many calls are looked at on the way from a value to its parameters."""

EQUAL = 1e-12
"""Relative; how far apart two factors are that were worked out from the same widths."""

Rows: TypeAlias = dict[str, Tensor]
"""Name of a parameter -> for each of its rows, whether it is scaled."""


def attention_changes(analysis: Analysis, expectation: Expectation) -> list[NumberChange]:
    """Fused attention that takes its scale from the head width, where that width shrinks."""
    changes = []
    for call in analysis.graph.calls:
        if call.facts.is_attention and call.kwargs.get("scale") is None:
            before, after = call.args[0].shape[-1], expectation.shape(call.args[0])[-1]
            if before != after:
                changes.append(NumberChange(call, before, after, call.args[:2], math.sqrt(after / before)))
    return changes


@dataclass(frozen=True)
class Producers:
    """What scales a value.

    Attributes:
        rows: The rows of parameters.
        passed: The indices of the calls between them and the value.
        factor: What they are multiplied by.
    """

    rows: Mapping[str, Tensor]
    passed: frozenset[int]
    factor: float


def producers(
    analysis: Analysis, change: NumberChange, known: Sequence[Producers] = (), *, arrived: Arrived | None = None
) -> Producers | None:
    """Finds the rows of parameters whose scaling scales what ``change.call`` makes by ``change.factor``.

    Of two factors of a product the one is taken that another change scales by as much: it is scaled once for both,
    where a query is multiplied with keys and with embeddings of places that one layer makes.

    Args:
        analysis: The groups.
        change: A number that follows a width.
        known: What is scaled for other changes.
        arrived: What was found for other changes.

    Returns:
        The rows, or None where no parameters scale a factor of it as a whole.
    """
    if change.factor is None or change.factor <= 0.0:
        return None
    scaled = _together(one.rows for one in known if math.isclose(one.factor, change.factor, rel_tol=EQUAL))
    found = []
    arrived = arrived or Arrived()
    for tensor in change.factors:
        search = _RowSearch(analysis, scaled, arrived)
        rows = search.rows(tensor, arrived.every(tensor.shape), change.call.index)
        if rows:
            found.append(Producers(rows, frozenset(search.passed), change.factor ** (1.0 / search.degree)))
    return next((one for one in found if _within(one.rows, scaled)), found[0] if found else None)


def _together(all_rows: Iterable[Mapping[str, Tensor]]) -> Rows:
    merged: Rows = {}
    for rows in all_rows:
        for name, own in rows.items():
            merged[name] = own | merged.get(name, own)
    return merged


def _within(rows: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> bool:
    """Whether all of some rows are among others."""
    return all(name in others and not bool((own & ~others[name]).any()) for name, own in rows.items())


def rescales(found: Iterable[tuple[NumberChange, Producers]]) -> tuple[Rescale, ...]:
    """What is scaled for all changes: once for those that stand side by side (a layer that runs twice)."""
    done: list[tuple[NumberChange, Producers]] = []
    scaled: list[Rescale] = []
    for change, own in found:
        beside = [
            other.rows
            for known, other in done
            if math.isclose(other.factor, own.factor, rel_tol=EQUAL)
            and known.call.index not in own.passed
            and change.call.index not in other.passed
        ]
        for name, wanted in own.rows.items():
            rows = wanted.clone()
            for other in beside:
                rows &= ~other.get(name, torch.zeros_like(rows))
            if bool(rows.any()):
                indices = tuple(rows.nonzero().flatten().tolist())
                scaled.append(Rescale(name, indices, own.factor))
        done.append((change, own))
    return tuple(scaled)


@dataclass(frozen=True)
class ParameterPart:
    """A parameter, or some rows of it, in what a layer multiplies by or adds.

    Attributes:
        name: The parameter.
        size: How many rows it has.
        rows: For each element of the layer's weight or bias, in which of the parameter's rows it is, or -1: a fused
            bias is concatenated from several parameters, and a fused weight is cut into several.
    """

    name: str
    size: int
    rows: Tensor


class _Makers:
    """Which call last wrote a tensor before another call read it."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def of(self, tensor: TensorRef, before: int) -> Call | None:
        calls, writers = self._graph.calls, self._graph.writers.get(tensor.id, ())
        return next((calls[index] for index in reversed(writers) if index < before), None)


class _RowSearch:
    """Walks from a value back to the parameters that scale it; ``wanted`` says of each element whether it is to be."""

    def __init__(self, analysis: Analysis, scaled: Rows, arrived: Arrived) -> None:
        self._scaled = scaled
        self._arrived = arrived
        owned = {**analysis.graph.buffers, **analysis.graph.parameters}
        self._names = {number: own[0] for number, own in owned.items()}
        self._buffers = analysis.graph.buffers
        self._overwritten = analysis.graph.overwritten
        self._known = {number: one for number, one in analysis.graph.constants.items() if not one.is_meta}
        self._makers = _Makers(analysis.graph)
        self._readers = analysis.graph.readers
        self.passed: set[int] = set()
        self._asked: set[int] = set()
        self.degree = 1
        self._steps = 0

    def rows(self, tensor: TensorRef, wanted: Tensor, before: int) -> Rows | None:
        """The rows that scale the elements ``wanted`` of ``tensor`` as it is before a call; None where none do."""
        self._steps += 1
        if not self._arrived.any_of(wanted):
            return {}
        if tensor.id in self._names:
            return self._own_rows(tensor, wanted)
        call = self._makers.of(tensor, before)
        if call is None or self._steps > MAX_STEPS:
            return None
        self.passed.add(call.index)
        self._asked.add(tensor.id)
        if call.facts.zeros:
            return {}
        found = _parameters_of(self._names, call, self._makers)
        if found is not None:
            return _of_parts(found[0], self._arrived.any_along(wanted, found[1]))
        return self._looked_up(call, wanted) if call.facts.looks_up else self._through(call, tensor, wanted)

    def _looked_up(self, call: Call, wanted: Tensor) -> Rows | None:
        """All rows of a table, of which any may be looked up, where all of each is wanted."""
        table = call.args[0]
        if table.id not in self._names or table.id in self._overwritten or not bool(wanted.all()):
            return None
        return {self._names[table.id]: torch.ones(table.shape[0], dtype=torch.bool)}

    def _own_rows(self, tensor: TensorRef, wanted: Tensor) -> Rows | None:
        """The rows of a parameter, or of a buffer that no call writes into: what it held before counts for nothing."""
        if tensor.id in self._overwritten or not wanted.dim():
            return None
        return {self._names[tensor.id]: wanted.reshape(len(wanted), -1).any(1)}

    def _through(self, call: Call, tensor: TensorRef, wanted: Tensor) -> Rows | None:
        """Asks for what ``call`` reads to be scaled instead."""
        tensors, kind = call.tensor_inputs(), "first" if _pads_with_zeros(call) else call.facts.homogeneous
        if kind == "all":
            return self._all(call, tensors, tensor, wanted)
        if kind == "either":
            tensors.sort(key=lambda one: 2 if one.id in self._buffers else one.id not in self._names)
        if kind == "either" and len(tensors) == 2 and not any(one.id in self._names for one in tensors):
            return self._of_two(call, tensors, tensor, wanted)
        for source in tensors if kind == "either" else tensors[:1] if kind == "first" else ():
            found = self.rows(source, self._arrived.wanted_of(call, source, tensor, wanted, self._known), call.index)
            if found is not None:
                return found
        return None

    def _of_two(self, call: Call, factors: Sequence[TensorRef], tensor: TensorRef, wanted: Tensor) -> Rows | None:
        """One of two factors: best what is scaled already for another change, then what nothing else reads."""
        before, asked, found = set(self.passed), set(self._asked), []
        for source in factors:
            self.passed, self._asked = set(), set()
            rows = self.rows(source, self._arrived.wanted_of(call, source, tensor, wanted, self._known), call.index)
            if rows is not None:
                found.append((rows, self.passed, self._asked))
        if len(found) == 2 and found[0][0] and _same_rows(found[0][0], found[1][0]):  # a product with itself
            self.degree *= 2
        rows, passed, own = min(found, key=lambda one: self._side_effects(call, *one), default=(None, set(), set()))
        self.passed, self._asked = before | passed, asked | own
        return rows

    def _side_effects(self, call: Call, rows: Rows, passed: set[int], asked: set[int]) -> tuple[bool, bool]:
        """Whether rows are not scaled yet, and whether more than ``call`` would read what is scaled with them.

        Of the parts that a call cuts, as the queries and keys that one layer makes, only those that were asked for.
        """
        readers = {reader for number in asked for reader in self._readers.get(number, ())}
        return not _within(rows, self._scaled), not readers <= {*passed, call.index}

    def _all(self, call: Call, tensors: Sequence[TensorRef], tensor: TensorRef, wanted: Tensor) -> Rows | None:
        if call.facts.adds and len(tensors) < 2:
            return None  # a number is added
        merged: Rows = {}
        for source in tensors:
            found = self.rows(source, self._arrived.wanted_of(call, source, tensor, wanted, self._known), call.index)
            if found is None:
                return None
            merged = _together((merged, found))
        return merged


def _pads_with_zeros(call: Call) -> bool:
    """Whether a call adds zeros along dimensions, as where positions are shifted against each other."""
    return call.facts.pads and not bound(call)["value"]


def _same_rows(one: Rows, other: Rows) -> bool:
    return one.keys() == other.keys() and all(torch.equal(rows, other[name]) for name, rows in one.items())


def _of_parts(parts: Sequence[ParameterPart], wanted: Tensor) -> Rows | None:
    """The rows of parameters that are in the rows ``wanted``; None where one is in another row, too."""
    found: Rows = {}
    for part in parts:
        inside, outside = (_flags(part, which) for which in (wanted, ~wanted))
        if bool((inside & outside).any()):
            return None
        found[part.name] = inside | found.get(part.name, inside)
    return {name: rows for name, rows in found.items() if bool(rows.any())}


def _flags(part: ParameterPart, which: Tensor) -> Tensor:
    """For each row of the parameter, whether one of the elements ``which`` is in it."""
    rows, found = part.rows, torch.zeros(part.size + 1, dtype=torch.bool)
    while rows.dim() > 1 and rows.stride(-1) == 0:  # the same all along, as in a parameter as it is
        rows = rows.select(-1, 0)
    found[rows[which].flatten() + 1] = True
    return found[1:]


def _turned_back(call: Call, names: Mapping[int, str], makers: _Makers) -> tuple[TensorRef, bool]:
    """The second factor of a product as it was before it was transposed, and whether it was."""
    assert call.facts.sum is not None
    weight: TensorRef = call.args[call.facts.sum.weight]
    maker = makers.of(weight, call.index)
    turned = weight.id not in names and maker is not None and maker.facts.turns
    return (maker.args[0], True) if turned and maker is not None else (weight, False)


def _parameters_of(names: Mapping[int, str], call: Call, makers: _Makers) -> tuple[list[ParameterPart], int] | None:
    """The parameters whose dimension 0 is a dimension of the call's output, and that dimension.

    Of a weight that is multiplied as it stands, not transposed, every row is part of every output.
    """
    last, norm = len(call.outputs[0].shape) - 1 if call.tensor_outputs() else 0, call.facts.norm
    tensors: list[TensorRef | None]
    as_it_stands = False
    if call.facts.is_product or call.facts.is_convolution:
        weight, turned = _turned_back(call, names, makers)
        if call.facts.is_product and len(weight.shape) != 2:  # a vector, or one matrix for each of a batch
            return None
        as_it_stands = call.facts.is_product and not turned
        tensors, dim = [weight, call.bias], 1 if call.facts.is_convolution else last
    elif norm is not None:
        tensors, dim = list(call.args[norm.weight : norm.weight + 2]), last if norm.kind == "layer" else 1
    else:
        return None
    parts: list[ParameterPart] = []
    for tensor in tensors:
        if isinstance(tensor, TensorRef):
            found = _parts(names, tensor, call, makers)
            if found is None:
                return None
            turns = as_it_stands and tensor is tensors[0]
            parts += [replace(part, rows=part.rows.t()) for part in found] if turns else found
    return (parts, dim) if parts else None


def _parts(names: Mapping[int, str], tensor: TensorRef, call: Call, makers: _Makers) -> list[ParameterPart] | None:
    """The parameters that ``tensor`` is made of, by moves and by concatenations along dimension 0."""
    if tensor.id in names:
        rows = torch.arange(tensor.shape[0]).reshape(-1, *[1] * (len(tensor.shape) - 1))
        return [ParameterPart(names[tensor.id], len(rows), rows.expand(tensor.shape))]
    maker = makers.of(tensor, call.index)
    if maker is None:
        return None
    if maker.facts.joins:
        return _of_pieces(names, maker, makers)
    if not ((maker.facts.moves or maker.facts.spreads == "moved") and isinstance(maker.args[0], TensorRef)):
        return None
    parts = _parts(names, maker.args[0], maker, makers)
    found = [(part, _moved_rows(maker, tensor, part.rows)) for part in parts or ()]
    return [replace(part, rows=rows) for part, rows in found if rows is not None] or None


def _of_pieces(names: Mapping[int, str], maker: Call, makers: _Makers) -> list[ParameterPart] | None:
    """The parameters that are concatenated along dimension 0."""
    if len(maker.args) > 1 and maker.args[1] != 0:
        return None
    total, start = sum(piece.shape[0] for piece in maker.args[0]), 0
    found: list[ParameterPart] = []
    for piece in maker.args[0]:
        parts = _parts(names, piece, maker, makers)
        if parts is None:
            return None
        for part in parts:
            rows = torch.full((total, *piece.shape[1:]), -1)
            rows[start : start + piece.shape[0]] = part.rows
            found.append(replace(part, rows=rows))
        start += piece.shape[0]
    return found


def _moved_rows(call: Call, made: TensorRef, rows: Tensor) -> Tensor | None:
    """What a move makes of the numbers of rows; None where it makes more than that."""
    try:
        results = moved(call, rows + 1)
        pieces = results if isinstance(results, (list, tuple)) else [results]
        piece = next(piece for ref, piece in zip(call.outputs, pieces, strict=True) if ref == made)
    except Exception:  # it reads more than that tensor, as an index does
        return None
    return None if piece.shape != made.shape else piece - 1
