"""Parameters that a model's own code writes to in a run, as teachers that follow a student's weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sapwood.models import named_parameters
from sapwood.ops import leaves


class Writes:
    """Which parameters of a model one run writes to; it is asked before each call, and puts values back afterwards.

    Code writes in place (``p.mul_(0.9)``, under ``no_grad`` or by ``p.data``), or puts other values in their place
    (``p.data = ...``), which is no call.

    Args:
        model: What is about to run.
    """

    def __init__(self, model: nn.Module) -> None:
        named = [(name, one) for name, one in named_parameters(model) if _has_storage(one)]
        self._data = [(name, one, one.data, _storage(one)) for name, one in named]
        self._owners: dict[int, list[tuple[str, Tensor]]] = {}
        for name, one, _, storage in self._data:
            self._owners.setdefault(storage, []).append((name, one))
        self._before: dict[str, tuple[Tensor, Tensor]] = {}

    def expect(self, func: Any, args: Any, kwargs: Any) -> None:
        """Is told of a call that is about to be made."""
        if not func._schema.is_mutable:
            return
        for leaf in leaves((args, kwargs)):
            if isinstance(leaf, Tensor) and _has_storage(leaf):
                for name, one in self._owners.get(_storage(leaf), ()):
                    self._before.setdefault(name, (one, one.detach().clone()))

    def names(self) -> frozenset[str]:
        """The parameters that were written to, or may have been: a call that writes had them among its operands."""
        return frozenset(self._before) | {name for name, one, _, storage in self._data if _storage(one) != storage}

    def put_back(self) -> None:
        """Gives all of them the values that they had."""
        for _, one, data, storage in self._data:
            if _storage(one) != storage:
                one.data = data
        for tensor, values in self._before.values():
            tensor.data.copy_(values)


@contextmanager
def putting_back(model: nn.Module, names: Iterable[str]) -> Iterator[None]:
    """Within it, parameters of these names may be written to; afterwards they hold what they held before.

    Examples:
        >>> layer = nn.Linear(1, 1)
        >>> before = layer.weight.item()
        >>> with putting_back(layer, ["weight"]):
        ...     _ = layer.weight.data.add_(1.0)
        >>> layer.weight.item() == before
        True
    """
    names = tuple(names)
    known = dict(model.named_parameters(remove_duplicate=False)) if names else {}
    before = [(known[name], known[name].data, known[name].detach().clone()) for name in names if name in known]
    try:
        yield
    finally:
        for one, data, values in before:
            one.data = data
            one.data.copy_(values)


def _has_storage(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided and not tensor.is_nested


def _storage(tensor: Tensor) -> int:
    """What tells memory from other memory, also of tensors without values."""
    return int(tensor.untyped_storage()._cdata)
