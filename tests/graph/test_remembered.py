"""Functions that remember what they returned: each run works it out anew, and nothing of a run is left to the user."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sapwood.pipeline import Target, prune
from support.places import angles_of_places


@functools.lru_cache(maxsize=8)
def angles(count: int, dtype: torch.dtype) -> Tensor:
    return torch.arange(count, dtype=dtype) / count


@functools.lru_cache(maxsize=8)
def whole_angles(count: int) -> Tensor:
    """As people write it: nothing of what the tensor depends on besides."""
    return torch.arange(count) / count


def hidden(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    remembered = functools.lru_cache(function)

    @functools.wraps(function)
    def wrapper(*args: Any) -> Tensor:
        return remembered(*args)

    return wrapper


@hidden
def wrapped_angles(count: int, dtype: torch.dtype) -> Tensor:
    return torch.arange(count, dtype=dtype) / count


class Placed(nn.Module):
    """Rows turned by where they stand."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.head = nn.Linear(6, 16), nn.Linear(16, 3)

    def places(self, x: Tensor) -> Tensor:
        return angles(x.shape[1], x.dtype)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        return self.head(x * self.places(x)[:, None].cos())


class Wrapped(Placed):
    def places(self, x: Tensor) -> Tensor:
        return wrapped_angles(x.shape[1], x.dtype)


class Whole(Placed):
    def places(self, x: Tensor) -> Tensor:
        return whole_angles(x.shape[1])


class Remembering(Placed):
    @staticmethod
    @functools.lru_cache
    def made(count: int, dtype: torch.dtype) -> Tensor:
        return torch.arange(count, dtype=dtype) / count

    def places(self, x: Tensor) -> Tensor:
        return self.made(x.shape[1], x.dtype)


class Far(Placed):
    def places(self, x: Tensor) -> Tensor:
        return angles_of_places(x.shape[1])


def closed() -> type[Placed]:
    @functools.lru_cache
    def own(count: int) -> Tensor:
        return torch.arange(count) / count

    class Closed(Placed):
        def places(self, x: Tensor) -> Tensor:
            return own(x.shape[1])

    return Closed


@pytest.mark.parametrize("kind", [Placed, Wrapped, Whole, Remembering, Far, closed()])
@pytest.mark.parametrize("ran", [False, True])
def test_what_functions_remember_stands_in_no_way(kind: type[Placed], ran: bool) -> None:
    model, x = kind().eval(), torch.randn(2, 5, 6)
    before = model(x) if ran else None
    pruned = prune(model, x, target=Target(sparsity=0.5))
    assert pruned.model.head.weight.shape == (3, 8)
    assert pruned.verification is not None
    assert pruned.verification.passed
    assert pruned.model(x).dtype is torch.float32
    assert before is None or torch.equal(model(x), before)


def test_what_a_file_defines_anew_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a notebook: a plan was made before, and the function is another one now."""
    inputs, target = torch.ones(1, 5, 6), Target(sparsity=0.5)
    prune(Placed().eval(), inputs, target=target)

    @functools.lru_cache(maxsize=8)
    def anew(count: int, dtype: torch.dtype) -> Tensor:
        return torch.arange(count, dtype=dtype) / count

    monkeypatch.setitem(globals(), "angles", anew)
    prune(Placed().eval(), inputs, target=target)
    assert anew.cache_info().currsize == 0


def test_functions_of_no_file_stand_in_no_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``exec`` makes them, where nothing says a ``__name__``."""
    made: dict[str, Any] = {"__builtins__": {}}
    exec("def made(x): return x", made)
    assert made["made"].__module__ is None
    monkeypatch.setitem(globals(), "made_by_exec", made["made"])
    pruned = prune(Placed().eval(), torch.ones(1, 5, 6), target=Target(sparsity=0.5))
    assert pruned.verification is not None
    assert pruned.verification.passed
