from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from sapwood.errors import MaskError
from sapwood.masks import METHODS, MaskCase, RandomUnstructured, Slot, apply_masks_, masking_state, remove_masks_
from sapwood.models.copying import copy_model


def make_case(method: str, folder: Path, model: nn.Module, sparsity: float = 0.5, seed: int = 0) -> MaskCase:
    """A case of any method over convolutions; masks of a file are made here."""
    if not METHODS[method].from_file:
        return MaskCase(method, sparsity, layers=("conv",), seed=seed)
    file = folder / "masks.npz"
    generator = np.random.default_rng(seed)
    weights = {name: p for name, p in model.named_parameters() if name in ("stem.0.weight", "body.weight", "up.weight")}
    np.savez(file, **{name: generator.random(tuple(p.shape)) >= sparsity for name, p in weights.items()})  # type: ignore[arg-type]
    return MaskCase(method, layers=("conv",), mask_file=str(file))


@pytest.fixture(params=list(METHODS))
def case(request: pytest.FixtureRequest, tmp_path: Path, net: nn.Module) -> MaskCase:
    """One case of every method there is."""
    return make_case(request.param, tmp_path, net)


def state_of(model: nn.Module) -> dict[str, Any]:
    """Everything a failed masking might have changed, by object."""
    return {
        path: {
            "parameters": list(module._parameters.items()),
            "buffers": list(module._buffers.items()),
            "hooks": list(module._forward_pre_hooks.items()),
            "attributes": sorted(vars(module)),
            "stacks": [
                hook._pruning_methods for hook in module._forward_pre_hooks.values() if hasattr(hook, "__len__")
            ],
        }
        for path, module in model.named_modules()
    }


def test_same_seed_same_masks(net: nn.Module, case: MaskCase) -> None:
    twin = copy.deepcopy(net)
    torch.manual_seed(1)
    first = apply_masks_(net, case)
    torch.manual_seed(2)
    assert apply_masks_(twin, case) == first
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, twin.state_dict()[name])


@pytest.mark.parametrize("method", [name for name in METHODS if name.startswith("random")])
def test_another_seed_gives_other_masks(net: nn.Module, method: str) -> None:
    twin = copy.deepcopy(net)
    apply_masks_(net, MaskCase(method, 0.5, layers=("conv",), seed=0))
    apply_masks_(twin, MaskCase(method, 0.5, layers=("conv",), seed=1))
    assert not torch.equal(net.stem[0].weight_mask, twin.stem[0].weight_mask)


def test_the_callers_random_numbers_and_training_mode_stay(net: nn.Module, case: MaskCase) -> None:
    net.train()
    net.up.eval()
    state = torch.get_rng_state()
    apply_masks_(net, case)
    assert torch.equal(torch.get_rng_state(), state)
    assert net.training
    assert not net.up.training


def test_the_record_counts_what_the_masks_hold(net: nn.Module, case: MaskCase) -> None:
    record = apply_masks_(net, case)
    masks = [net.stem[0].weight_mask, net.body.weight_mask, net.up.weight_mask]
    assert [p.num_masked for p in record.parameters] == [int((mask == 0).sum()) for mask in masks]
    assert [p.shape for p in record.parameters] == [tuple(mask.shape) for mask in masks]
    zeros, size = sum(int((mask == 0).sum()) for mask in masks), sum(mask.numel() for mask in masks)
    assert record.sparsity == zeros / size
    assert json.loads(json.dumps(asdict(record), allow_nan=False))["case"]["method"] == case.method


def test_the_masked_model_computes_with_zeros(net: nn.Module, case: MaskCase) -> None:
    dense = copy.deepcopy(net)
    apply_masks_(net, case)
    with torch.no_grad():
        for path in ("stem.0", "body", "up"):
            dense.get_submodule(path).weight.mul_(net.get_submodule(path).weight_mask)
    x = torch.randn(2, 3, 6, 6)
    assert torch.equal(net(x), dense(x))


def test_masks_follow_training(net: nn.Module, case: MaskCase) -> None:
    apply_masks_(net, case)
    before = net.body.weight_orig.detach().clone()
    net(torch.randn(2, 3, 6, 6)).square().sum().backward()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.sub_(0.1 * parameter.grad)
    net(torch.randn(2, 3, 6, 6))
    assert not torch.equal(net.body.weight_orig, before)
    assert torch.equal(net.body.weight, net.body.weight_orig * net.body.weight_mask)


def test_remove_makes_masks_permanent(net: nn.Module, case: MaskCase) -> None:
    keys = set(net.state_dict())
    apply_masks_(net, case)
    x = torch.randn(2, 3, 6, 6)
    masked = net(x)
    assert remove_masks_(net) == ("stem.0.weight", "body.weight", "up.weight")
    assert set(net.state_dict()) == keys
    assert not prune.is_pruned(net)
    assert isinstance(net.body.weight, nn.Parameter)
    assert torch.equal(net(x), masked)
    assert remove_masks_(net) == ()


def test_a_masked_model_can_be_copied_before_and_after_a_forward(net: nn.Module, case: MaskCase) -> None:
    apply_masks_(net, case)
    x = torch.randn(2, 3, 6, 6)
    plain = copy.deepcopy(net)
    output = net(x)
    with pytest.raises(RuntimeError, match="deepcopy protocol"):
        copy.deepcopy(net)  # torch's own limit, which copy_model is there for
    twin = copy_model(net)
    remove_masks_(net)
    for model in (plain, twin):
        assert torch.equal(model(x), output)
        assert prune.is_pruned(model)


