"""How far a call reaches along the dimensions that it reads by position: the spans of its windows."""

from __future__ import annotations

from typing import Any

from sapwood.ops.call import Call
from sapwood.ops.context import bound


def spans(call: Call) -> tuple[int, ...]:
    """For each of the last dimensions of a call's first tensor, how many positions a window of it spans.

    Kernels count with their dilation. Nothing of a call that has no windows, or whose windows follow from sizes alone,
    as those of an adaptive pooling do.

    Examples:
        >>> import torch
        >>> from sapwood.graph import trace
        >>> graph = trace(torch.nn.Conv2d(1, 1, (3, 1), dilation=2), torch.zeros(1, 1, 9, 9))
        >>> [spans(call) for call in graph.calls]
        [(5, 1)]
    """
    facts = call.facts
    if facts.is_convolution:
        return _reach(call.args[1].shape[2:], call.args[5])
    if not facts.windows:
        return ()
    values = bound(call)
    kernel = values.get("kernel_size")
    return (
        () if kernel is None else _reach(_each(kernel, facts.windows), _each(values.get("dilation", 1), facts.windows))
    )


def _each(value: Any, rank: int) -> tuple[int, ...]:
    """A number for each dimension, where one may stand for all."""
    given = (value,) if isinstance(value, int) else tuple(value)
    return given * rank if len(given) == 1 else given


def _reach(kernel: Any, dilation: Any) -> tuple[int, ...]:
    steps = _each(dilation, len(kernel)) if len(kernel) else ()
    return tuple((size - 1) * step + 1 for size, step in zip(kernel, steps, strict=True))
