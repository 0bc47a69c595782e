"""What a compiled model may be called with: shapes and types, checked before anything is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sapwood.errors import EngineError

PIXELS = "numbers of pixels are brought there by `picture.float() / 255`, or as the model was trained"
"""What the commonest mistake is told."""


@dataclass(frozen=True)
class InputSpec:
    """An input as it was compiled for.

    Attributes:
        shape: Without the batch.
        dtype: Of its numbers; None where a file of an earlier version does not say and PyTorch alone reads them.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype | None

    @staticmethod
    def of(example: Tensor) -> InputSpec:
        """An example's."""
        return InputSpec(tuple(example.shape[1:]), example.dtype)


def refuse_tracing(kind: str) -> None:
    """Refuses to be part of what ``torch.jit.trace`` records: it would keep numbers of the example for the result.

    Raises:
        EngineError: Within such a trace.
    """
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        raise EngineError(
            f"torch.jit.trace cannot record {kind}, which does not run in PyTorch; trace the model it was made of"
        )


def checked(inputs: Sequence[Any], specs: Sequence[InputSpec]) -> list[Tensor]:
    """The inputs, in the types that were compiled for, dense and on the CPU.

    Raises:
        EngineError: If there are others than was compiled for.

    Examples:
        >>> checked((torch.zeros(1, 3, dtype=torch.uint8),), [InputSpec((3,), torch.float32)])
        Traceback (most recent call last):
        ...
        sapwood.errors.EngineError: input 0 is of torch.uint8; compiled for torch.float32: numbers of pixels are \
brought there by `picture.float() / 255`, or as the model was trained
    """
    shapes = [spec.shape for spec in specs]
    if len(inputs) != len(specs):
        raise EngineError(f"{len(inputs)} inputs; compiled for {len(specs)}: batches of {shapes}")
    for number, one in enumerate(inputs):
        if not isinstance(one, Tensor):
            kind = type(one).__name__
            raise EngineError(f"input {number} is of type {kind}; expected a tensor, a batch of {shapes[number]}")
        _check_storage(number, one)
    _check_shapes(inputs, shapes)
    return [_converted(number, one, spec) for number, (one, spec) in enumerate(zip(inputs, specs, strict=True))]


def _check_storage(number: int, tensor: Tensor) -> None:
    if tensor.layout is not torch.strided or tensor.is_meta or tensor.is_quantized or tensor.is_nested:
        kind = "meta" if tensor.is_meta else "quantized" if tensor.is_quantized else str(tensor.layout)
        raise EngineError(f"input {number} is a tensor of kind {kind}; expected a dense one that holds its numbers")


def _check_shapes(inputs: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]) -> None:
    fitting = all(one.dim() and tuple(one.shape[1:]) == shape for one, shape in zip(inputs, shapes, strict=True))
    counts = {len(one) for one in inputs} if fitting else set()
    if not fitting or len(counts) != 1 or counts == {0}:
        raise EngineError(
            f"inputs of shapes {[tuple(one.shape) for one in inputs]}; compiled for batches of {list(shapes)}"
        )


def _converted(number: int, tensor: Tensor, spec: InputSpec) -> Tensor:
    wanted = spec.dtype
    if wanted is None:
        wanted = torch.float32 if tensor.is_floating_point() else tensor.dtype
    if not _is_kept(tensor.dtype, wanted):
        hint = f": {PIXELS}" if tensor.dtype is torch.uint8 and wanted.is_floating_point else ""
        raise EngineError(f"input {number} is of {tensor.dtype}; compiled for {wanted}{hint}")
    return tensor.detach().to("cpu", wanted).resolve_conj().resolve_neg().contiguous()


def _is_kept(given: torch.dtype, wanted: torch.dtype) -> bool:
    """Whether numbers mean the same in the wanted type: float32 takes every float, others what they hold exactly."""
    if given == wanted:
        return True
    if given.is_floating_point and wanted.is_floating_point:
        return wanted is torch.float32 or torch.finfo(wanted).bits > torch.finfo(given).bits
    if not (is_whole(given) and is_whole(wanted)):
        return False
    inner, outer = torch.iinfo(given), torch.iinfo(wanted)
    return outer.min <= inner.min and inner.max <= outer.max


def is_whole(dtype: torch.dtype) -> bool:
    """Whether its numbers are whole."""
    return not (dtype.is_floating_point or dtype.is_complex or dtype is torch.bool)
