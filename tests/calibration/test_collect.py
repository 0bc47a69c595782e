"""Each statistic against a slow, plain computation; the promises of the pass; bad input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune

from sapwood.calibration import STATISTICS, collect
from sapwood.errors import ConfigError

Batch = tuple[Tensor, Tensor]

GATES = {"gate_grad", "gate_grad_squared"}
EXACT = {"rtol": 1e-9, "atol": 1e-12}
"""Both sides are float64: sums of a few hundred terms in another order."""


class Net(nn.Module):
    """A module that runs twice, a depthwise convolution, an input read by two, positions in a linear module."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.twice = nn.Conv2d(4, 4, 3, padding=1)
        self.depthwise = nn.Conv2d(4, 4, 3, groups=4)
        self.tokens = nn.Linear(4, 6)
        self.head = nn.Linear(6, 3)
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        x = F.relu(self.twice(F.relu(self.twice(x))) + x)
        tokens = F.relu(self.tokens(self.depthwise(x).flatten(2).transpose(1, 2)))
        return self.head(tokens.mean(dim=1))


def loss(model: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


@pytest.fixture
def net() -> Net:
    torch.manual_seed(1)
    model = Net().double()
    model.norm.running_mean.normal_()
    model.norm.running_var.uniform_(0.5, 2.0)
    return model


@pytest.fixture
def batches() -> list[Batch]:
    """Three batches, the last one smaller."""
    torch.manual_seed(2)
    pictures, labels = torch.randn(8, 3, 6, 5, dtype=torch.float64), torch.randint(3, (8,))
    return list(zip(pictures.split(3), labels.split(3), strict=True))


def samples(batches: list[Batch]) -> Iterator[Batch]:
    for pictures, labels in batches:
        for index in range(len(labels)):
            yield pictures[index : index + 1], labels[index : index + 1]


def test_gradients(net: Net, batches: list[Batch]) -> None:
    found = collect(net, batches, loss, {"grad", "grad_squared"})
    net.eval()
    for name, parameter in net.named_parameters():
        if name.startswith("unused"):
            assert not found["grad"][name].any(), "the loss does not follow from it"
            continue
        each = [torch.autograd.grad(loss(net, sample), parameter)[0] for sample in samples(batches)]
        torch.testing.assert_close(found["grad"][name], sum(each) / 8, **EXACT)
        whole = [torch.autograd.grad(loss(net, batch), parameter)[0] for batch in batches]
        squares = [len(batch[1]) * gradient.square() for gradient, batch in zip(whole, batches, strict=True)]
        torch.testing.assert_close(found["grad_squared"][name], sum(squares) / 3, **EXACT)
    assert found.num_samples == 8


def test_the_fisher_diagonal_of_single_samples_is_the_mean_squared_gradient(net: Net, batches: list[Batch]) -> None:
    found = collect(net, list(samples(batches)), loss, {"grad_squared"})["grad_squared"]["head.weight"]
    net.eval()
    each = [torch.autograd.grad(loss(net, sample), net.head.weight)[0].square() for sample in samples(batches)]
    torch.testing.assert_close(found, sum(each) / 8, **EXACT)


def test_inputs(net: Net, batches: list[Batch]) -> None:
    found = collect(net, batches, loss, {"input_abs_mean", "input_norm", "input_zeros"})
    net.eval()
    seen: dict[str, list[Tensor]] = {}
    for name in ("stem", "twice", "depthwise", "tokens", "head"):
        module = net.get_submodule(name)
        module.register_forward_hook(lambda _, args, __, name=name: seen.setdefault(name, []).append(args[0].detach()))
    for batch in batches:
        net(batch[0])
    assert len(seen["twice"]) == 6, "both runs count"
    for name, inputs in seen.items():
        channel = 1 if name in {"stem", "twice", "depthwise"} else -1
        rows = torch.cat([one.movedim(channel, 0).flatten(1) for one in inputs], dim=1)
        torch.testing.assert_close(found["input_abs_mean"][name], rows.abs().mean(1), **EXACT)
        torch.testing.assert_close(found["input_norm"][name], rows.square().sum(1).sqrt(), **EXACT)
        torch.testing.assert_close(found["input_zeros"][name], (rows == 0).double().mean(1), **EXACT)
    assert "unused" not in found["input_norm"]


def test_gates(net: Net, batches: list[Batch]) -> None:
    """The derivative of each sample's loss by a factor of one that multiplies what one module reads."""
    found = collect(net, batches, loss, GATES)
    net.eval()
    for name, channel in {"stem": 1, "twice": 1, "depthwise": 1, "tokens": 2, "head": 1}.items():
        module = net.get_submodule(name)
        count = 3 if name == "stem" else (6 if name == "head" else 4)
        each = []
        for sample in samples(batches):
            gate = torch.ones(count, dtype=torch.float64, requires_grad=True)

            def gated(_: nn.Module, args: Any, gate: Tensor = gate, channel: int = channel) -> Any:
                shape = [-1 if dim == channel else 1 for dim in range(args[0].dim())]
                return (args[0] * gate.reshape(shape),)

            handle = module.register_forward_pre_hook(gated)
            each.append(torch.autograd.grad(loss(net, sample), gate)[0])
            handle.remove()
        values = torch.stack(each)
        torch.testing.assert_close(found["gate_grad"][name], values.mean(0), **EXACT)
        torch.testing.assert_close(found["gate_grad_squared"][name], values.square().mean(0), **EXACT)


def test_movement(net: Net, batches: list[Batch]) -> None:
    found = collect(net, batches, loss, {"movement"}, learning_rate=0.1)["movement"]
    net.eval()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    wanted = {name: torch.zeros_like(parameter) for name, parameter in net.named_parameters()}
    for batch in batches:
        optimizer.zero_grad()
        loss(net, batch).backward()
        for name, parameter in net.named_parameters():
            if parameter.grad is not None:
                wanted[name] -= parameter.detach() * parameter.grad
        optimizer.step()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, **EXACT)


