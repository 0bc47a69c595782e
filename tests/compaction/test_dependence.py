"""What a mask calls constant is the same for other inputs; and where a rule should find a constant, it does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_map

from sapwood.compaction.dependence import follow_dependence
from sapwood.errors import CheckFailedError
from sapwood.graph import trace
from sapwood.models import copy_model
from sapwood.ops import TensorRef, leaves
from sapwood.removal import as_float64
from support.dependence import observed
from support.probes import PROBES


def depends(function: Callable[[Tensor], Any], x: Tensor) -> list[list[Any]]:
    """For each tensor that ``function`` returns, where it depends on ``x``."""

    class Model(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return function(x)

    graph = trace(Model(), x)
    return [mask.tolist() for mask in follow_dependence(Model(), x, graph, lambda _: None)]


def in_place(x: Tensor) -> Tensor:
    y = torch.zeros(4)
    y[1:3] = x[:2]
    y[2:].zero_()
    return y


def in_place_behind_a_view(x: Tensor) -> Tensor:
    y = torch.ones(2, 2)
    column = y.t()[0]
    column.mul_(x[:2])
    return y


ONES = torch.ones(4)
HALF = torch.tensor([1.0, 1.0, 0.0, 0.0])

RULES: dict[str, tuple[Callable[[Tensor], Any], list[Any]]] = {
    "input": (lambda x: x + 1, [True] * 4),
    "constant": (lambda x: torch.ones_like(x) * 2, [False] * 4),
    "random": (torch.rand_like, [True] * 4),
    "times zero": (lambda x: x * HALF, [True, True, False, False]),
    "zero times": (lambda x: HALF * x, [True, True, False, False]),
    "times the number zero": (lambda x: x * 0.0, [False] * 4),
    "plus": (lambda x: x * HALF + ONES, [True, True, False, False]),
    "parts": (lambda x: torch.cat([x[:1], ONES[:2], x[3:]]), [True, False, False, True]),
    "padding": (lambda x: F.pad(x[:2], (1, 1), value=3.0), [False, True, True, False]),
    "gather": (lambda x: (x * HALF)[torch.tensor([3, 0, 1, 2])], [False, True, True, False]),
    "gather by the input": (lambda x: ONES[x.argsort()], [True] * 4),
    "roll": (lambda x: (x * HALF).roll(1), [False, True, True, False]),
    "in place": (in_place, [False, True, False, False]),
    "in place behind a view": (in_place_behind_a_view, [[True, False], [True, False]]),
    "clone parts company": (lambda x: (ONES.clone(), ONES.clone().mul_(x))[0], [False] * 4),
    "sum": (lambda x: (x * HALF).view(2, 2).sum(1), [True, False]),
    "max": (lambda x: (x * HALF).view(2, 2).max(1)[0], [True, False]),
    "softmax": (lambda x: (x * HALF).view(2, 2).softmax(1), [[True, True], [False, False]]),
    "matrix product": (lambda x: (x * HALF).view(2, 2) @ torch.eye(2), [[True, True], [False, False]]),
    "product with zeros": (lambda x: x.view(2, 2) @ torch.tensor([[1.0, 0.0], [1.0, 0.0]]), [[True, False]] * 2),
    "product of a constant": (lambda x: torch.eye(2) @ x.view(2, 2).mul(torch.eye(2)), [[True, False], [False, True]]),
    "linear": (lambda x: F.linear(x.view(2, 2), HALF.view(2, 2)), [[True, False]] * 2),
    "convolution": (lambda x: F.conv1d(x.view(1, 2, 2), HALF.view(2, 2, 1))[0], [[True, True], [False, False]]),
    "grouped": (lambda x: F.conv1d((x * HALF).view(1, 2, 2), ONES.view(2, 1, 2), groups=2)[0], [[True], [False]]),
    "transposed": (
        lambda x: F.conv_transpose1d(x.view(1, 2, 2), torch.tensor([[[1.0], [0.0]]] * 2))[0],
        [[True, True], [False, False]],
    ),
    "pooling": (lambda x: F.max_pool1d((x * HALF).view(1, 2, 2), 2)[0], [[True], [False]]),
    "a map read where the input says": (
        lambda x: F.grid_sample(torch.arange(4.0).view(1, 1, 2, 2), x.view(1, 1, 2, 2), align_corners=False)[0, 0],
        [[True, True]],
    ),
    "other bytes": (lambda x: (x * HALF).view(torch.int32), [True, True, False, False]),
    "halves of its bytes": (lambda x: (x * HALF).view(torch.int16), [True] * 8),
    "enlarging": (lambda x: F.interpolate((x * HALF).view(1, 2, 2), 3)[0], [[True] * 3, [False] * 3]),
    "batch norm": (
        lambda x: F.batch_norm(x.view(2, 2), torch.zeros(2), torch.ones(2), torch.tensor([1.0, 0.0]), torch.ones(2)),
        [[True, False]] * 2,
    ),
    "layer norm": (lambda x: F.layer_norm((x * HALF).view(2, 2), [2]), [[True, True], [False, False]]),
    "gated unit": (lambda x: F.glu(torch.cat([HALF, x])[None])[0], [True, True, False, False]),
    "lookup": (
        lambda x: F.embedding(x.long().abs() % 2, torch.tensor([[1.0, 2.0], [1.0, 3.0]])),
        [[False, True]] * 4,
    ),
    "attention": (
        lambda x: F.scaled_dot_product_attention(*[x.view(1, 1, 2, 2)] * 2, torch.eye(2)[None, None] * HALF[1:3])[0, 0],
        [[True, False]] * 2,
    ),
    "an operator without a rule": (lambda x: torch.bincount((x * HALF).long().abs() % 3, minlength=3), [True] * 3),
}


@pytest.mark.parametrize("name", RULES)
def test_rule(name: str) -> None:
    function, wanted = RULES[name]
    torch.manual_seed(0)
    assert depends(function, torch.randn(4)) == [wanted]


@pytest.mark.parametrize("name", sorted(PROBES))
def test_constants_are_the_same_for_other_inputs(name: str) -> None:
    model, inputs = PROBES[name]()
    model, inputs = model.double().eval(), as_float64(inputs)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter[: len(parameter) // 2] = 0
    graph = trace(copy_model(model), inputs)
    others = tree_map(lambda x: torch.randn_like(x) if x.is_floating_point() else x.flip(-1), inputs)
    compared = 0
    as_found = {ref.id for call in graph.calls if call.holds_anything for ref in call.tensor_outputs()}
    for one, other in zip(observed(model, inputs, graph), observed(model, others, graph), strict=True):
        read = [leaf for leaf in leaves(one[0].call.args) if isinstance(leaf, TensorRef)]
        if one[0].call.op._schema.is_mutable:
            as_found -= {ref.id for ref in read[:1]}
        for ref, value, mask, again in zip(read, one[1], one[2], other[1], strict=True):
            if ref.id in as_found:  # the place for slopes that only training draws
                continue
            assert torch.equal(value[~mask].nan_to_num(), again[~mask].nan_to_num()), str(one[0].call)
            compared += int((~mask).sum())
    assert compared > 0, "weights, at the least, are constant"


def test_a_model_that_does_something_else_is_refused() -> None:
    graph = trace(nn.ReLU(), torch.zeros(2))
    with pytest.raises(CheckFailedError, match=r"did aten.sigmoid.default where it did aten.relu"):
        follow_dependence(nn.Sigmoid(), torch.zeros(2), graph, lambda _: None)
