"""What stands where a part of a residual branch was: a module without parameters, so that all other names stay."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from sapwood.errors import ShapeError
from sapwood.models.low_rank import places_of
from sapwood.models.plan import Gives, Removal


class Removed(nn.Module):
    """Stands where a module was removed.

    Args:
        gives: What it returns: its first tensor (``"input"``), the positive part of it (``"relu"``), a zero of one
            element (``"zero"``), or zeros in its shape (``"zeros"``).
        entries: Where the module returned a tuple, how many entries that had; the others are None.

    Examples:
        >>> Removed("zero")(torch.ones(2, 3))
        tensor([[0.]])
        >>> Removed("input", 2)(torch.ones(2))
        (tensor([1., 1.]), None)
    """

    def __init__(self, gives: Gives = "input", entries: int | None = None) -> None:
        super().__init__()
        self.gives, self.entries = gives, entries

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Returns what it gives of its first tensor, shape as that."""
        first = next(value for value in chain(args, kwargs.values()) if isinstance(value, Tensor))
        result = _given(first, self.gives)
        return result if self.entries is None else (result, *[None] * (self.entries - 1))

    def extra_repr(self) -> str:
        """What it gives."""
        return self.gives if self.entries is None else f"{self.gives}, entries={self.entries}"


def _given(first: Tensor, gives: Gives) -> Tensor:
    if gives == "zero":
        return first.new_zeros((1,) * first.dim())
    if gives == "zeros":
        return torch.zeros_like(first)
    return torch.relu(first) if gives == "relu" else first


def remove_(model: nn.Module, removals: Iterable[Removal]) -> None:
    """Puts a :class:`Removed` in the place of each module that a plan removes, wherever it stands.

    Raises:
        ShapeError: If the model has no such module; names it.
    """
    for removal in removals:
        try:
            old = model.get_submodule(removal.module) if removal.module else None
        except AttributeError:
            old = None
        if old is None:
            raise ShapeError(f"the plan removes {removal.module}; the model has no such module")
        new = Removed(removal.gives, removal.entries).train(old.training)
        for table, name in list(places_of(model, old)):
            table[name] = new
