"""An optimizer goes on with the compact model as if it had always been its own."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sapwood
from sapwood.errors import TrainingError
from sapwood.models import AttributeEdit, Cut, Plan, Rescale, Shift, apply_plan

HALF = sapwood.Target(sparsity=0.5)
X = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(128, 2)
    )


def train_a_step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(X).square().mean().backward()
    optimizer.step()


@dataclass(frozen=True)
class Result:
    model: nn.Module
    plan: Plan
    verification: Any = None


OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01, amsgrad=True),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.01),
    "rmsprop": lambda parameters: torch.optim.RMSprop(parameters, lr=0.01, momentum=0.5, centered=True),
    "adagrad": lambda parameters: torch.optim.Adagrad(parameters, lr=0.01),
    "adadelta": torch.optim.Adadelta,
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_equals_one_with_state_cut_by_hand(name: str) -> None:
    model = net()
    optimizer = OPTIMIZERS[name](model.parameters())
    for _ in range(3):
        train_a_step(model, optimizer)
    pruned = sapwood.prune(model, X, target=HALF)
    by_hand = copy.deepcopy(pruned.model)
    other = OPTIMIZERS[name](by_hand.parameters())
    for (path, parameter), new in zip(model.named_parameters(), by_hand.parameters(), strict=True):
        index = [torch.arange(size) for size in parameter.shape]
        for cut in pruned.plan.cuts:
            if cut.tensor == path:
                index[cut.dim] = torch.tensor(cut.kept)
        grid = torch.meshgrid(*index, indexing="ij")
        for key, value in optimizer.state[parameter].items():
            cut_value = value[grid].clone() if value.shape == parameter.shape else value.clone()
            other.state[new][key] = cut_value
    assert sapwood.carry_optimizer_(optimizer, model, pruned) is optimizer
    train_a_step(pruned.model, optimizer)
    train_a_step(by_hand, other)
    assert pruned.model[0].weight.shape == (4, 3, 3, 3)  # type: ignore[index]
    for one, same in zip(pruned.model.parameters(), by_hand.parameters(), strict=True):
        assert torch.equal(one, same)
    assert set(optimizer.state) == set(pruned.model.parameters())


def test_momentum_by_hand() -> None:
    model = nn.Sequential(nn.Linear(1, 3, bias=False))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.5)
    model[0].weight.grad = torch.tensor([[1.0], [2.0], [4.0]])
    optimizer.step()
    plan = Plan(cuts=(Cut("0.weight", 0, 3, (0, 2)),), attributes=(AttributeEdit("0", "out_features", 3, 2),))
    small = apply_plan(model, plan)
    before = small[0].weight.detach().clone()  # type: ignore[operator]
    sapwood.carry_optimizer_(optimizer, model, Result(small, plan))
    small[0].weight.grad = torch.tensor([[1.0], [1.0]])
    optimizer.step()
    # velocities 0.5 * (1, 4) + (1, 1) = (1.5, 3), times the rate of 0.5
    assert torch.equal(small[0].weight, before - torch.tensor([[0.75], [1.5]]))


def test_moments_follow_a_rescaled_parameter() -> None:
    model = nn.Sequential(nn.Linear(1, 3, bias=False))
    optimizer = torch.optim.Adam(model.parameters())
    model[0].weight.grad = torch.tensor([[1.0], [2.0], [4.0]])
    optimizer.step()
    first = {key: value.clone() for key, value in optimizer.state[model[0].weight].items()}
    plan = Plan(rescales=(Rescale("0.weight", (0, 2), 0.5),))
    small = apply_plan(model, plan)
    sapwood.carry_optimizer_(optimizer, model, Result(small, plan))
    state = optimizer.state[small[0].weight]
    assert torch.equal(state["exp_avg"], first["exp_avg"] * torch.tensor([[2.0], [1.0], [2.0]]))
    assert torch.equal(state["exp_avg_sq"], first["exp_avg_sq"] * torch.tensor([[4.0], [1.0], [4.0]]))
    assert state["step"] == 1


def normed(width: int = 8) -> nn.Module:
    norm = nn.utils.parametrizations.weight_norm
    return nn.Sequential(norm(nn.Linear(192, width)), nn.ReLU(), norm(nn.Linear(width, 6)), nn.Tanh(), nn.Linear(6, 2))


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "adagrad"])
def test_moments_follow_the_gain_of_a_weight_norm(name: str) -> None:
    """The kept gain is f times the old one, so that its gradient is the old one over f, and its square over f^2."""
    torch.manual_seed(0)
    model = normed()
    optimizer = OPTIMIZERS[name](model.parameters())
    for _ in range(2):
        optimizer.zero_grad()
        model(X.flatten(1)).square().mean().backward()
        optimizer.step()
    pruned = sapwood.prune(model, X.flatten(1), target=HALF)
    gain = "2.parametrizations.weight.original0"
    assert gain in {one.tensor for one in pruned.plan.gains}
    rows = next((cut.kept for cut in pruned.plan.cuts if cut.tensor == gain), range(6))
    old, new = model.get_parameter(gain), pruned.model.get_parameter(gain)
    factor = (new / old[list(rows)]).detach()
    assert (factor < 0.99).all(), "a part of each norm is gone"
    before = {key: value[list(rows)].clone() for key, value in optimizer.state[old].items() if value.shape == old.shape}
    assert before
    sapwood.carry_optimizer_(optimizer, model, pruned)
    for key, value in before.items():
        power = -2 if key in {"exp_avg_sq", "max_exp_avg_sq", "square_avg", "sum"} else -1
        torch.testing.assert_close(optimizer.state[new][key], value * factor**power)


def test_a_gradient_is_divided_by_what_the_gain_was_multiplied_by() -> None:
    """What the factors are for, shown by autograd: the dense model with those channels silenced computes the same."""
    torch.manual_seed(0)
    model = normed()
    pruned = sapwood.prune(model, X.flatten(1), target=HALF)
    kept = {(cut.tensor, cut.dim): list(cut.kept) for cut in pruned.plan.cuts}
    gone = [row for row in range(8) if row not in kept["0.bias", 0]]
    gain = "2.parametrizations.weight.original0"
    with torch.no_grad():
        for name in ("0.parametrizations.weight.original0", "0.bias"):
            model.get_parameter(name)[gone] = 0.0
        model[4].weight[:, [row for row in range(6) if row not in kept[gain, 0]]] = 0.0  # type: ignore[index, operator]
    for one in (model, pruned.model):
        one(X.flatten(1)).square().mean().backward()
    old, new = model.get_parameter(gain), pruned.model.get_parameter(gain)
    factor = new / old[kept[gain, 0]]
    assert (factor < 0.99).all()
    torch.testing.assert_close(new.grad, old.grad[kept[gain, 0]] / factor)  # type: ignore[index]


def test_groups_options_and_schedulers_stay() -> None:
    model = net()
    groups = [
        {"params": [model[0].weight], "lr": 0.2},
        {"params": [*model[1].parameters(), *model[3].parameters()], "weight_decay": 0.1},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.4, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    train_a_step(model, optimizer)
    pruned = sapwood.prune(model, X, target=HALF)
    small = pruned.model
    sapwood.carry_optimizer_(optimizer, model, pruned)
    assert [group["params"] for group in optimizer.param_groups] == [
        [small[0].weight], [*small[1].parameters(), *small[3].parameters()]  # type: ignore[index]
    ]  # fmt: skip
    assert optimizer.param_groups[1]["weight_decay"] == 0.1
    train_a_step(small, optimizer)
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.2]


def test_a_bias_that_was_made_joins_the_group_of_its_weight() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 3, bias=False))
    optimizer = torch.optim.SGD([{"params": [model[0].weight]}, {"params": [model[1].weight], "lr": 1.0}], lr=0.1)
    optimizer.param_groups[1]["param_names"] = ["1.weight"]  # as PyTorch notes them where they are given
    plan = Plan(shifts=(Shift("1.bias", (1.0, 2.0, 3.0)),))
    small = apply_plan(model, plan)
    sapwood.carry_optimizer_(optimizer, model, Result(small, plan))
    first, second = (group["params"] for group in optimizer.param_groups)
    assert [id(parameter) for parameter in first] == [id(small[0].weight)]
    assert [id(parameter) for parameter in second] == [id(small[1].weight), id(small[1].bias)]
    assert optimizer.param_groups[1]["param_names"] == ["1.weight", "1.bias"]


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6, bias=False)
        self.second = nn.Linear(6, 6, bias=False)
        self.second.weight = self.first.weight
        self.last = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.last(self.second(self.first(x).relu()).relu())
        return result


def test_shared_parameters_stay_shared() -> None:
    model = Tied()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    pruned = sapwood.prune(model, torch.randn(1, 6), target=HALF)
    sapwood.carry_optimizer_(optimizer, model, pruned)
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(p) for p in pruned.model.parameters()]


def test_masks_that_became_permanent_are_followed() -> None:
    model = net()
    nn.utils.prune.l1_unstructured(model[0], "weight", 0.5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    train_a_step(model, optimizer)
    pruned = sapwood.prune(model, X, target=HALF)
    nn.utils.prune.remove(pruned.model[0], "weight")  # type: ignore[index]
    sapwood.carry_optimizer_(optimizer, model, pruned)
    weight = pruned.model[0].weight  # type: ignore[index]
    before = weight.detach().clone()
    train_a_step(pruned.model, optimizer)
    assert not torch.equal(weight, before)
    for parameter in pruned.model.parameters():
        assert optimizer.state[parameter]["momentum_buffer"].shape == parameter.shape


def test_what_cannot_be_carried_is_named_and_leaves_the_optimizer_as_it_was() -> None:
    model = net()
    pruned = sapwood.prune(model, X, target=HALF)
    foreign = torch.optim.SGD([*model.parameters(), nn.Parameter(torch.zeros(7, 2))], lr=0.1)
    before = list(foreign.param_groups[0]["params"])
    message = (
        r"group 0 of the optimizer holds a parameter of shape \(7, 2\) that is not model_before's; expected the opt"
    )
    with pytest.raises(TrainingError, match=message):
        sapwood.carry_optimizer_(foreign, model, pruned)
    assert all(one is other for one, other in zip(foreign.param_groups[0]["params"], before, strict=True))
    with pytest.raises(TrainingError, match=r"0.weight has shape \(4, 3, 3, 3\); the plan expects 8 in dimension 0"):
        sapwood.carry_optimizer_(torch.optim.SGD(pruned.model.parameters()), pruned.model, pruned)
    with pytest.raises(TrainingError, match=r"0.weight of the compact model has shape \(4, 3, 3, 3\); expected \(8, 3"):
        sapwood.carry_optimizer_(torch.optim.SGD(model.parameters()), model, Result(pruned.model, Plan()))
    with pytest.raises(TrainingError, match=r"the compact model has no 5.weight; expected what pruning model_before"):
        sapwood.carry_optimizer_(torch.optim.SGD(model[5:].parameters()), model, Result(model[:2], Plan()))  # type: ignore[index]


def test_state_of_another_shape_is_refused() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.state[model[0].weight]["row_var"] = torch.zeros(8, 3, 3, 1)  # type: ignore[index]  # as Adafactor's
    pruned = sapwood.prune(model, X, target=HALF)
    with pytest.raises(
        TrainingError, match=r"the optimizer's row_var of 0.weight is of shape \(8, 3, 3, 1\); expected the parameter's"
    ):
        sapwood.carry_optimizer_(optimizer, model, pruned)
    plan = Plan(rescales=(Rescale("0.weight", (0,), 0.5),))
    known = torch.optim.SGD(model.parameters(), lr=0.1)
    known.state[model[0].weight]["secret"] = torch.zeros_like(model[0].weight)  # type: ignore[index]
    with pytest.raises(TrainingError, match=r"multiplies 0.weight, and how the optimizer's 'secret' follows"):
        sapwood.carry_optimizer_(known, model, Result(apply_plan(model, plan), plan))


def test_lbfgs_begins_anew_and_is_told_which_optimizers_do_not() -> None:
    model, x = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), torch.randn(3, 4)
    optimizer = torch.optim.LBFGS(model.parameters())

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = model(x).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    pruned = sapwood.prune(model, x, target=sapwood.Target(sparsity=0.5))
    with pytest.raises(TrainingError, match=r"number, as SGD, Adam, .* have; another one has to begin anew"):
        sapwood.carry_optimizer_(optimizer, model, pruned)