def test_all_together_are_what_each_is_alone(net: Net, batches: list[Batch]) -> None:
    together = collect(net, batches, loss, set(STATISTICS))
    for name in STATISTICS:
        alone = collect(net, batches, loss, {name})[name]
        assert alone.keys() == together[name].keys()
        for owner, value in alone.items():
            torch.testing.assert_close(value, together[name][owner], **EXACT)


def test_the_model_is_not_touched(net: Net, batches: list[Batch]) -> None:
    net.train()
    net.stem.weight.requires_grad_(False)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    state = torch.get_rng_state()

    def noisy(model: nn.Module, batch: Batch) -> Tensor:
        torch.rand(3)
        return loss(model, batch)

    found = collect(net, batches, noisy, set(STATISTICS))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert all(module.training for module in net.modules())
    assert not any(module._forward_pre_hooks for module in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not net.stem.weight.requires_grad
    assert found["grad"]["stem.weight"].any(), "a frozen parameter has statistics"
    assert not found["grad"]["stem.weight"].requires_grad


def test_gradients_are_on_under_no_grad(net: Net, batches: list[Batch]) -> None:
    with torch.no_grad():
        assert collect(net, batches, loss, {"grad"})["grad"]["head.weight"].any()


def test_without_need_of_gradients_there_is_no_backward_pass(net: Net, batches: list[Batch]) -> None:
    enabled = []

    def watched(model: nn.Module, batch: Batch) -> Tensor:
        enabled.append(torch.is_grad_enabled())
        return loss(model, batch)

    collect(net, batches, watched, {"input_norm"})
    assert enabled == [False] * 3


def test_one_pass_for_all_but_movement(net: Net, batches: list[Batch]) -> None:
    calls = []
    reads = []

    def counted(model: nn.Module, batch: Batch) -> Tensor:
        calls.append(1)
        return loss(model, batch)

    def once() -> Iterator[Batch]:
        for batch in batches:
            reads.append(1)
            yield batch

    collect(net, once(), counted, set(STATISTICS) - {"movement"})
    assert (len(calls), len(reads)) == (3, 3)
    collect(net, once(), counted, set(STATISTICS))
    assert (len(calls), len(reads)) == (9, 6)


def test_a_masked_model_has_the_statistics_of_the_weights_it_uses(net: Net, batches: list[Batch]) -> None:
    prune.l1_unstructured(net.twice, "weight", amount=0.5)
    found = collect(net, batches, loss, {"grad", "movement", "gate_grad"})
    weight = net.twice.weight.detach().clone()
    prune.remove(net.twice, "weight")
    assert torch.equal(net.twice.weight, weight)
    plain = collect(net, batches, loss, {"grad", "movement", "gate_grad"})
    assert "twice.weight" not in found["grad"]
    for name in ("grad", "movement"):
        assert torch.equal(found[name]["twice.weight_orig"], plain[name]["twice.weight"])
    assert found["grad"]["twice.weight_orig"][weight == 0].any(), "of masked weights, too"
    assert torch.equal(found["gate_grad"]["twice"], plain["gate_grad"]["twice"])


def test_windows_are_parts_of_their_sample() -> None:
    class Windows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 1, bias=False)

        def forward(self, x: Tensor) -> Tensor:  # shape: (B, 3, 2)
            return self.linear(x.flatten(0, 1)).reshape(len(x), 3).sum(dim=1)

    x = torch.tensor([[[1.0, 0.0]] * 3, [[0.0, 2.0]] * 3])
    model = Windows()
    nn.init.ones_(model.linear.weight)
    found = collect(model, [x], lambda model, x: model(x).mean(), GATES)
    assert found["gate_grad_squared"]["linear"].tolist() == [4.5, 18.0]  # (3, 0) and (0, 6), squared, mean over two


