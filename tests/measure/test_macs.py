"""Multiply-accumulates against numbers worked out by hand."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import prune

from sapwood.masks import MaskCase, apply_masks_
from sapwood.measure import count_macs, weight_uses
from sapwood.ops.facts import FACTS, Sum, note
from sapwood.ops.free import is_free
from sapwood.types import ExampleInputs

aten = torch.ops.aten


class Run(nn.Module):
    """Any function as a model."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


def picture(channels: int, height: int, width: int, batch: int = 1) -> Tensor:
    return torch.randn(batch, channels, height, width)


HAND_COUNTED: dict[str, tuple[nn.Module, ExampleInputs, int]] = {
    "convolution": (nn.Conv2d(3, 8, 3), picture(3, 10, 12), 8 * 10 * 8 * 27),
    "stride and padding": (nn.Conv2d(4, 6, 3, stride=2, padding=1), picture(4, 9, 8), 5 * 4 * 6 * 4 * 9),
    "batch": (nn.Conv2d(4, 6, 1), picture(4, 5, 5, batch=3), 3 * 25 * 24),
    "groups": (nn.Conv2d(8, 12, 3, groups=4, padding=1), picture(8, 5, 5), 25 * 12 * 2 * 9),
    "depthwise": (nn.Conv2d(8, 8, 3, groups=8, padding=1), picture(8, 5, 5), 25 * 8 * 9),
    "dilation": (nn.Conv2d(2, 3, 3, dilation=2), picture(2, 9, 9), 25 * 3 * 2 * 9),
    "one dimension": (nn.Conv1d(3, 5, 4), torch.randn(2, 3, 10), 2 * 7 * 5 * 3 * 4),
    "three dimensions": (nn.Conv3d(2, 3, 2), torch.randn(1, 2, 4, 4, 4), 27 * 3 * 2 * 8),
    "transposed convolution": (nn.ConvTranspose2d(6, 4, 3, stride=2), picture(6, 5, 7), 5 * 7 * 6 * 4 * 9),
    "transposed, groups": (nn.ConvTranspose2d(6, 4, 2, groups=2), picture(6, 5, 5), 25 * 6 * 2 * 4),
    "linear": (nn.Linear(7, 5), torch.randn(3, 7), 3 * 35),
    "linear over a sequence": (nn.Linear(7, 5, bias=False), torch.randn(2, 4, 7), 8 * 35),
    "linear of one vector": (nn.Linear(7, 5), torch.randn(7), 35),
    "matrix products": (Run(lambda a, b: a @ b), (torch.randn(2, 3, 4), torch.randn(2, 4, 5)), 2 * 3 * 4 * 5),
    "matrix times vector": (Run(lambda a, b: a @ b), (torch.randn(3, 4), torch.randn(4)), 12),
    "inner product": (Run(torch.dot), (torch.randn(9), torch.randn(9)), 9),
    "sum of products": (
        Run(torch.addbmm),
        (torch.randn(3, 5), torch.randn(2, 3, 4), torch.randn(2, 4, 5)),
        2 * 3 * 4 * 5,
    ),
    "einsum": (Run(lambda a, b: torch.einsum("bij,bkj->bik", a, b)), (torch.randn(2, 3, 4), torch.randn(2, 5, 4)), 120),
    "attention": (
        Run(functional.scaled_dot_product_attention),
        tuple(torch.randn(2, 3, length, 8) for length in (5, 7, 7)),
        2 * 3 * 5 * 7 * (8 + 8),
    ),
    "multi-head attention": (
        nn.MultiheadAttention(8, 2, batch_first=True),
        (torch.ones(1, 5, 8), torch.ones(1, 5, 8), torch.ones(1, 5, 8)),
        3 * 5 * 64 + 2 * 2 * 5 * 5 * 4 + 5 * 64,
    ),
    "transformer layer": (
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
        torch.randn(1, 5, 8),
        4 * 5 * 64 + 2 * 2 * 5 * 5 * 4 + 2 * 5 * 8 * 16,
    ),
    "lstm": (nn.LSTM(5, 7, num_layers=2), torch.randn(3, 2, 5), 3 * 2 * 4 * 7 * ((5 + 7) + (7 + 7))),
    "gru, both ways": (nn.GRU(5, 7, bidirectional=True), torch.randn(3, 2, 5), 2 * 3 * 2 * 3 * 7 * (5 + 7)),
    "nothing": (nn.Sequential(nn.BatchNorm2d(3), nn.SiLU(), nn.MaxPool2d(2), nn.Softmax(1)), picture(3, 4, 4), 0),
    "keywords": (nn.Linear(7, 5), {"input": torch.randn(3, 7)}, 105),
}


