"""How many positions a map needs so that every place of the windows that slide over it meets one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sapwood.ops.call import Call
from sapwood.ops.context import bound


def spans(call: Call) -> tuple[int, ...]:
    """For each of the last dimensions of a call's first tensor, how many positions its windows need.

    A window as wide as 3 whose first place lies one outside of the map needs 2: it then has a step on which the first
    place lies on the map, and one for the last. Kernels count with their dilation. Nothing of a call that has no
    windows, or whose windows follow from sizes alone, as those of an adaptive pooling do.

    Examples:
        >>> import torch
        >>> from sapwood.graph import trace
        >>> graph = trace(torch.nn.Conv2d(1, 1, (3, 1), dilation=2, padding=(1, 0)), torch.zeros(1, 1, 9, 9))
        >>> [spans(call) for call in graph.calls]
        [(4, 1)]
    """
    facts = call.facts
    if facts.is_convolution:
        sizes = call.args[1].shape[2:]
        padding, dilation, transposed = call.args[4:7]
        return _reach(sizes, dilation, [0] * len(sizes) if transposed else padding)
    if not facts.windows:
        return ()
    values = bound(call)
    kernel = values.get("kernel_size")
    if kernel is None:
        return ()
    rank = facts.windows
    return _reach(*(_each(one, rank) for one in (kernel, values.get("dilation", 1), values.get("padding", 0))))


def _each(value: Any, rank: int) -> tuple[int, ...]:
    """A number for each dimension, where one may stand for all."""
    given = (value,) if isinstance(value, int) else tuple(value)
    return given * rank if len(given) == 1 else given


def _reach(kernel: Sequence[int], dilation: Sequence[int], padding: Sequence[int]) -> tuple[int, ...]:
    places = zip(kernel, _each(dilation, len(kernel)), _each(padding, len(kernel)), strict=True)
    return tuple(max((size - 1) * step + 1 - outside, 1) for size, step, outside in places)
