"""Distillation of whatever a model reads and returns, where nobody says what its outputs are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sapwood
from sapwood.errors import ConfigError
from sapwood.models import Plan
from sapwood.nested import named_tensors
from sapwood.recovery import DistillConfig, distill, repair_batchnorm
from sapwood.recovery.distillation.samples import Samples
from sapwood.tasks import called, divergence
from sapwood.types import ExampleInputs, TaskSpec

QUICK = DistillConfig(steps=60, batch_size=8, lr=3e-3, evaluations=4, decay=0.8)


class Nested(nn.Module):
    """Answers in a dict of lists, one of them a mean that no row of the batch has."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 4, 1), nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> dict[str, Any]:
        hidden = F.relu(self.a(x))
        return {"maps": [self.b(hidden), self.c(hidden)], "mean": (hidden.mean(),)}


@dataclass
class Answer:
    """What a module of one's own may return."""

    value: Tensor


class Own(nn.Module):
    """A dict among positional arguments, an object as the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 32), nn.Linear(3, 32), nn.Linear(32, 2)

    def forward(self, sizes: dict[str, Tensor], beside: Tensor) -> Answer:
        return Answer(self.c(torch.tanh(self.a(sizes["length"])) * torch.sigmoid(self.b(beside))))


class Volume(nn.Sequential):
    """Convolutions over three dimensions."""

    def __init__(self) -> None:
        super().__init__(nn.Conv3d(1, 12, 3), nn.BatchNorm3d(12), nn.ReLU(), nn.Conv3d(12, 3, 3))


class Recurrent(nn.Module):
    """A layer that returns a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.hidden, self.last = nn.LSTM(5, 12, batch_first=True), nn.Linear(12, 24), nn.Linear(24, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.relu(self.hidden(self.rnn(x)[0][:, -1])))  # type: ignore[no-any-return]


class Pairs(nn.Module):
    """A layer that has no bfloat16 under autocast."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 16), nn.Bilinear(16, 6, 12), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(F.relu(self.b(F.relu(self.a(x)), x)))  # type: ignore[no-any-return]


class Nodes(nn.Module):
    """Rows are nodes, and the other argument says which of them are neighbours."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 24), nn.Linear(24, 2)

    def forward(self, x: Tensor, neighbours: Tensor) -> Tensor:
        return self.b(F.relu(neighbours @ self.a(x)))  # type: ignore[no-any-return]


def graph(nodes: int) -> tuple[Tensor, Tensor]:
    return torch.randn(nodes, 4), (torch.rand(nodes, nodes) < 0.4).float()


Case = tuple[Callable[[], nn.Module], Callable[[], ExampleInputs]]
CASES: dict[str, Case] = {
    "nested outputs": (Nested, lambda: torch.randn(6, 3, 8, 8)),
    "a dict among positional arguments": (Own, lambda: ({"length": torch.randn(6, 6)}, torch.randn(6, 3))),
    "three dimensions": (Volume, lambda: torch.randn(3, 1, 7, 7, 7)),
    "recurrent": (Recurrent, lambda: torch.randn(6, 4, 5)),
    "attention": (
        lambda: nn.Sequential(nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True), nn.Linear(16, 2)),
        lambda: torch.randn(6, 5, 16),
    ),
    "no bfloat16": (Pairs, lambda: torch.randn(12, 6)),
    "graphs of one size": (Nodes, lambda: graph(7)),
    "graphs": (Nodes, lambda: graph(int(torch.randint(5, 9, ())))),
    "sequences of several lengths": (Recurrent, lambda: torch.randn(6, int(torch.randint(2, 9, ())), 5)),
    "16 bits": (lambda: Volume().bfloat16(), lambda: torch.randn(3, 1, 7, 7, 7, dtype=torch.bfloat16)),
    "16 bits, inputs of 32": (lambda: Nested().half(), lambda: torch.randn(6, 3, 8, 8, dtype=torch.float16)),
}


@pytest.mark.parametrize("name", CASES)
def test_it_comes_nearer_on_inputs_that_it_did_not_see(name: str) -> None:
    make, draw = CASES[name]
    torch.manual_seed(0)
    dense = make().eval()
    kinds = {key: value.dtype for key, value in dense.state_dict().items()}
    batches, held = [draw() for _ in range(6)], [draw() for _ in range(3)]
    pruned = sapwood.prune(dense, batches[0], target=sapwood.Target(sparsity=0.5))
    found = distill(dense, pruned.model, pruned.plan, batches, config=QUICK)

    def apart(model: nn.Module) -> float:
        with torch.no_grad():
            return sum(
                float(divergence(TaskSpec("none"), called(model, one), called(dense, one), model)) for one in held
            )

    assert apart(found.model) < 0.95 * apart(pruned.model)
    assert {key: value.dtype for key, value in found.model.state_dict().items()} == kinds


