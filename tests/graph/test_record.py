"""What a recorded run shows."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
import torchvision
from torch import Tensor, nn

import sapwood
from sapwood.graph import Replay, trace


class Inferring(nn.Module):
    """A model that says itself that it needs no gradients, as deployed ones do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        return self.second(nn.functional.relu6(self.first(x)).mean((2, 3)))


class Plain(Inferring):
    def forward(self, x: Tensor) -> Tensor:
        return self.second(nn.functional.relu6(self.first(x)).mean((2, 3)))


CALLS = ["aten.convolution", "aten.hardtanh", "aten.mean", "aten.t", "aten.addmm"]


@pytest.mark.parametrize("model", [Plain(), Inferring()], ids=["plain", "inference mode"])
def test_calls_are_taken_apart(model: nn.Module) -> None:
    assert [call.name for call in trace(model, torch.zeros(1, 3, 5, 5)).calls] == CALLS


class Compiled(nn.Module):
    """Compiles a function as a whole, without gaps."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 3)
        self.act = torch.compile(torch.relu, backend="eager", fullgraph=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.act(self.first(x)))


def test_compiled_code_runs_as_it_is_written() -> None:
    graph = trace(Compiled(), torch.zeros(2, 4))
    assert [call.name for call in graph.calls] == ["aten.t", "aten.addmm", "aten.relu", "aten.t", "aten.addmm"]
    pruned = sapwood.prune(Compiled(), torch.randn(2, 4), target=sapwood.Target(sparsity=0.5))
    assert pruned.model.first.weight.shape == (4, 4)


def test_so_they_are_by_a_caller_in_inference_mode() -> None:
    with torch.inference_mode():
        assert [call.name for call in trace(Plain(), torch.zeros(1, 3, 5, 5)).calls] == CALLS


def test_a_replay_meets_the_same_calls() -> None:
    model, x = Inferring(), torch.zeros(1, 3, 5, 5)
    replay = Replay(trace(model, x).calls)
    with torch.no_grad(), replay:
        model(x)
    assert replay.follows


def test_a_model_in_inference_mode_is_pruned() -> None:
    pruned = sapwood.prune(Inferring(), torch.rand(2, 3, 5, 5), target=sapwood.Target(sparsity=0.5))
    assert pruned.model.first.out_channels == 4
    assert pruned.verification.passed


def test_lines_of_packages_whose_names_begin_with_torch_are_named() -> None:
    graph = trace(
        nn.Sequential(torchvision.ops.SqueezeExcitation(4, 2), torchvision.ops.Permute([0, 2, 3, 1])),
        torch.rand(1, 4, 3, 3),
    )
    assert {call.location.partition(":")[0] for call in graph.calls if call.name == "aten.mul"} == {"misc.py"}


def test_a_model_of_pytorch_s_own_code_alone_has_no_place_to_name() -> None:
    graph = trace(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), torch.ones(1, 4))
    assert {call.location for call in graph.calls} == {""}
    assert str(graph.calls[-1]) == "aten.relu in module '1'"


class _Watched(nn.Module):
    """Tells whether what its first layer made is still there when its last one has run."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)
        self.alive: list[bool] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        made = weakref.ref(y)
        y = y.relu()
        y = self.last(y)
        self.alive.append(made() is not None)
        return y


def test_what_a_run_needs_no_more_is_freed_while_it_is_recorded_and_repeated() -> None:
    """A detector's run holds gigabytes otherwise; a search for garbage would come too late, so there is none."""
    gc.collect()
    gc.disable()
    try:
        model = _Watched()
        x = torch.zeros(1, 3)
        mode = Replay(trace(model, x).calls)
        with torch.no_grad(), mode:
            model(x)
        ended = weakref.ref(mode)
        del mode
        assert model.alive == [False, False]
        assert ended() is None
    finally:
        gc.enable()


def test_modules_are_named_whether_they_have_hooks_of_their_own_or_not() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU(), nn.Linear(2, 2)))
    model[1][1].register_forward_pre_hook(lambda module, given: (given[0] * 2.0,))
    elsewhere = nn.Linear(2, 2)
    model[1].register_forward_hook(lambda module, given, made: elsewhere(made))
    found = [(call.name, call.module) for call in trace(model, torch.ones(1, 2)).calls if call.name != "aten.t"]
    assert found == [
        ("aten.addmm", "0"),
        ("aten.relu", "1.0"),
        ("aten.mul", "1"),
        ("aten.addmm", "1.1"),
        ("aten.addmm", "1"),
    ]
