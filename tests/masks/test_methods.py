"""The masks are those torch makes: each method against ``torch.nn.utils.prune`` called by hand."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from sapwood.masks import MaskCase, apply_masks_

CONVS = ("stem.0", "body", "up")
BNS = ("stem.1", "norm")
PAIRS = {
    "conv": [(path, "weight") for path in CONVS],
    "bn": [(path, name) for path in BNS for name in ("weight", "bias")],
    "linear": [("head", "weight")],
}

Apply = Callable[[nn.Module, str], object]

LOCAL: dict[str, tuple[MaskCase, Apply]] = {
    "l1": (
        MaskCase("l1_unstructured", 0.3, layers=("conv",)),
        lambda module, name: prune.l1_unstructured(module, name, amount=0.3),
    ),
    "random": (
        MaskCase("random_unstructured", 0.3, layers=("conv",), seed=5),
        lambda module, name: prune.random_unstructured(module, name, amount=0.3),
    ),
    "random structured, inputs": (
        MaskCase("random_structured", 0.4, layers=("conv",), seed=5, dim=1),
        lambda module, name: prune.random_structured(module, name, amount=0.4, dim=1),
    ),
} | {
    f"L{n}, dimension {dim}": (
        MaskCase("ln_structured", 0.4, layers=("conv",), n=n, dim=dim),
        lambda module, name, n=n, dim=dim: prune.ln_structured(module, name, amount=0.4, n=n, dim=dim),
    )
    for n in (1, 2, 0.5, math.inf, -math.inf)
    for dim in (0, 1, -1)
}


def masks(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: buffer for name, buffer in model.named_buffers() if name.endswith("_mask")}


def assert_same_masks(model: nn.Module, reference: nn.Module) -> None:
    ours, theirs = masks(model), masks(reference)
    assert ours.keys() == theirs.keys()
    assert len(ours) > 0
    for name, mask in theirs.items():
        assert torch.equal(ours[name], mask), name


@pytest.mark.parametrize("name", LOCAL)
def test_local_masks_are_those_of_torch(net: nn.Module, name: str) -> None:
    case, apply = LOCAL[name]
    reference = copy.deepcopy(net)
    apply_masks_(net, case)
    torch.manual_seed(case.seed)
    for path, parameter in PAIRS["conv"]:
        apply(reference.get_submodule(path), parameter)
    assert_same_masks(net, reference)
    hooks = [type(hook).__name__ for hook in net.get_submodule("body")._forward_pre_hooks.values()]
    assert hooks == [type(hook).__name__ for hook in reference.get_submodule("body")._forward_pre_hooks.values()]


@pytest.mark.parametrize("layers", [("conv",), ("conv", "bn"), ("bn",), ("linear",), ("all",)])
@pytest.mark.parametrize("method", ["l1_unstructured", "random_unstructured"])
@pytest.mark.parametrize("sparsity", [0.2, 0.5, 0.95])
def test_global_masks_are_those_of_torch(net: nn.Module, method: str, layers: tuple[str, ...], sparsity: float) -> None:
    reference = copy.deepcopy(net)
    record = apply_masks_(net, MaskCase(method, sparsity, scope="global", layers=layers, seed=3))
    pairs = [
        (reference.get_submodule(path), parameter)
        for path in ("stem.0", "stem.1", "body", "up", "norm", "head")
        for parameter in ("weight", "bias")
        if any((path, parameter) in PAIRS[kind] for kind in (PAIRS if layers == ("all",) else layers))
    ]
    torch.manual_seed(3)
    torch_method = prune.L1Unstructured if method == "l1_unstructured" else prune.RandomUnstructured
    prune.global_unstructured(pairs, pruning_method=torch_method, amount=sparsity)
    assert_same_masks(net, reference)
    size = sum(parameter.num_params for parameter in record.parameters)
    assert sum(parameter.num_masked for parameter in record.parameters) == round(sparsity * size)


@pytest.mark.parametrize("sparsity", [0.0, 0.125, 0.5, 0.7, 0.99])
@pytest.mark.parametrize("scope", ["local", "global"])
def test_equal_scores_still_give_the_exact_count(scope: str, sparsity: float) -> None:
    model = nn.Sequential(nn.Linear(10, 7, bias=False), nn.Linear(7, 3, bias=False))
    for layer in model:
        nn.init.ones_(layer.weight)
    record = apply_masks_(model, MaskCase("l1_unstructured", sparsity, scope=scope, layers=("linear",)))  # type: ignore[arg-type]
    counts = [parameter.num_masked for parameter in record.parameters]
    if scope == "local":
        assert counts == [round(70 * sparsity), round(21 * sparsity)]
    else:
        assert sum(counts) == round(91 * sparsity)


@pytest.mark.parametrize("method", ["ln_structured", "random_structured"])
@pytest.mark.parametrize(("sparsity", "num_left"), [(0.0, 4), (0.5, 2), (0.9, 1), (0.99, 1)])
def test_structured_methods_leave_one_slice(method: str, sparsity: float, num_left: int) -> None:
    """At 0.9 of 4 filters torch's rounding takes all 4."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False))
    nn.init.ones_(model[0].weight)
    record = apply_masks_(model, MaskCase(method, sparsity, layers=("conv",)))
    said = (f"0.weight: {sparsity} of 4 slices would be all; one stays",) if sparsity > 0.5 else ()
    assert record.notes == said
    assert model[0].weight_mask.flatten(1).any(dim=1).sum() == num_left
    assert model[0].weight_mask.sum() == num_left * 27