def test_rows_are_drawn_where_they_are_samples_and_batches_stay_whole_where_not() -> None:
    torch.manual_seed(0)
    small, large = graph(4), graph(6)
    assert Samples.of([small, large]).form is None, "of other sizes"
    assert Samples.of([small, small], lambda inputs: False).form is None, "rows that do not run"
    whole = Samples.of([{"x": torch.zeros(3, 2), "scale": 0.5}] * 2)
    assert (len(whole), whole.num_samples, whole.form) == (2, 6, None)
    rows = Samples.of([({"x": torch.arange(6.0).view(3, 2)}, torch.arange(3))])
    taken = rows.take([2, 0]).inputs()
    assert [(name, tensor.tolist()) for name, tensor in named_tensors(taken)] == [
        ("0.x", [[4.0, 5.0], [0.0, 1.0]]),
        ("1", [2, 0]),
    ]


def test_whole_batches_of_others_are_seen_now_and_then() -> None:
    """They only teach: what is held out is one's own."""
    torch.manual_seed(0)
    dense = Nodes().eval()
    batches, others = [graph(6) for _ in range(4)], [graph(9) for _ in range(4)]
    pruned = sapwood.prune(dense, batches[0], target=sapwood.Target(sparsity=0.5))
    seen: list[int] = []
    pruned.model.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    found = distill(dense, pruned.model, pruned.plan, batches, others=others, config=QUICK)
    assert found.num_pictures == 4 * 6 + 4 * 9
    assert {6, 9} <= set(seen)
    assert seen.count(9) < seen.count(6)


def test_bfloat16_that_operators_do_not_have_is_refused_where_it_is_asked_for() -> None:
    torch.manual_seed(0)
    dense, batches = Pairs().eval(), [torch.randn(12, 6) for _ in range(3)]
    config = DistillConfig(steps=2, precision="bfloat16")
    with pytest.raises(ConfigError, match=r"precision: Pairs does not run in bfloat16 \(.*\); expected auto or"):
        distill(dense, dense, Plan(), batches, config=config)


def test_outputs_that_cannot_be_compared_are_named() -> None:
    class Best(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).argmax(dim=1)

    model = Best(4, 5).eval()
    wanted = r"nothing of what the two networks return can be compared: the reference gives output torch.int64 \(1,\)"
    with pytest.raises(ConfigError, match=wanted):
        distill(model, model, Plan(), [torch.randn(8, 4)], config=QUICK)


@pytest.mark.parametrize("recover", [sapwood.reconstruct, distill, repair_batchnorm])
@pytest.mark.parametrize(
    ("bad", "wanted"),
    [
        ([torch.randn(6, 4)] * 3, r"Nodes does not run on batches\[0\]: TypeError: .*missing 1 required positional"),
        (
            [graph(6), (torch.randn(6, 3), torch.eye(6))],
            r"Nodes does not run on batches\[1\]: RuntimeError: .*mat1 and mat2",
        ),
        ([{"x": torch.randn(6, 4)}] * 2, r"Nodes does not run on batches\[0\]"),
        ([3, 4], r"batches\[0\] is an int; expected a tensor, a tuple of positional or a dict of keyword arguments"),
        ([np.zeros((2, 4))], r"batches\[0\] is a ndarray; expected a tensor \(torch.from_numpy makes one\), a tuple"),
        ([(), ()], r"batches\[0\] holds no tensor; expected at least one"),
        (torch.randn(6, 4), r"batches is a Tensor; expected a list of batches, as \[pictures\]"),
    ],
)
def test_batches_that_a_model_does_not_take_are_named(
    recover: Callable[..., object], bad: list[ExampleInputs], wanted: str
) -> None:
    model = Nodes().eval()
    with pytest.raises(ConfigError, match=wanted):
        recover(model, model, Plan(), bad)


@pytest.mark.parametrize("recover", ["batchnorm", "reconstruct", "distill"])
def test_frozen_batchnorms_of_a_model_in_training_stay_frozen(recover: str) -> None:
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 4, 1)).train()
    dense[1].eval()
    batches = [torch.randn(8, 3, 8, 8) for _ in range(3)]
    pruned = sapwood.prune(dense, batches[0], target=sapwood.Target(sparsity=0.5))
    given = (dense, pruned.model, pruned.plan, batches)
    if recover == "distill":
        found = distill(*given, config=QUICK).model
    else:
        found = (repair_batchnorm if recover == "batchnorm" else sapwood.reconstruct)(*given).model
    assert [module.training for module in found] == [True, False, True, True]
