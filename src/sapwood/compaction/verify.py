"""The proof: the dense model with the removed channels silenced, run call by call, against the compact one."""

from __future__ import annotations

import math
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from sapwood.compaction.expect import Expectation
from sapwood.graph import Analysis, Decisions, call_model, output_tensors, plain_kernels, shell
from sapwood.ops import Call, TensorRef, same_op
from sapwood.types import ExampleInputs

CONTRACTIONS = {
    "aten.convolution": (0,),
    "aten._convolution": (0,),
    "aten.mm": (0,),
    "aten.bmm": (0,),
    "aten.addmm": (1,),
    "aten.baddbmm": (1,),
    "aten.linear": (0,),
    "aten.matmul": (0,),
    "aten._scaled_dot_product_flash_attention_for_cpu": (0, 1, 2),
    "aten._scaled_dot_product_attention_math": (0, 1, 2),
}
"""Operators that sum over channels, with the operands whose removed indices are silenced."""

POOLED = frozenset(
    f"aten.{name}"
    for name in """
    native_layer_norm native_group_norm _fused_rms_norm mean sum amax amin max min prod var std var_mean std_mean
    norm linalg_vector_norm logsumexp _softmax _log_softmax _safe_softmax any all
    """.split()
)
"""Operators that combine indices other than by a weighted sum; the reference gives them the kept indices only."""


BATCH_NORMS = frozenset({"aten.native_batch_norm"})
"""Pool over everything but the channel when they take statistics of their input (weight standardisation)."""


