"""The proof: the dense model with the removed channels silenced, run call by call, against the compact one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sapwood.graph import (
    Analysis,
    Decisions,
    Draws,
    Replay,
    leaving_no_trace,
    own_outputs,
    plain_kernels,
    put_,
    putting_back,
    run_model,
)
from sapwood.ops import Call, Graph, TensorRef, leaves, mapped
from sapwood.removal.segments import Segments
from sapwood.removal.widths import Expectation, kept_draws
from sapwood.types import ExampleInputs


class MaskedReference(Replay):
    """Runs the dense model with the removed channels silenced wherever they are read; what it draws is in ``draws``."""

    def __init__(
        self,
        analysis: Analysis,
        expectation: Expectation,
        decisions: Decisions,
        followed: Mapping[int, float] | None = None,
    ) -> None:
        super().__init__(analysis.graph.calls)
        self._followed = followed or {}
        self._unasked = _of_no_consequence(analysis.graph)
        self.draws = Draws()
        self._decisions = decisions
        self._expectation = expectation
        self.chosen_from: list[Tensor] = []
        self.segments: Segments | None = None
        self._indices: dict[tuple[int, torch.device], Tensor] = {}

    def make(self, call: Call, func: Any, args: Any, kwargs: Any) -> Any:
        """Makes the call on silenced operands, or on the kept indices alone where it pools them."""
        result = self._made(call, func, args, kwargs)
        if call.facts.random:
            self.draws.keep(call.index, result)
        if self.segments is not None:
            self.segments.end_masked(call, result, self._expectation)
        return result

    def _made(self, call: Call, func: Any, args: Any, kwargs: Any) -> Any:
        if call.index not in self._unasked:
            self.chosen_from += _choice(self._expectation, call, (args, kwargs))
        chosen = self._decisions.again(call.index, (args, kwargs))
        if chosen is not None:
            return chosen
        if call.index in self._followed:
            args = (args[0], _number_like(args[1], self._followed[call.index]), *args[2:])
        if call.facts.sum is not None:
            args = list(args)
            for position in call.facts.sum.silenced:
                args[position] = self._silence(args[position], call.args[position])
            return self.pass_on(func, args, kwargs)
        if (
            call.facts.on_kept
            and any(self._expectation.changed(tensor) for tensor in call.tensor_inputs())
            and call.facts.pooled_dims(call)
        ):
            return self._on_kept(func, call, args, kwargs)
        return self.pass_on(func, args, kwargs)

    def _silence(self, tensor: Tensor, ref: TensorRef) -> Tensor:
        """The tensor with zero wherever something goes, whatever stood there."""
        silenced = tensor
        for dim in self._expectation.smaller(ref):
            fill = silenced.index_fill if silenced is tensor else silenced.index_fill_
            silenced = fill(dim, self._gone(ref, dim, tensor.device), 0.0)
        return silenced

    def _gone(self, ref: TensorRef, dim: int, device: torch.device) -> Tensor:
        """The indices that go; those of one axis are asked for at many calls."""
        rows = self._expectation.rows(ref)[dim]
        key = (id(rows), device)
        if key not in self._indices:
            self._indices[key] = torch.from_numpy(np.flatnonzero(~rows)).to(device)
        return self._indices[key]

    def _on_kept(self, func: Any, call: Call, args: Any, kwargs: Any) -> Any:
        refs = leaves((call.args, dict(call.kwargs)))
        expectation = self._expectation.ordered(None)
        writes = func._schema.is_mutable

        def kept(leaf: Any) -> Any:
            ref = next(refs)
            if not isinstance(leaf, Tensor) or not isinstance(ref, TensorRef):
                return leaf
            own = expectation.kept(leaf, ref).contiguous()
            return own.clone() if writes and own is leaf else own

        own, named = mapped(kept, (args, kwargs))
        whole = self.pass_on(func, args, kwargs)
        result = self.pass_on(func, self._resized(call, list(own)), named)
        places = iter(zip(call.outputs, leaves(whole), strict=True))
        made = mapped(lambda leaf: self._scatter(leaf, *next(places)) if isinstance(leaf, Tensor) else leaf, result)
        return whole.copy_(made) if whole is args[0] else made

    def _resized(self, call: Call, args: list[Any]) -> list[Any]:
        """The sizes among the arguments of a norm, for the kept channels."""
        norm = call.facts.norm
        if norm is not None and norm.kind == "layer":
            args[1] = list(args[0].shape[-len(args[1]) :])
        if norm is not None and norm.kind == "group":
            channels = self._expectation.rows(call.args[0])[1].reshape(args[6], -1)
            args[4], args[6] = args[0].shape[1], int(channels.any(axis=1).sum())
        return args

    def _scatter(self, tensor: Tensor, ref: Any, whole: Tensor) -> Tensor:
        """What was made of the kept indices among zeros, laid out in memory as ``whole`` is: views depend on that."""
        if tensor.shape == whole.shape:
            return tensor if tensor.stride() == whole.stride() else torch.empty_like(whole).copy_(tensor)
        full = torch.zeros_like(whole)
        smaller, rows = self._expectation.smaller(ref), self._expectation.rows(ref)
        kept = {dim: np.flatnonzero(rows[dim]) for dim in smaller}
        sizes = tuple(len(kept[dim]) if dim in kept else size for dim, size in enumerate(whole.shape))
        if sizes != tuple(tensor.shape):  # sizes that values decide may be others
            return full
        if len(smaller) == 1:
            return full.index_copy_(smaller[0], torch.from_numpy(kept[smaller[0]]), tensor)
        index = [torch.from_numpy(kept[dim]) if dim in kept else torch.arange(size) for dim, size in enumerate(sizes)]
        full[torch.meshgrid(*index, indexing="ij")] = tensor
        return full


class SameDecisions(Replay):
    """Takes the choices of another run and what stays of its draws, for as long as the same calls are made."""

    def __init__(self, graph: Graph, decisions: Decisions, draws: Draws, expectation: Expectation | None) -> None:
        super().__init__(graph.calls)
        self.chosen_from: list[Tensor] = []
        self._expectation = expectation
        self._decisions = decisions
        self._draws = draws
        self.segments: Segments | None = None
        self._of_numbers = graph.of_numbers
        self._unasked = _of_no_consequence(graph)

    def make(self, call: Call, func: Any, args: Any, kwargs: Any) -> Any:
        """Takes what was chosen or drawn, or makes the call."""
        if self._expectation is not None and call.index not in self._unasked:
            self.chosen_from += _choice(self._expectation, call, (args, kwargs))
        chosen = self._decisions.again(call.index, (args, kwargs))
        if chosen is not None:
            return chosen
        result = self.pass_on(func, args, kwargs)
        if call.facts.random:
            put_(result, kept_draws(self._draws, call, self._expectation))
        if self.segments is not None:
            self.segments.end_compact(call, result)
        return result

    def stray(self, call: Call, func: Any) -> None:
        """Another way through the code has choices of its own."""


def _number_like(value: Any, number: float) -> Any:
    """``number`` as the kind of thing that ``value`` is."""
    return torch.full_like(value, number) if isinstance(value, Tensor) else type(value)(number)


def _of_no_consequence(graph: Graph) -> frozenset[int]:
    """Calls whose operands need not be the same: of numbers alone, or of sizes that the code only checks."""
    checks = {
        index
        for index in graph.looked_at
        if not any(ref.dtype.is_floating_point for ref in graph.calls[index].tensor_inputs())
    }
    return graph.of_numbers | checks


def _choice(expectation: Expectation, call: Call, inputs: Any) -> list[Tensor]:
    """What a call chooses from, as long as no channel went from it."""
    if not call.chooses or any(expectation.changed(tensor) for tensor in call.tensor_inputs()):
        return []
    return [leaf.detach().clone() for leaf in leaves(inputs) if isinstance(leaf, Tensor)]


class Reference(NamedTuple):
    """What the dense model returned with the removed channels silenced.

    Attributes:
        outputs: The values, and what it chose from on the way.
        draws: The random numbers that were drawn.
        all_double: Whether everything was float64 by itself.
    """

    outputs: list[Tensor]
    draws: Draws
    all_double: bool


def reference_outputs(
    model: nn.Module,
    inputs: ExampleInputs,
    analysis: Analysis,
    expectation: Expectation,
    decisions: Decisions,
    *,
    followed: Mapping[int, float] | None = None,
    kind: type[MaskedReference] = MaskedReference,
    segments: Segments | None = None,
) -> Reference:
    """What the dense ``model`` returns with the removed channels silenced, and what it chooses from on the way.

    Of outputs that may change their sizes, the kept part. Numbers that divide a sum over channels by how many there are
    (``followed``) are those of the compact model. ``kind`` is what runs it. Where there are ``segments``, each begins
    with values of its own.
    """
    reference = kind(analysis, expectation, decisions, followed)
    reference.segments = segments
    with leaving_no_trace(model, analysis.graph.written), plain_kernels(model) as keeper, reference:
        outputs = own_outputs(run_model(model, inputs), analysis.graph)
    outputs = [expectation.kept(tensor, ref) for tensor, ref in zip(outputs, analysis.graph.outputs, strict=True)]
    chosen_from = reference.chosen_from if analysis.graph.reads_values else []
    return Reference([*outputs, *chosen_from], reference.draws, keeper is not None and keeper.idle)


def compact_outputs(
    model: nn.Module,
    inputs: ExampleInputs,
    graph: Graph,
    decisions: Decisions,
    expectation: Expectation | None = None,
    *,
    draws: Draws | None = None,
    all_double: bool = False,
    segments: Segments | None = None,
) -> list[Tensor]:
    """What the compact ``model`` returns and, under an ``expectation``, what it chooses from on the way.

    Where it chooses between the same values as the recorded run did, it chooses the same; where that drew random
    numbers (``draws``), it gets what stays of them. Where a run of the same calls was ``all_double``, nothing looks
    after that in this one. Where there are ``segments``, each begins with the values that it had in the masked one.
    """
    watched = graph.reads_values or graph.draws or segments is not None
    kernels = plain_kernels(model, double=not all_double, sooner=bool(watched or _has_channels_apart(graph)))
    if not watched:
        with putting_back(model, graph.written), kernels:
            return own_outputs(run_model(model, inputs), graph)
    same = SameDecisions(graph, decisions, draws or decisions.draws, expectation)
    same.segments = segments
    with putting_back(model, graph.written), kernels, same:
        outputs = own_outputs(run_model(model, inputs), graph)
    return [*outputs, *(same.chosen_from if graph.reads_values else [])]


def _has_channels_apart(graph: Graph) -> bool:
    """Whether a run convolves channels each by itself, at which PyTorch takes its time in float64."""
    return any(call.facts.is_convolution and call.args[1].shape[1] == 1 for call in graph.calls)
