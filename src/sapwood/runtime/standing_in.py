"""A model whose calls a runtime answers: so that accuracy is that of the runtime, not of PyTorch."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sapwood.graph import call_model
from sapwood.models import copy_model
from sapwood.runtime.base import OpenSession


def running_on(session: OpenSession, model: nn.Module, example_inputs: Tensor) -> nn.Module:
    """Returns a copy of a model that hands its batches to a session, example by example.

    Args:
        session: Loaded with ``example_inputs``.
        model: Takes one tensor with a batch. It is as before afterwards; the copy is of the same class, so that its
            framework reads its results as ever.
        example_inputs: Those that the session was loaded with.

    Examples:
        >>> from sapwood.runtime import RUNTIMES
        >>> model, x = nn.Linear(3, 2), torch.rand(1, 3)
        >>> twin = running_on(RUNTIMES["onnxruntime"].load(model, x, threads=1), model, x)
        >>> twin(torch.rand(5, 3)).shape
        torch.Size([5, 2])
    """
    twin, batch = copy_model(model).eval(), len(example_inputs)
    with torch.no_grad():
        form = call_model(twin, example_inputs)

    def forward(inputs: Tensor) -> Any:
        found = [session.run(part) for part in _parts(inputs, batch)]
        joined = (torch.cat(tensors)[: len(inputs)] for tensors in zip(*found, strict=True))
        return _refilled(form, iter(list(joined)))

    twin.forward = forward
    return twin


def _parts(inputs: Tensor, batch: int) -> Iterator[Tensor]:
    """Batches of a size; the last one is filled up with its last example."""
    for start in range(0, len(inputs), batch):
        part = inputs[start : start + batch]
        lacking = batch - len(part)
        yield torch.cat([part, part[-1:].expand(lacking, *part.shape[1:])]) if lacking else part


def _refilled(form: Any, tensors: Iterator[Tensor]) -> Any:
    """A result of the same form with other tensors, in the order of :func:`sapwood.graph.output_tensors`."""
    if isinstance(form, Tensor):
        return next(tensors)
    if isinstance(form, Mapping):
        filled = {key: _refilled(item, tensors) for key, item in form.items()}
        return type(form)(**filled) if hasattr(form, "__dataclass_fields__") else filled
    if isinstance(form, (tuple, list)):
        items = [_refilled(item, tensors) for item in form]
        return type(form)(*items) if hasattr(form, "_fields") else type(form)(items)
    if hasattr(form, "__dict__") and not isinstance(form, (nn.Module, type)):
        twin = copy.copy(form)
        vars(twin).update({key: _refilled(item, tensors) for key, item in vars(form).items()})
        return twin
    return form
