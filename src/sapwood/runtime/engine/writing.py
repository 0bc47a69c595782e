"""What is written into a part of a tensor: the whole gets a new value then, and so do all other views of it.

A recorded run says which tensor a call changes in place, and of what it is a view. In the engine values never change:
the part gets a new value, which is put into what it is a part of, up to the whole; whatever else looks at that memory
looks at it anew. What was computed before keeps the value that it had read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch

from sapwood.errors import EngineError
from sapwood.ops import Call, Graph, TensorRef

Views: TypeAlias = Mapping[int, Call]
"""The call that made a tensor as a view of its first argument, by the number of the tensor."""


@dataclass(frozen=True)
class WriteBack:
    """Calls after which all names of a memory have the values that were written by one of them.

    Attributes:
        inward: Each puts a part into what it is a part of, the smallest first.
        again: Other views of the memory, which have to be made anew, in order.
    """

    inward: tuple[Call, ...]
    again: tuple[Call, ...]


def views_of(graph: Graph) -> Views:
    """The views of a recorded run."""
    return {
        out.id: call
        for call in graph.calls
        if _is_view(call.op) and call.args and isinstance(call.args[0], TensorRef)
        for out in call.tensor_outputs()
        if out.id != call.args[0].id
    }


def write_back(written: TensorRef, names: Collection[int], views: Views) -> WriteBack:
    """What follows a call that changes a tensor in place.

    Args:
        written: The tensor.
        names: All tensors so far that share its memory.
        views: Those of the run.

    Raises:
        EngineError: If one of them is no view, or ``written`` is one into which nothing can be put back.
    """
    inward: list[Call] = []
    part, above = written, {written.id}
    while part.id in views:
        view = views[part.id]
        if view.name not in _INWARD:
            raise EngineError(
                f"it changes a map in place that has another name, too: it is a part of it by {view.name}"
            )
        whole: TensorRef = view.args[0]
        op, args = _INWARD[view.name](view, whole, part)
        inward.append(replace(view, op=op, args=args, kwargs={}, outputs=(whole,)))
        part = whole
        above.add(part.id)
    strangers = [one for one in names if one not in views and one != part.id]
    if strangers:
        raise EngineError("it changes a map in place that has another name, too, which is no view of it")
    calls = {views[one].index: views[one] for one in names if one not in above}
    return WriteBack(tuple(inward), tuple(calls[index] for index in sorted(calls)))


def _is_view(op: torch._ops.OpOverload) -> bool:
    returns = [one.alias_info for one in op._schema.returns]
    return any(one is not None and not one.is_write for one in returns)


Inward: TypeAlias = Callable[[Call, TensorRef, TensorRef], tuple[torch._ops.OpOverload, tuple[Any, ...]]]
"""Of a view, the whole and the part: the call that makes the new whole of both."""


def _placed(op: torch._ops.OpOverload) -> Inward:
    """Puts the part into its place; takes what the view takes."""
    return lambda view, whole, part: (op, (whole, part, *view.args[1:]))


def _reshaped(_: Call, whole: TensorRef, part: TensorRef) -> tuple[torch._ops.OpOverload, tuple[Any, ...]]:
    """A view of all elements in the same order."""
    return torch.ops.aten.reshape.default, (part, list(whole.shape))


def _turned_back(view: Call, _: TensorRef, part: TensorRef) -> tuple[torch._ops.OpOverload, tuple[Any, ...]]:
    """Two dimensions that were swapped."""
    return view.op, (part, *view.args[1:])


def _ordered_back(view: Call, whole: TensorRef, part: TensorRef) -> tuple[torch._ops.OpOverload, tuple[Any, ...]]:
    """All dimensions in another order."""
    sides = len(whole.shape)
    order = [dim % sides for dim in view.args[1]]
    return view.op, (part, [order.index(dim) for dim in range(sides)])


_INWARD: Mapping[str, Inward] = {
    "aten.slice": _placed(torch.ops.aten.slice_scatter.default),
    "aten.select": _placed(torch.ops.aten.select_scatter.default),
    "aten.diagonal": _placed(torch.ops.aten.diagonal_scatter.default),
    "aten.view": _reshaped,
    "aten.unsqueeze": _reshaped,
    "aten.squeeze": _reshaped,
    "aten.alias": _reshaped,
    "aten.detach": _reshaped,
    "aten.transpose": _turned_back,
    "aten.t": _turned_back,
    "aten.permute": _ordered_back,
}
"""Views into which something can be put back, by the operator."""