@pytest.mark.parametrize("name", HAND_COUNTED)
def test_by_hand(name: str) -> None:
    model, inputs, expected = HAND_COUNTED[name]
    count = count_macs(model, inputs)
    assert count.total == expected
    assert count.uncounted == ()


def zeroed(weight: Tensor, num_zeros: int) -> None:
    """Makes the first elements of a weight zero and the others not."""
    with torch.no_grad():
        weight.fill_(1.0)
        weight.view(-1)[:num_zeros] = 0.0


@pytest.mark.parametrize(
    ("model", "inputs", "weight", "num_zeros"),
    [
        (nn.Conv2d(3, 8, 3), picture(3, 10, 12), "weight", 54),
        (nn.ConvTranspose2d(6, 4, 3, stride=2), picture(6, 5, 7), "weight", 54),
        (nn.Linear(7, 5), torch.randn(2, 3, 7), "weight", 7),
        (nn.Linear(7, 5), torch.randn(7), "weight", 7),
        (nn.LSTM(8, 8), torch.randn(3, 2, 8), "weight_ih_l0", 64),
    ],
)
def test_zeros_in_weights(model: nn.Module, inputs: Tensor, weight: str, num_zeros: int) -> None:
    for name, parameter in model.named_parameters():
        if name.startswith("weight"):
            zeroed(parameter, 0)
    dense = count_macs(model, inputs)
    parameter = getattr(model, weight)
    zeroed(parameter, num_zeros)
    count = count_macs(model, inputs)
    share = dense.total // (2 if isinstance(model, nn.LSTM) else 1)
    assert dense.nonzero_macs == dense.total == count.total
    assert count.nonzero_macs == dense.total - share * num_zeros // parameter.numel()


