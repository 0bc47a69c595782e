"""What the engine's rules are for: operators that a run calls, and every activation that the library has."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sapwood.ops import RULES
from sapwood.runtime.engine import compile as compile_model
from sapwood.runtime.engine.interface import ACTIVATIONS
from sapwood.runtime.engine.lowering import FOLLOWING, LOWERINGS
from sapwood.runtime.engine.nodes import Outside
from sapwood.runtime.engine.rules import lower
from sapwood.runtime.engine.rules.pointwise import SAME_NAME

MADE_HERE = {"aten.reshape"}
"""What the engine calls itself: a part that was written into is put back by it (``writing.py``)."""


def test_every_rule_is_of_an_operator_that_a_run_may_call() -> None:
    """Operators without a rule in ``ops`` are taken apart before they are recorded; of the others tests/ops asks."""
    assert sorted({*LOWERINGS, *(key.split()[-1] for key in FOLLOWING)} - set(RULES) - MADE_HERE) == []


class Applied(nn.Module):
    """An operator by its name, behind a convolution and alone."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, padding=1)
        self.conv.weight.data *= 8.0  # far into both ends
        self.function = getattr(torch.ops.aten, name)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.function(self.conv(x)), self.function(x)


@pytest.mark.parametrize("name", SAME_NAME)
@pytest.mark.usefixtures("engine")
def test_an_activation_that_both_call_the_same(name: str) -> None:
    model, x = Applied(name).eval(), 4.0 * torch.randn(1, 3, 7, 9)
    assert not any(isinstance(node, Outside) for node in lower(model, x).nodes)
    for found, wanted in zip(compile_model(model, x)(x), model(x), strict=True):
        torch.testing.assert_close(found, wanted.detach(), rtol=1e-4, atol=1e-5)


def test_every_activation_of_the_library_has_an_operator() -> None:
    assert set(ACTIVATIONS) - set(SAME_NAME) == {"linear", "leaky", "relu6", "gelu_tanh"}


class Made(nn.Module):
    """Adds a map that is made from the size of another."""

    def __init__(self, name: str, *arguments: object) -> None:
        super().__init__()
        self.name, self.arguments = name, arguments

    def forward(self, x: Tensor) -> Tensor:
        held = getattr(torch.ops.aten, self.name)(x, *self.arguments)
        return x + held


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("zeros_like", ()), ("ones_like", ()), ("full_like", (2.5,)), ("new_ones", ([1, 3, 5, 5],)), ("zero", ())],
)
@pytest.mark.usefixtures("engine")
def test_what_is_made_from_a_size_alone_is_a_constant(name: str, arguments: tuple[object, ...]) -> None:
    model, x, other = Made(name, *arguments), torch.randn(1, 3, 5, 5), torch.randn(1, 3, 5, 5)
    compiled = compile_model(model, x)
    torch.testing.assert_close(compiled(other), model(other))
