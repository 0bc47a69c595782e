"""Low rank on networks as strangers write them, and what they do with the result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sapwood
from sapwood.errors import BudgetError, ConfigError
from sapwood.factoring import find_directions
from sapwood.models import DarknetNetwork, LowRank, parse_cfg
from sapwood.pipeline import two_layers
from support.cfgs import BINARY

WIDTH, RANK = 48, 4
X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
HALF = {"macs": 0.5}


def low_(model: nn.Module) -> Any:
    """Gives every layer a weight of a low rank, for which two are enough."""
    torch.manual_seed(0)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
                rows, columns = module.weight.flatten(1).shape
                weight = torch.randn(rows, RANK) @ torch.randn(RANK, columns) / (RANK * columns) ** 0.5
                module.weight.copy_(weight.reshape(module.weight.shape))
    return model.eval()


class Stranger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Conv2d(3, WIDTH, 3, padding=1)
        self.one = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.two = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.head = nn.Linear(WIDTH, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.two(F.relu(self.one(F.relu(self.start(x))))))
        return self.head(x.mean((-2, -1)))  # type: ignore[no-any-return]


class Listed(Stranger):
    def __init__(self) -> None:
        super().__init__()
        self.kept = [self.one]

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.two(F.relu(self.kept[0](F.relu(self.start(x))))))
        return self.head(x.mean((-2, -1)))  # type: ignore[no-any-return]


def with_hook(model: Stranger) -> None:
    model.one.register_forward_hook(lambda *_: None)


def with_changing_hook(model: Stranger) -> None:
    model.one.register_forward_hook(lambda _, __, result: 2 * result)


def with_part(model: Stranger) -> None:
    model.one.register_buffer("seen", torch.zeros(1))


def with_masked_bias(model: Stranger) -> None:
    nn.utils.prune.l1_unstructured(model.one, "bias", 0.5)


def with_shared_bias(model: Stranger) -> None:
    model.one.bias = model.start.bias


def with_nan(model: Stranger) -> None:
    with torch.no_grad():
        model.one.weight[0, 0, 0, 0] = torch.inf


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (with_hook, "it has hooks, or parts or a forward of its own"),
        (with_changing_hook, "it has hooks, or parts or a forward of its own"),
        (with_part, "it has hooks, or parts or a forward of its own"),
        (with_masked_bias, "its bias is computed from others"),
        (with_shared_bias, "its bias is shared"),
    ],
)
def test_a_layer_that_is_more_than_its_class_says_stays_one(change: Callable[[Stranger], None], reason: str) -> None:
    model = low_(Stranger())
    change(model)
    found = two_layers(model, X, sapwood.Target(**HALF))
    assert found.refused["one"] == reason
    assert "one" not in found.layers
    assert "two" in found.layers


def test_a_layer_that_a_list_keeps_stays_one() -> None:
    found = two_layers(low_(Listed()), X, sapwood.Target(**HALF))
    assert found.refused == {"one": "the model's code calls it from a place of its own, such as a list"}
    assert "two" in found.layers


def test_weights_that_are_not_finite_are_named() -> None:
    model = low_(Stranger())
    with_nan(model)
    found = two_layers(model, X, sapwood.Target(**HALF))
    assert found.refused == {"one": "its weight is NaN or infinite in some places"}


def test_pictures_on_which_results_are_not_finite_tell_no_directions() -> None:
    calibration = sapwood.Calibration([torch.full((1, 3, 8, 8), torch.inf)], lambda model, batch: model(batch).sum())
    with pytest.raises(ConfigError, match="start and 3 more: on the pictures it gives nothing finite"):
        two_layers(low_(Stranger()), X, sapwood.Target(**HALF), calibration)


def test_a_network_whose_outputs_are_all_zero_is_proven_with_other_weights() -> None:
    model = low_(Stranger())
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.zero_()
    found = two_layers(model, X, sapwood.Target(**HALF))
    assert {"one", "two"} <= found.layers.keys()
    assert found.verification.passed


def test_a_transformer_runs_as_pytorch_runs_it_fast() -> None:
    layer = nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, batch_first=True)
    model = low_(nn.Sequential(layer, nn.Linear(WIDTH, 3)))
    x = torch.randn(2, 6, WIDTH)
    pruned = sapwood.prune(model, x, target=HALF, low_rank=True)
    assert {one.module for one in pruned.plan.factored} == {"0.linear1", "0.linear2"}
    assert any("NonDynamicallyQuantizableLinear" in note for note in pruned.notes)
    with_gradients = pruned.model(x)
    with torch.no_grad():
        assert torch.allclose(pruned.model(x), with_gradients, atol=1e-5)


def test_weight_and_bias_are_those_of_the_product() -> None:
    inner = LowRank(nn.Linear(6, 2), nn.Linear(2, 5))
    pair = LowRank(nn.Linear(4, 6), inner)
    x = torch.randn(3, 4)
    assert torch.allclose(F.linear(x, pair.weight, pair.bias), pair(x), atol=1e-6)
    convs = LowRank(nn.Conv2d(3, 2, 3, padding=1, padding_mode="reflect"), nn.Conv2d(2, 8, 1))
    assert convs.padding_mode == "reflect"
    assert convs.bias.shape == (8,)


def test_a_frozen_bias_stays_frozen() -> None:
    model = low_(Stranger())
    model.one.bias.requires_grad_(False)
    wide = two_layers(model, X, sapwood.Target(**HALF)).model
    trains = {name: one.requires_grad for name, one in wide.named_parameters() if name.startswith("one.")}
    assert trains == {"one.0.weight": True, "one.0.bias": False, "one.1.weight": True, "one.1.bias": False}


def test_channels_of_pictures_without_a_batch_are_found() -> None:
    model = low_(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)))
    batch, one = (find_directions(model, ["0"], lambda net, x=x: net(x))["0"] for x in (X[:1], X[0]))  # type: ignore[misc]
    assert torch.allclose(batch.variances, one.variances)


@pytest.mark.parametrize("criterion", ["l1", "l2"])
@pytest.mark.parametrize("by_pictures", [False, True])
def test_magnitudes_tell_which_directions_are_empty(criterion: str, by_pictures: bool) -> None:
    model = low_(Stranger())
    calibration = sapwood.Calibration([X], lambda net, batch: net(batch).square().mean()) if by_pictures else None
    pruned = sapwood.prune(model, X, target={"macs": 0.6}, low_rank=True, criterion=criterion, calibration=calibration)
    assert pruned.plan.factored
    with torch.no_grad():
        assert torch.allclose(pruned.model(X), model(X), atol=1e-3 * float(model(X).abs().max()))


def test_a_plan_alone_keeps_biases_of_layers_that_are_two() -> None:
    model = low_(Stranger())
    with torch.no_grad():
        model.one.bias.normal_()
        again = sapwood.apply_plan(model, sapwood.models.Plan(factored=(sapwood.models.Factored("one", RANK),)))
        assert torch.allclose(again(X), model(X), atol=1e-5)


def test_an_optimizer_goes_on() -> None:
    model = low_(Stranger())
    weights = [one for one in model.parameters() if one.dim() > 1]
    others = [one for one in model.parameters() if one.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": weights}, {"params": others, "weight_decay": 0.0}])
    model(X).sum().backward()
    optimizer.step()
    start = optimizer.state[model.start.weight]["exp_avg"].clone()
    pruned = sapwood.prune(model, X, target={"macs": 0.6}, low_rank=True)
    assert pruned.plan.factored
    sapwood.carry_optimizer_(optimizer, model, pruned)
    parameters = dict(pruned.model.named_parameters())
    held = [
        {name for name, one in parameters.items() if any(one is own for own in group["params"])}
        for group in optimizer.param_groups
    ]
    assert held == [{name for name in parameters if name.endswith(end)} for end in ("weight", "bias")]
    kept = next((cut.kept for cut in pruned.plan.cuts if (cut.tensor, cut.dim) == ("start.weight", 0)), range(WIDTH))
    assert torch.equal(optimizer.state[parameters["start.weight"]]["exp_avg"], start[list(kept)])
    pruned.model(X).sum().backward()
    optimizer.step()


@pytest.mark.parametrize("way", ["reconstruct", "distill", "repair_batchnorm"])
def test_recovery_by_the_plan_alone_says_what_to_give(way: str) -> None:
    model = low_(Stranger())
    pruned = sapwood.prune(model, X, target={"macs": 0.6}, low_rank=True)
    recover = getattr(sapwood, way, None) or getattr(sapwood.recovery, way)
    with pytest.raises(ConfigError, match=r"expected the network .*pruned\.of_two\.network\.model for dense"):
        recover(model, pruned.model, pruned.plan, [X])
    assert pruned.of_two is not None
    if way == "reconstruct":
        sapwood.reconstruct(pruned.of_two.network.model, pruned.model, pruned.of_two.plan, [X])


@pytest.mark.parametrize("given", [None, 1, "yes"])
def test_what_is_no_network_is_named(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"low_rank is .*; expected True, False or what"):
        sapwood.prune(low_(Stranger()), X, target=HALF, low_rank=given)


def test_a_network_of_other_values_is_no_network_of_the_model() -> None:
    model = low_(Stranger())
    network = two_layers(model, X, sapwood.Target(**HALF))
    assert sapwood.prune(model, X, target={"macs": 0.6}, low_rank=network).plan.factored
    with torch.no_grad():
        model.start.bias.add_(1.0)
    with pytest.raises(ConfigError, match="or of this one with other values"):
        sapwood.prune(model, X, target={"macs": 0.6}, low_rank=network)


def test_the_figures_of_a_budget_out_of_reach_are_of_the_model_given() -> None:
    model, told = low_(Stranger()), []
    for low_rank in (False, True):
        with pytest.raises(BudgetError) as failed:
            sapwood.prune(model, X, target={"macs": 1e-6}, low_rank=low_rank)
        told.append(str(failed.value))
    assert told[0] == told[1]


def test_limits_that_leave_two_layers_wider_than_one_are_no_reason_to_fail() -> None:
    """With 40 channels between them the two of a layer take more than it does; channels alone reach the goal."""
    limits = {"minimum": 40}
    found = sapwood.prune(low_(Stranger()), X, target={"macs": 0.72}, limits=limits, low_rank=True)
    assert not found.plan.factored
    assert sapwood.count_macs(found.model, X).total <= 0.72 * sapwood.count_macs(low_(Stranger()), X).total


def test_what_is_two_can_be_two_again_and_is_saved(tmp_path: Path) -> None:
    model = low_(Stranger())
    first = sapwood.prune(model, X, target={"macs": 0.6}, low_rank=True)
    sapwood.save(first, tmp_path / "first")
    loaded = sapwood.load(tmp_path / "first", model=Stranger)
    assert torch.equal(loaded.eval()(X), first.model.eval()(X))
    second = sapwood.prune(first.model, X, target={"macs": 0.7})
    assert second.verification.passed


def test_layers_that_a_cfg_has_no_word_for_stay_one() -> None:
    network = low_(DarknetNetwork(parse_cfg(BINARY)))
    seen: list[Any] = []
    network.layers[0].register_forward_hook(lambda *_: seen.append(1))
    network.layers[1].conv.weight.requires_grad_(False)
    pruned = sapwood.prune(network, X, target={"macs": 0.6}, low_rank=True)
    assert pruned.of_two is not None
    refused = pruned.of_two.network.refused
    assert refused["layers.5.linear"] == "a .cfg has no word for two in a ConnectedLayer"
    assert refused["layers.2.conv"] == "it is a BinaryConv2d"
    assert {one.module for one in pruned.plan.factored} <= {f"layers.{number}.conv" for number in (0, 1, 3)}
    assert pruned.plan.factored
    wide = pruned.of_two.network
    first, second = (wide.model.get_submodule(name) for name in wide.names["layers.1.conv"])
    assert [one.requires_grad for one in (first.weight, second.weight)] == [False, False]  # type: ignore[union-attr]
    seen.clear()
    pruned.model(X)
    assert seen


def test_an_optimizer_of_a_network_whose_layers_have_other_numbers_goes_on() -> None:
    network = low_(DarknetNetwork(parse_cfg(BINARY)))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    network(X).sum().backward()
    optimizer.step()
    network = network.eval()
    pruned = sapwood.prune(network, X, target={"macs": 0.6}, low_rank=True)
    assert pruned.plan.factored
    sapwood.carry_optimizer_(optimizer, network, pruned)
    held = {id(one) for group in optimizer.param_groups for one in group["params"]}
    assert held == {id(one) for one in pruned.model.parameters()}
