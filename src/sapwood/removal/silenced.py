"""The proof: the dense model with the removed channels silenced, run call by call, against the compact one."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sapwood.graph import Analysis, Decisions, Replay, leaving_no_trace, output_tensors, plain_kernels, run_model
from sapwood.ops import Call, Graph, TensorRef, leaves, mapped
from sapwood.removal.widths import Expectation
from sapwood.types import ExampleInputs


class MaskedReference(Replay):
    """Runs the dense model with the removed channels silenced wherever they are read."""

    def __init__(self, analysis: Analysis, expectation: Expectation, decisions: Decisions) -> None:
        super().__init__(analysis.graph.calls)
        self._decisions = decisions
        self._expectation = expectation
        self.chosen_from: list[Tensor] = []

    def make(self, call: Call, func: Any, args: Any, kwargs: Any) -> Any:
        """Makes the call on silenced operands, or on the kept indices alone where it pools them."""
        self.chosen_from += _choice(self._expectation, call, (args, kwargs))
        chosen = self._decisions.again(call.index, (args, kwargs))
        if chosen is not None:
            return chosen
        if call.facts.sum is not None:
            args = list(args)
            for position in call.facts.sum.silenced:
                args[position] = self._silence(args[position], call.args[position])
            return func(*args, **kwargs)
        if (
            call.facts.on_kept
            and call.facts.pooled_dims(call)
            and any(self._expectation.changed(tensor) for tensor in call.tensor_inputs())
        ):
            return self._on_kept(func, call, args, kwargs)
        return func(*args, **kwargs)

    def _silence(self, tensor: Tensor, ref: TensorRef) -> Tensor:
        for dim, rows in enumerate(self._expectation.rows(ref)):
            if not rows.all():
                shape = [1] * tensor.dim()
                shape[dim] = len(rows)
                tensor = torch.where(
                    torch.from_numpy(rows).reshape(shape).to(tensor.device), tensor, tensor.new_zeros(())
                )
        return tensor

    def _on_kept(self, func: Any, call: Call, args: Any, kwargs: Any) -> Any:
        refs = leaves((call.args, dict(call.kwargs)))

        def kept(leaf: Any) -> Any:
            ref = next(refs)
            return self.kept(leaf, ref) if isinstance(leaf, Tensor) and isinstance(ref, TensorRef) else leaf

        whole = func(*args, **kwargs)
        args, kwargs = mapped(kept, (args, kwargs))
        result = func(*self._resized(call, list(args)), **kwargs)
        places = iter(zip(call.outputs, leaves(whole), strict=True))
        return mapped(lambda leaf: self._scatter(leaf, *next(places)) if isinstance(leaf, Tensor) else leaf, result)

    def _resized(self, call: Call, args: list[Any]) -> list[Any]:
        """The sizes among the arguments of a norm, for the kept channels."""
        norm = call.facts.norm
        if norm is not None and norm.kind == "layer":
            args[1] = list(args[0].shape[-len(args[1]) :])
        if norm is not None and norm.kind == "group":
            channels = self._expectation.rows(call.args[0])[1].reshape(args[6], -1)
            args[4], args[6] = args[0].shape[1], int(channels.any(axis=1).sum())
        return args

    def kept(self, tensor: Tensor, ref: TensorRef) -> Tensor:
        """The part of ``tensor`` that the compact model has as well."""
        for dim, rows in enumerate(self._expectation.rows(ref)):
            if not rows.all():
                tensor = tensor.index_select(dim, torch.from_numpy(np.flatnonzero(rows)))
        return tensor.contiguous()

    def _scatter(self, tensor: Tensor, ref: Any, whole: Tensor) -> Tensor:
        """What was made of the kept indices among zeros, laid out in memory as ``whole`` is: views depend on that."""
        full = torch.zeros_like(whole)
        if tensor.shape == full.shape:
            return full.copy_(tensor)
        index = [torch.from_numpy(np.flatnonzero(rows)) for rows in self._expectation.rows(ref)]
        if tuple(len(part) for part in index) != tuple(tensor.shape):
            return full
        full[torch.meshgrid(*index, indexing="ij")] = tensor
        return full


class _SameDecisions(Replay):
    """Takes the choices of another run, for as long as the same calls are made."""

    def __init__(self, graph: Graph, decisions: Decisions, expectation: Expectation | None) -> None:
        super().__init__(graph.calls, keeps_all=True)
        self.chosen_from: list[Tensor] = []
        self._expectation = expectation
        self._decisions = decisions

    def make(self, call: Call, func: Any, args: Any, kwargs: Any) -> Any:
        """Takes what was chosen, or makes the call."""
        if self._expectation is not None:
            self.chosen_from += _choice(self._expectation, call, (args, kwargs))
        chosen = self._decisions.again(call.index, (args, kwargs))
        return func(*args, **kwargs) if chosen is None else chosen

    def stray(self, call: Call, func: Any) -> None:
        """Another way through the code has choices of its own."""


def _choice(expectation: Expectation, call: Call, inputs: Any) -> list[Tensor]:
    """What a call chooses from, as long as no channel went from it."""
    if not call.facts.chooses or any(expectation.changed(tensor) for tensor in call.tensor_inputs()):
        return []
    return [leaf.detach().clone() for leaf in leaves(inputs) if isinstance(leaf, Tensor)]


def reference_outputs(
    model: nn.Module, inputs: ExampleInputs, analysis: Analysis, expectation: Expectation, decisions: Decisions
) -> list[Tensor]:
    """What the dense ``model`` returns with the removed channels silenced, and what it chooses from on the way.

    Of outputs that may change their sizes, the kept part.
    """
    reference = MaskedReference(analysis, expectation, decisions)
    with leaving_no_trace(model), plain_kernels(model), reference:
        outputs = output_tensors(run_model(model, inputs))
    outputs = [reference.kept(tensor, ref) for tensor, ref in zip(outputs, analysis.graph.outputs, strict=True)]
    return [*outputs, *(reference.chosen_from if analysis.graph.reads_values else [])]


def compact_outputs(
    model: nn.Module,
    inputs: ExampleInputs,
    graph: Graph,
    decisions: Decisions,
    expectation: Expectation | None = None,
) -> list[Tensor]:
    """What the compact ``model`` returns and, under an ``expectation``, what it chooses from on the way.

    Where it chooses between the same values as the recorded run did, it chooses the same.
    """
    if not graph.reads_values:
        with plain_kernels(model):
            return output_tensors(run_model(model, inputs))
    same = _SameDecisions(graph, decisions, expectation)
    with plain_kernels(model), same:
        outputs = output_tensors(run_model(model, inputs))
    return [*outputs, *same.chosen_from]
