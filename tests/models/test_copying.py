"""Copies of models whose weights are computed from live masks."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from sapwood.models import copy_model, evaluating_, live_masks
from sapwood.models.darknet import DarknetNetwork, parse_cfg


def masked_model() -> nn.Sequential:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)).eval()
    prune.l1_unstructured(model[0], "weight", 0.5)
    prune.random_unstructured(model[0], "weight", 0.5)  # two methods on one weight: torch keeps a container of them
    prune.ln_structured(model[4], "weight", 0.5, n=2, dim=0)
    prune.random_unstructured(model[1], "bias", 0.5)
    return model


def test_a_masked_model_is_copied_with_its_masks() -> None:
    model = masked_model()
    x = torch.randn(2, 3, 4, 4)
    expected = model(x)
    twin = copy_model(model)
    assert live_masks(twin) == live_masks(model) == ("0.weight", "1.bias", "4.weight")
    assert torch.equal(twin(x), expected)
    shared = {id(tensor) for tensor in model.state_dict(keep_vars=True).values()}
    assert not shared & {id(tensor) for tensor in twin.state_dict(keep_vars=True).values()}


def test_a_copy_goes_its_own_way() -> None:
    model = masked_model()
    x = torch.randn(2, 3, 4, 4)
    expected = model(x).detach()
    twin = copy_model(model)
    for name in list(live_masks(twin)):
        path, _, parameter = name.rpartition(".")
        prune.remove(twin.get_submodule(path), parameter)
    assert not live_masks(twin)
    assert torch.equal(twin(x), expected)
    twin[4].weight.data.fill_(1.0)
    assert torch.equal(model(x), expected)
    model(x).sum().backward()
    assert model[0].weight_orig.grad is not None


def test_mode_and_hooks_are_copied() -> None:
    model = masked_model()
    model.train()
    model[1].eval()
    seen: list[int] = []
    model[2].register_forward_hook(lambda module, inputs, output: seen.append(1))
    model(torch.randn(2, 3, 4, 4))
    twin = copy_model(model)
    assert [module.training for module in twin] == [True, False, True, True, True]
    twin(torch.randn(2, 3, 4, 4))
    assert seen == [1, 1]


def test_a_masked_darknet_network_can_be_deep_copied_after_training_steps(detector_text: str) -> None:
    network = DarknetNetwork(parse_cfg(detector_text))
    prune.l1_unstructured(network.layers[0].conv, "weight", 0.5)
    (maps,) = network(torch.rand(2, 3, 32, 32))
    maps.sum().backward()
    twin = copy.deepcopy(network)
    assert live_masks(twin) == ("layers.0.conv.weight",)
    network.eval()
    twin.eval()
    x = torch.rand(1, 3, 32, 32)
    assert torch.equal(twin(x)[0], network(x)[0])
    with pytest.raises(RuntimeError, match="deepcopy"):  # what torch itself cannot do, and copy_model is for
        copy.deepcopy(network.layers)


def test_a_parametrization_taken_off_a_copy_stays_on_the_model() -> None:
    """PyTorch keeps the property in a class that a copy shares (findings/torch-parametrizations-of-copies.sh)."""
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 4)), nn.Linear(4, 2))
    x = torch.randn(2, 3)
    before, twin = model(x), copy_model(model)
    parametrize.remove_parametrizations(twin[0], "weight")
    assert torch.equal(model(x), before)
    assert torch.allclose(twin(x), before)
    assert isinstance(model[0], type(nn.Linear(1, 1)))


def test_buffers_that_share_memory_do_so_in_a_copy() -> None:
    layer = nn.Linear(2, 2)
    whole = torch.arange(4.0)
    layer.register_buffer("whole", whole)
    layer.register_buffer("part", whole[:2])
    twin = copy_model(layer)
    twin.whole.add_(1.0)
    assert twin.part.tolist() == [1.0, 2.0]
    assert layer.part.tolist() == [0.0, 1.0]


def test_what_an_object_holds_of_computed_tensors_is_copied_by_value() -> None:
    class Remembers:
        pass

    layer = nn.Linear(2, 2)
    layer.seen = Remembers()
    layer.seen.last = layer.weight * 2.0
    twin = copy_model(layer)
    assert torch.equal(twin.seen.last, layer.seen.last)
    assert twin.seen.last is not layer.seen.last


class Frozen(nn.BatchNorm1d):
    """Counts how often it is put into a mode."""

    def __init__(self) -> None:
        super().__init__(2)
        self.asked = 0

    def train(self, mode: bool = True) -> Frozen:
        self.asked += 1
        return super().train(mode)


def test_a_module_that_is_put_into_evaluation_mode_in_its_own_way_is_asked_always() -> None:
    model = nn.Sequential(nn.Dropout(), Frozen())
    evaluating_(model)
    assert not any(module.training for module in model.modules())
    evaluating_(model)
    assert model[1].asked == 2


def test_one_module_in_training_is_enough_to_put_all_into_evaluation_mode() -> None:
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout())).eval()
    model[1][0].train()
    evaluating_(model)
    assert not any(module.training for module in model.modules())


def test_an_object_that_has_a_way_of_its_own_to_change_mode_is_asked() -> None:
    model, asked = nn.Sequential(nn.Dropout()).eval(), []
    model[0].train = asked.append
    evaluating_(model)
    assert asked == [False]