def test_sparsity_zero_removes_nothing(net: nn.Module, tmp_path: Path) -> None:
    x = torch.randn(2, 3, 6, 6)
    dense = net(x)
    for method in METHODS:
        model = copy.deepcopy(net)
        record = apply_masks_(model, make_case(method, tmp_path, net, sparsity=0.0))
        assert record.sparsity == 0.0
        assert torch.equal(model(x), dense)


def test_a_parameter_with_nothing_left_is_noted() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 9, bias=False))
    nn.init.constant_(model[0].weight, 0.1)
    nn.init.ones_(model[1].weight)
    record = apply_masks_(model, MaskCase("l1_unstructured", 0.2, scope="global", layers=("linear",)))
    assert record.notes == ("0.weight: all 4 values are masked",)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(net: nn.Module, case: MaskCase, bad: float) -> None:
    with torch.no_grad():
        net.body.weight[0, 0] = bad
    with pytest.raises(MaskError, match=r"body.weight: 9 of 216 values are NaN or infinite; expected finite weights"):
        apply_masks_(net, case)
    assert not prune.is_pruned(net)


class StopError(Exception):
    """Raised in the middle of a masking."""


def test_a_failure_leaves_the_model_as_it_was(net: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the parameters are masked, some for the second time, when the method stops."""
    apply_masks_(net, MaskCase("l1_unstructured", 0.2, layers=("linear",)))
    apply_masks_(net, MaskCase("l1_unstructured", 0.2, layers=("linear",)))
    apply_masks_(net, MaskCase("l1_unstructured", 0.2, pattern="body.weight"))
    x = torch.randn(2, 3, 6, 6)
    output, before = net(x), state_of(net)

    def mask_half(self: RandomUnstructured, slots: Sequence[Slot]) -> None:
        for slot in slots:
            prune.random_unstructured(slot.module, slot.parameter, amount=0.9)
            if slot.name == "head.weight":
                raise StopError

    monkeypatch.setattr(RandomUnstructured, "mask_", mask_half)
    state = torch.get_rng_state()
    with pytest.raises(StopError):
        apply_masks_(net, MaskCase("random_unstructured", 0.5, layers=("all",)))
    assert str(state_of(net)) == str(before)
    for path, tables in state_of(net).items():
        for (name, now), (_, then) in zip(tables["parameters"], before[path]["parameters"], strict=True):
            assert now is then, name
    assert torch.equal(net(x), output)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_failure_leaves_a_recurrent_layer_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.LSTM(3, 4)
    x = torch.randn(2, 1, 3)
    output = model(x)[0]

    def mask_one(self: RandomUnstructured, slots: Sequence[Slot]) -> None:
        prune.random_unstructured(slots[0].module, slots[0].parameter, amount=0.9)
        raise StopError

    monkeypatch.setattr(RandomUnstructured, "mask_", mask_one)
    with pytest.raises(StopError):
        apply_masks_(model, MaskCase("random_unstructured", 0.5, pattern="weight_*"))
    assert torch.equal(model(x)[0], output)
    assert all(flat is parameter for flat, parameter in zip(model._flat_weights, model.parameters(), strict=True))


class Reader(nn.Module):
    """Reads a weight of its child, which only works while that is in place."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.inner.weight


def test_values_are_in_place_even_where_no_forward_recomputes_them() -> None:
    model = Reader()
    apply_masks_(model, MaskCase("ln_structured", 0.4, layers=("linear",)))
    assert int((model(torch.eye(3)) == 0).sum()) == 3


def test_the_state_before_with_and_after(net: nn.Module) -> None:
    before = masking_state(net)
    apply_masks_(net, MaskCase("l1_unstructured", 0.5, layers=("conv",)))
    apply_masks_(net, MaskCase("random_unstructured", 0.5, pattern="up.weight"))
    masked = masking_state(net)
    remove_masks_(net)
    after = masking_state(net)

    names = [tensor.name for tensor in before.tensors]
    assert sorted(names) == sorted(name for name, _ in net.named_parameters())
    assert [tensor.name for tensor in masked.tensors] == names
    assert [tensor.name for tensor in after.tensors] == names
    assert (before.num_live, before.num_zeros, before.live_sparsity) == (0, 0, 0.0)

    by_name = {tensor.name: tensor for tensor in masked.tensors}
    assert by_name["up.weight"].hook == "PruningContainer(L1Unstructured, RandomUnstructured)"
    assert by_name["up.weight"].keys == ("up.weight_orig", "up.weight_mask")
    assert by_name["up.weight"].sparsity == 0.75
    assert by_name["body.weight"].hook == "L1Unstructured"
    assert by_name["body.bias"].hook == ""
    assert masked.num_live == 3
    assert masked.live_params == 216 + 216 + 96
    assert masked.live_zeros == masked.num_zeros == 108 + 108 + 72
    assert masked.num_params == sum(parameter.numel() for parameter in net.parameters())

    assert (after.num_live, after.num_zeros) == (0, masked.num_zeros)
    assert json.loads(json.dumps(asdict(masked), allow_nan=False))["num_live"] == 3


def test_parameters_of_several_devices_are_refused_globally() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, device="meta"))
    with pytest.raises(MaskError, match=r"scope 'global': the parameters are on cpu, meta; expected all on one device"):
        _check_devices(model)


def _check_devices(model: nn.Module) -> None:
    """Only a GPU would reach this check through the front door; meta tensors are refused before."""
    from sapwood.masks.apply import _check_device
    from sapwood.masks.slots import find_slots

    _check_device(find_slots(model))
