"""A run without values makes the calls of a run with values, or says that it cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapwood.graph import trace, trace_shapes
from sapwood.graph.valueless import ValuesNeededError, valueless
from sapwood.ops import Graph


class Code(nn.Module):
    """A model that is one function, with a layer and a buffer."""

    def __init__(self, function: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.function, self.layer = function, nn.Linear(4, 4)
        self.register_buffer("seen", torch.zeros(4))
        self.kept: Any = None

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def plain(graph: Graph) -> list[Any]:
    return [(str(call.op), call.args, dict(call.kwargs), call.outputs) for call in graph.calls]


def keeping(model: Any, x: Tensor) -> Tensor:
    model.kept = model.layer(x)
    return model.kept + 1  # type: ignore[no-any-return]


ALIKE: dict[str, Callable[[Any, Tensor], Any]] = {
    "layer": lambda model, x: model.layer(x).relu(),
    "positions": lambda _, x: x + torch.arange(x.shape[-1], device=x.device, dtype=x.dtype),
    "a mask of its own": lambda _, x: x.masked_fill(torch.ones(2, 4, dtype=torch.bool).tril(), 0.0),
    "decided by weights": lambda model, x: model.layer(x) if bool((model.seen == 0).all()) else x,
    "in place": lambda model, x: model.layer(x).relu_().add_(1.0),
    "written into a new map": lambda _, x: F.pad(x, (1, 1)).index_fill_(0, torch.tensor([0]), 2.0),
    "attention": lambda _, x: F.scaled_dot_product_attention(x[None, None], x[None, None], x[None, None]),
    "products": lambda _, x: torch.einsum("bi,bj->ij", x, x),
    "parts": lambda _, x: torch.cat([part * 2 for part in x.chunk(2, 1)], 1).sum(),
    "other types": lambda _, x: (x.double().to(torch.float32) > 0).to(torch.int64),
    "a size as a number": lambda _, x: x.view(x.numel() // 2, 2) / x.shape[0],
    "in a dict": lambda _, x: {"a": (x, 3), "b": [x * 2]},
    "kept for later": keeping,
    "random": lambda _, x: x + torch.rand_like(x),
    "sorted": lambda _, x: x.topk(2).values,
    "a norm": lambda _, x: F.layer_norm(x, (4,)),
    "a pool": lambda _, x: F.max_pool2d(x[None], 2),
}


@pytest.mark.parametrize("name", ALIKE)
def test_calls_are_those_of_a_run_with_values(name: str) -> None:
    model, x = Code(ALIKE[name]).eval(), torch.rand(2, 4)
    graph, result = trace_shapes(model, (x,))
    wanted = trace(model, (x,))
    assert plain(graph) == plain(wanted)
    assert graph.outputs == wanted.outputs
    assert [one.tolist() for one in graph.constants.values()] == [one.tolist() for one in wanted.constants.values()]
    returned = model(x)
    if isinstance(returned, Tensor):
        assert (result.shape, result.dtype, result.device) == (returned.shape, returned.dtype, returned.device)


def test_nothing_without_values_stays_in_the_model() -> None:
    model = Code(ALIKE["kept for later"]).eval()
    trace_shapes(model, (torch.rand(2, 4),))
    assert model.kept is None
    assert "kept" in vars(model)


def into_a_buffer(model: Any, x: Tensor) -> Any:
    model.seen.copy_(x[0])
    return x if float(model.seen.sum()) > 0 else -x


NEEDING: dict[str, Callable[[Any, Tensor], Any]] = {
    "a decision": lambda _, x: x if x.sum() > 0 else -x,
    "a number": lambda _, x: x * float(x.sum()),
    "as an array": lambda _, x: x * float(x.numpy().sum()),
    "as a list": lambda _, x: x * sum(x[0].tolist()),
    "where it is": lambda _, x: x if x.data_ptr() % 3 else -x,
    "places that are no zero": lambda _, x: x[x > 0.5],
    "what is equal": lambda _, x: x if torch.equal(x, x) else -x,
    "numbers of pieces": lambda _, x: torch.split(x.flatten(), x.flatten().long().tolist()),
    "by way of a buffer": into_a_buffer,
    "by way of its memory": lambda _, x: torch.tensor(x[0]) if x.untyped_storage().data_ptr() else x,
    "a shape in place": lambda _, x: (x * 2).unsqueeze_(0) * 2,
}


@pytest.mark.parametrize("name", NEEDING)
def test_a_run_that_asks_for_values_fails(name: str) -> None:
    with pytest.raises((RuntimeError, TypeError, NotImplementedError, ValueError)):
        trace_shapes(Code(NEEDING[name]).eval(), (torch.rand(2, 4),))


def test_outside_of_the_run_such_a_tensor_is_refused() -> None:
    with valueless() as hollow:
        x = hollow(torch.ones(2))
    with pytest.raises(ValuesNeededError, match="on a tensor without values"):
        x + 1