class Halves(nn.Module):
    """Uses both halves of one parameter apart, and multiplies activations too."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 6))

    def forward(self, x: Tensor) -> Tensor:
        first = x @ self.weight[:2].t()
        second = x @ self.weight[2:].t()
        return first @ second.t()


def test_views_of_a_weight_count_their_own_zeros() -> None:
    model = Halves()
    prune.custom_from_mask(model, "weight", torch.tensor([[0.0] * 6, [1.0] * 6, [1.0] * 6, [1.0] * 6]))
    count = count_macs(model, torch.zeros(3, 6))
    assert count.total == 2 * 3 * 6 * 2 + 3 * 2 * 3
    assert count.nonzero_macs == 3 * 6 + 3 * 6 * 2 + 3 * 2 * 3


def test_modules_by_path() -> None:
    model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()), nn.Conv2d(4, 2, 1), nn.Flatten())
    assert count_macs(model, picture(3, 5, 5)).per_module == {"0": 300, "0.0": 300, "1": 200}


def test_live_masks() -> None:
    model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Flatten(), nn.Linear(8, 4))
    apply_masks_(model, MaskCase("l1_unstructured", 0.75, layers=("conv", "linear")))
    count = count_macs(model, picture(4, 3, 3))
    assert (count.total, count.nonzero_macs) == (288 + 32, 72 + 8)
    assert count.per_module == {"0": 288, "2": 32}
    copied = copy.deepcopy(model)
    assert prune.is_pruned(copied)


def test_the_model_and_the_caller_stay_as_they_were() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(4, 2)).train()
    model[0].eval()
    recurrent = nn.LSTM(3, 3)
    before, inputs = copy.deepcopy(model.state_dict()), picture(3, 3, 3)
    torch_state, python_state = torch.get_rng_state(), random.getstate()
    fast_path, onednn = torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled()
    count_macs(model, inputs)
    count_macs(recurrent, torch.zeros(1, 1, 3))
    assert [module.training for module in model] == [False, True, True, True, True]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.is_grad_enabled()
    assert random.getstate() == python_state
    assert (torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled()) == (fast_path, onednn)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_random_numbers_drawn_by_the_model_are_given_back() -> None:
    state = torch.get_rng_state()
    count_macs(Run(lambda x: x + torch.rand_like(x)), torch.zeros(3))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_model_that_fails_leaves_nothing_behind() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(4, 4)).train()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        count_macs(model, torch.zeros(2, 3))
    assert model.training
    assert count_macs(nn.Linear(3, 3), torch.zeros(3)).total == 9


def test_operators_without_a_formula_are_named() -> None:
    model = nn.Sequential(nn.Linear(4, 4), Run(lambda x: functional.bilinear(x, x, torch.ones(2, 4, 4))))
    count = count_macs(model, torch.randn(3, 4))
    assert count.total == 48
    assert count.uncounted == ("aten::_trilinear (1 call): no formula",)


def test_what_asks_for_gradients_is_counted_and_asks_again() -> None:
    layer = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3, bias=False))
    layer.parametrizations["weight"].original0.requires_grad_(False)
    inputs = torch.rand(1, 3, 8, 8, requires_grad=True)
    assert count_macs(nn.Sequential(layer), inputs).total == 4 * 3 * 3 * 3 * 6 * 6
    assert [parameter.requires_grad for parameter in layer.parameters()] == [False, True]
    assert inputs.requires_grad


def test_custom_operators_are_named() -> None:
    library = torch.library.Library("sapwood_test", "FRAGMENT")
    library.define("mix(Tensor x) -> Tensor")
    library.impl("mix", lambda x: x.mm(x).mm(x), "CompositeExplicitAutograd")
    count = count_macs(Run(lambda x: torch.ops.sapwood_test.mix(torch.ops.sapwood_test.mix(x))), torch.eye(3))
    assert count.uncounted == ("sapwood_test::mix (2 calls): no formula",)
    library._destroy()


def test_the_work_of_a_product_that_only_a_rule_declares() -> None:
    library = torch.library.Library("sapwood_test", "DEF")
    library.define("scaled_linear(Tensor scale, Tensor x, Tensor weight) -> Tensor")
    library.impl("scaled_linear", lambda scale, x, weight: scale * (x @ weight.t()), "CPU")
    note("sapwood_test.scaled_linear", sum=Sum("product", 1, 2, turned=True))
    try:
        run = Run(torch.ops.sapwood_test.scaled_linear)
        count = count_macs(run, (torch.ones(()), torch.randn(7, 3), torch.randn(5, 3)))
        assert (count.total, count.uncounted) == (7 * 3 * 5, ())
    finally:
        del FACTS["sapwood_test.scaled_linear"]
        library._destroy()


@pytest.mark.parametrize(
    ("operator", "free"),
    [
        (aten.relu_.default, True),
        (aten.view.default, True),
        (aten.native_batch_norm.default, True),
        (aten.zero_.default, True),
        (aten.mm.default, False),
        (aten.convolution.default, False),
        (aten._fft_r2c.default, False),
        (aten.linalg_solve_triangular.default, False),
        (torch.ops.higher_order.cond, False),
    ],
)
def test_what_is_free(operator: object, free: bool) -> None:
    assert is_free(operator) is free


ACTIVATIONS = """CELU ELU GELU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid Mish RReLU ReLU ReLU6 SELU
SiLU Sigmoid Softplus Softshrink Softsign Tanh Tanhshrink""".split()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_free_in_every_pytorch(name: str) -> None:
    count = count_macs(getattr(nn, name)(), torch.rand(2, 3))
    assert (count.total, count.uncounted) == (0, ())


def test_every_operator_of_common_networks_is_known() -> None:
    import torchvision

    for name, size in (("mobilenet_v3_small", 64), ("shufflenet_v2_x0_5", 64)):
        count = count_macs(torchvision.models.get_model(name, weights=None), picture(3, size, size))
        assert count.uncounted == (), name
        assert count.total > 10**6
        assert json.loads(json.dumps(asdict(count)))["total"] == count.total


class _Uses(nn.Module):
    """A grouped convolution twice, a layer of 3 rows, a parameter of its own, and one that nothing multiplies with."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.rows = nn.Linear(4, 5)
        self.own = nn.Parameter(torch.ones(5, 2))
        self.table = nn.Embedding(3, 4)

    def forward(self, maps: Tensor) -> Tensor:
        found = self.twice(self.twice(maps))
        rows = found.mean(dim=3).transpose(1, 2)[:, :3]
        return self.rows(rows) @ self.own


def test_uses_are_products_of_each_weight() -> None:
    uses = weight_uses(_Uses(), torch.zeros(1, 4, 6, 7))
    assert uses["twice.weight"] == 2 * 6 * 7
    assert (uses["rows.weight"], uses["own"], uses["table.weight"]) == (3.0, 3.0, 1.0)


def test_uses_of_masked_and_of_shared_weights() -> None:
    model = nn.Sequential(nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1, stride=2))
    model[1].weight = model[0].weight
    wanted = weight_uses(model, torch.zeros(1, 2, 6, 6))
    assert wanted["0.weight"] == wanted["1.weight"] == 36 + 9
    alone = nn.Sequential(nn.Conv2d(2, 2, 1))
    _ = apply_masks_(alone, MaskCase("l1_unstructured", 0.5, layers=("conv",)))
    assert weight_uses(alone, torch.zeros(1, 2, 6, 6))["0.weight"] == 36.0