class MaskedReference(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs the dense model with the removed channels silenced wherever they are read."""

    def __init__(self, analysis: Analysis, expectation: Expectation, decisions: Decisions) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._decisions = decisions
        self._calls = analysis.graph.calls
        self._expectation = expectation
        self._next = 0
        self._kept_alive: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = self._run(func, args, kwargs or {})
        made_fresh = not any(isinstance(leaf, Tensor) for leaf in tree_flatten((args, kwargs))[0])
        if made_fresh or "_like" in str(func):
            self._kept_alive.append(
                result
            )  # as the recorder does: PyTorch detaches a fresh tensor that is held elsewhere
        return result

    def _run(self, func: Any, args: Any, kwargs: Any) -> Any:
        call = self._calls[self._next]
        if not same_op(call, func):
            raise RuntimeError(f"the dense model did {func} where it did {call} before; it does not repeat itself")
        self._next += 1
        chosen = self._decisions.again(call.index, (args, kwargs))
        if chosen is not None:
            return chosen
        if call.name in CONTRACTIONS:
            args = list(args)
            for position in CONTRACTIONS[call.name]:
                args[position] = self._silence(args[position], call.args[position])
            return func(*args, **kwargs)
        pooled = call.name in POOLED or (call.name in BATCH_NORMS and bool(call.args[5]))
        if pooled and any(self._expectation.changed(tensor) for tensor in call.tensor_inputs()):
            return self._on_kept(func, call, args, kwargs)
        return func(*args, **kwargs)

    def _silence(self, tensor: Tensor, ref: TensorRef) -> Tensor:
        for dim, rows in enumerate(self._expectation.rows(ref)):
            if not rows.all():
                shape = [1] * tensor.dim()
                shape[dim] = len(rows)
                tensor = torch.where(torch.from_numpy(rows).reshape(shape), tensor, torch.zeros((), dtype=tensor.dtype))
        return tensor

    def _on_kept(self, func: Any, call: Call, args: Any, kwargs: Any) -> Any:
        refs = tree_flatten((call.args, dict(call.kwargs)), is_leaf=lambda x: isinstance(x, TensorRef))[0]
        leaves, spec = tree_flatten((args, kwargs))
        kept = [
            self._gather(leaf, ref) if isinstance(leaf, Tensor) and isinstance(ref, TensorRef) else leaf
            for leaf, ref in zip(leaves, refs, strict=True)
        ]
        args, kwargs = torch.utils._pytree.tree_unflatten(kept, spec)
        result = func(*self._resized(call, list(args)), **kwargs)
        outputs = iter(call.outputs)
        return tree_map(lambda leaf: self._scatter(leaf, next(outputs)) if isinstance(leaf, Tensor) else leaf, result)

    def _resized(self, call: Call, args: list[Any]) -> list[Any]:
        """The sizes among the arguments of a norm, for the kept channels."""
        if call.name in {"aten.native_layer_norm", "aten._fused_rms_norm"}:
            args[1] = list(args[0].shape[-len(args[1]) :])
        if call.name == "aten.native_group_norm":
            channels = self._expectation.rows(call.args[0])[1].reshape(args[6], -1)
            args[4], args[6] = args[0].shape[1], int(channels.any(axis=1).sum())
        return args

    def _gather(self, tensor: Tensor, ref: TensorRef) -> Tensor:
        for dim, rows in enumerate(self._expectation.rows(ref)):
            if not rows.all():
                tensor = tensor.index_select(dim, torch.from_numpy(np.flatnonzero(rows)))
        return tensor.contiguous()

    def _scatter(self, tensor: Tensor, ref: Any) -> Tensor:
        if tuple(tensor.shape) == ref.shape:
            return tensor
        full = tensor.new_zeros(ref.shape)
        index = [torch.from_numpy(np.flatnonzero(rows)) for rows in self._expectation.rows(ref)]
        if tuple(len(part) for part in index) != tuple(tensor.shape):
            return full
        full[torch.meshgrid(*index, indexing="ij")] = tensor
        return full


def relative_error(found: list[Tensor], wanted: list[Tensor]) -> float:
    """The largest absolute difference over the largest absolute value, over all outputs.

    Infinite where shapes or whole numbers differ, where values are not finite, or where there is nothing to compare
    (see :func:`telling`).
    """
    if len(found) != len(wanted) or not telling(wanted):
        return math.inf
    worst, scale = 0.0, 0.0
    for one, other in zip(found, wanted, strict=True):
        if one.shape != other.shape:
            return math.inf
        if not other.dtype.is_floating_point:
            if not torch.equal(one, other):
                return math.inf
        elif other.numel():
            worst = max(worst, float((one - other).abs().max().nan_to_num(nan=math.inf)))
            scale = max(scale, float(other.abs().max()))
    return worst / scale if scale else worst


def telling(outputs: list[Tensor]) -> bool:
    """Whether comparing with ``outputs`` can tell anything: they are finite and not all zero."""
    return all(bool(tensor.isfinite().all()) for tensor in outputs) and any(bool(tensor.any()) for tensor in outputs)


def lively_(model: nn.Module) -> None:
    """Gives every parameter values with which no output vanishes or overflows; what is proven then is the structure."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.dtype.is_floating_point:
                continue
            if parameter.dim() < 2:
                parameter.uniform_(0.5, 1.5, generator=generator)
            else:
                parameter.normal_(0.0, max(parameter[0].numel(), 1) ** -0.5, generator=generator)
        for buffer in model.buffers():
            if buffer.dtype.is_floating_point and not bool(buffer.isfinite().all()):
                buffer.uniform_(0.5, 1.5, generator=generator)


class _SameDecisions(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Takes the choices of another run, for as long as the same calls are made."""

    def __init__(self, analysis: Analysis, decisions: Decisions) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._calls = iter(analysis.graph.calls)
        self._decisions = decisions
        self._same = True
        self._kept_alive: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        call = next(self._calls, None) if self._same else None
        self._same = call is not None and same_op(call, func)
        chosen = self._decisions.again(call.index, (args, kwargs or {})) if call is not None and self._same else None
        result = func(*args, **(kwargs or {})) if chosen is None else chosen
        self._kept_alive.append(result)  # as the recorder does
        return result


def reference_outputs(
    model: nn.Module, inputs: ExampleInputs, analysis: Analysis, expectation: Expectation, decisions: Decisions
) -> list[Tensor]:
    """What the dense ``model`` returns with the removed channels silenced."""
    model = shell(model)
    with plain_kernels(model), MaskedReference(analysis, expectation, decisions):
        return output_tensors(call_model(model, inputs))


def compact_outputs(model: nn.Module, inputs: ExampleInputs, analysis: Analysis, decisions: Decisions) -> list[Tensor]:
    """What the compact ``model`` returns, choosing as the recorded run did where it chooses between the same values."""
    with ExitStack() as stack:
        stack.enter_context(plain_kernels(model))
        if analysis.graph.reads_values:
            stack.enter_context(_SameDecisions(analysis, decisions))
        return output_tensors(call_model(model, inputs))
