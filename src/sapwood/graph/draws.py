"""Random numbers that a model's code draws: runs that are compared draw the same."""

from __future__ import annotations

import functools
import random
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sapwood.models import all_modules
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

    Those of Python and of NumPy are set as well: models draw from them what they hide in training. Generators that
    modules hold begin each time where they are now.

    Examples:
        >>> with one_seed(nn.Linear(1, 1)):
        ...     first = torch.rand(3)
        >>> with one_seed(nn.Linear(1, 1)):
        ...     print(torch.equal(first, torch.rand(3)))
        True
    """
    first = next(model.parameters(), None)
    on_cuda = first is not None and first.device.type == "cuda"
    own = [*_held(model), _python(random), _numpy(np.random)]  # type: ignore[arg-type]
    before = [get() for get, _ in own]
    with torch.random.fork_rng(devices=[first.device] if first is not None and on_cuda else []):
        torch.default_generator.manual_seed(0)
        if on_cuda:
            torch.cuda.manual_seed(0)
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002 - what models draw from
        try:
            yield
        finally:
            for (_, put), state in zip(own, before, strict=True):
                put(state)


Access = tuple[Callable[[], Any], Callable[[Any], object]]
"""What gives a generator's state, and what sets it."""


def _python(one: random.Random) -> Access:
    return one.getstate, one.setstate


def _numpy(one: np.random.RandomState) -> Access:
    return one.get_state, one.set_state


def _torch(one: torch.Generator) -> Access:
    return one.get_state, one.set_state


def _bits(one: np.random.Generator) -> Access:
    return lambda: one.bit_generator.state, lambda state: setattr(one.bit_generator, "state", state)


KINDS: dict[type, Callable[[Any], Access]] = {
    random.Random: _python,
    np.random.RandomState: _numpy,
    np.random.Generator: _bits,
    torch.Generator: _torch,
}


NO_GENERATORS = frozenset({dict, OrderedDict, list, tuple, set, bool, int, float, str, type(None), Tensor})
"""What most attributes are of, which then need not be asked what they are."""


def _held(model: nn.Module) -> Iterator[Access]:
    """The generators that modules hold as attributes."""
    for module in all_modules(model):
        for value in vars(module).values():
            if type(value) in NO_GENERATORS:
                continue
            access = _access_of(type(value))  # type: ignore[arg-type]
            if access is not None:
                yield access(value)


@functools.lru_cache(maxsize=1 << 10)
def _access_of(kind: type) -> Callable[[Any], Access] | None:
    """How a generator of a class is read and set; asked for every attribute of a model at every run of it."""
    return next((access for base, access in KINDS.items() if issubclass(kind, base)), None)