def test_a_second_mask_takes_its_fraction_of_what_is_left(net: nn.Module) -> None:
    case = MaskCase("l1_unstructured", 0.5, layers=("linear",))
    assert apply_masks_(net, case).sparsity == 0.5
    first = net.head.weight_mask.clone()
    assert apply_masks_(net, case).sparsity == 0.75
    assert torch.equal(net.head.weight_mask * first, net.head.weight_mask)
    assert [type(hook) for hook in net.head._forward_pre_hooks.values()] == [prune.PruningContainer]


def test_repeated_structured_masks_never_take_the_last_slice() -> None:
    model = nn.Sequential(nn.Linear(3, 4))
    case = MaskCase("ln_structured", 0.7, layers=("linear",))
    kept = []
    for _ in range(3):
        apply_masks_(model, case)
        kept.append(int(model[0].weight_mask.any(dim=1).sum()))
    assert kept == [1, 1, 1]


def test_no_slice_left_is_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    prune.custom_from_mask(model[0], "weight", torch.zeros(4, 3))
    record = apply_masks_(model, MaskCase("ln_structured", 0.5, layers=("linear",)))
    assert record.skipped == ("0.weight: its live mask has left no slice along dimension 0",)
    assert [parameter.name for parameter in record.parameters] == ["1.weight"]


def test_a_parameter_without_the_dimension_is_skipped(net: nn.Module) -> None:
    record = apply_masks_(net, MaskCase("ln_structured", 0.5, layers=("conv", "linear"), dim=2))
    assert record.skipped == ("head.weight: it has no dimension 2: its shape is (5, 4)",)
    assert [parameter.name for parameter in record.parameters] == ["stem.0.weight", "body.weight", "up.weight"]


def test_structured_over_all_skips_what_has_no_slices(net: nn.Module) -> None:
    record = apply_masks_(net, MaskCase("random_structured", 0.5, layers=("all",)))
    assert [parameter.name for parameter in record.parameters] == [
        "stem.0.weight",
        "body.weight",
        "up.weight",
        "head.weight",
    ]
    assert len(record.skipped) == 4
    assert (
        record.skipped[0]
        == "stem.1.weight: its shape is (8,); structured methods remove slices of at least 2 dimensions"
    )


def test_channels_last_weights_are_refused_by_unstructured_methods_only(net: nn.Module) -> None:
    net.body.to(memory_format=torch.channels_last)
    record = apply_masks_(net, MaskCase("l1_unstructured", 0.5, layers=("conv",)))
    assert record.skipped == (
        "body.weight: not contiguous in memory (channels_last?), which torch's unstructured methods cannot mask",
    )
    assert apply_masks_(net, MaskCase("ln_structured", 0.5, pattern="body.weight")).sparsity == 0.5