def test_rows_that_are_no_parts_of_samples_are_left_out_with_the_reason() -> None:
    model = nn.Sequential(nn.Flatten(0, 1), nn.Linear(2, 1))
    x = torch.randn(3, 2)
    found = collect(model, [x], lambda model, x: model(torch.cat([x, x[:1]])[:, None]).mean(), {*GATES, "input_norm"})
    assert found.left_out == {"1": "read 4 rows for a batch of 3 samples"}
    assert "1" not in found["gate_grad"]
    assert "1" in found["input_norm"]


def test_gates_that_the_loss_does_not_follow_from_have_derivative_zero() -> None:
    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.main, self.side = nn.Linear(2, 1), nn.Linear(2, 1)

        def forward(self, x: Tensor) -> Tensor:
            self.side(x)
            return self.main(x)

    found = collect(Branch(), [torch.ones(2, 2)], lambda model, x: model(x).sum(), GATES)
    assert found["gate_grad"]["main"].any()
    assert found["gate_grad"]["side"].tolist() == found["gate_grad_squared"]["side"].tolist() == [0, 0]


def test_an_input_given_by_name_and_one_without_batch() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(input=x[0])

    found = collect(Named(), [torch.ones(1, 2, 4, 4)], lambda model, x: model(x).sum(), {"input_norm", "gate_grad"})
    assert found["input_norm"]["conv"].tolist() == [4.0, 4.0]
    assert found["gate_grad"]["conv"].shape == (2,)


class InPlace(nn.Module):
    """Changes what a module has read."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = x * 1.0
        y = self.linear(x)
        x.mul_(2.0)
        return y


def test_an_input_changed_after_it_was_read_is_refused() -> None:
    with pytest.raises(ConfigError, match="the input of 'linear' is changed in place after the module read it"):
        collect(InPlace(), [torch.ones(2, 2)], lambda model, x: model(x).sum(), {"gate_grad"})


def test_progress_tells_batches(net: Net, batches: list[Batch]) -> None:
    told: list[tuple[int, int]] = []
    collect(net, batches, loss, {"grad"}, progress=lambda done, count: told.append((done, count)))
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda out: out, r"the loss of batch 0 is of shape \(3, 3\), torch.float64; expected a floating-point tensor"),
        (lambda out: float(out.detach().sum()), "the loss of batch 0 is of float; expected a floating-point tensor of"),
        (lambda out: out.sum() * float("nan"), "the loss of batch 0 is nan; expected a finite number"),
        (lambda out: out.sum() + float("inf"), "the loss of batch 0 is inf; expected a finite number"),
        (lambda out: out.sum().detach(), "the loss of batch 0 does not follow from the model given to it"),
    ],
)
def test_bad_losses(net: Net, batches: list[Batch], value: Any, message: str) -> None:
    for needs in ("grad", "movement"):
        with pytest.raises(ConfigError, match=message):
            collect(net, batches, lambda model, batch: value(model(batch[0])), {needs})


def test_training_that_diverges_says_so(net: Net, batches: list[Batch]) -> None:
    with pytest.raises(ConfigError, match="after 1 steps for 'movement' at learning_rate 1e\\+300; expected a finite"):
        collect(net, batches, loss, {"movement"}, learning_rate=1e300)


def test_a_gradient_that_is_not_finite_is_named() -> None:
    with pytest.raises(ConfigError, match="the statistic 'grad' of 'weight' is NaN or infinite"):
        collect(nn.Linear(2, 1), [torch.zeros(1, 2)], lambda model, x: (0 * model.weight).sum().sqrt(), {"grad"})


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "no batch to collect statistics from; expected at least one"),
        (["text"], "batch 0 is a str without tensors; its first tensor should count its samples in dimension 0"),
        ([torch.tensor(1.0)], r"batch 0 is one of shape \(\); its first tensor should count"),
    ],
)
def test_bad_batches(net: Net, batches: list[Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        collect(net, batches, loss, {"grad"})


def test_unknown_names_and_learning_rates(net: Net, batches: list[Batch]) -> None:
    with pytest.raises(ConfigError, match="unknown statistic 'hessian'; expected one of: gate_grad, gate_grad_squared"):
        collect(net, batches, loss, {"hessian"})
    with pytest.raises(ConfigError, match=r"learning_rate 0.0; expected a number in \(0, inf\)"):
        collect(net, batches, loss, {"movement"}, learning_rate=0.0)
    with pytest.raises(ConfigError, match="the statistic 'grad' was not collected; collected were: input_norm"):
        collect(net, batches, loss, {"input_norm"})["grad"]
