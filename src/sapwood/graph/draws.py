"""Random numbers that a model's code draws: runs that are compared draw the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sapwood.ops import leaves


class Draws:
    """What was drawn in one run, by the index of the call."""

    def __init__(self) -> None:
        self._drawn: dict[int, list[Tensor]] = {}

    def keep(self, index: int, result: Any) -> None:
        """Remembers a draw."""
        self._drawn[index] = [leaf.detach().clone() for leaf in leaves(result) if isinstance(leaf, Tensor)]

    def of(self, index: int) -> Sequence[Tensor]:
        """What the call drew; nothing where it was not seen."""
        return self._drawn.get(index, ())


def put_(result: Any, drawn: Sequence[Tensor]) -> None:
    """Writes what another run drew over a draw, as far as its sizes are the same."""
    tensors = [leaf for leaf in leaves(result) if isinstance(leaf, Tensor)]
    for tensor, other in zip(tensors, drawn, strict=False):
        if tensor.shape == other.shape:
            tensor.copy_(other)


@contextmanager
def one_seed(model: nn.Module) -> Iterator[None]:
    """Within it, random numbers come from one seed; afterwards the generators are where they were.

    Examples:
        >>> with one_seed(nn.Linear(1, 1)):
        ...     first = torch.rand(3)
        >>> with one_seed(nn.Linear(1, 1)):
        ...     print(torch.equal(first, torch.rand(3)))
        True
    """
    first = next(model.parameters(), None)
    on_cuda = first is not None and first.device.type == "cuda"
    with torch.random.fork_rng(devices=[first.device] if first is not None and on_cuda else []):
        torch.default_generator.manual_seed(0)
        if on_cuda:
            torch.cuda.manual_seed(0)
        yield
