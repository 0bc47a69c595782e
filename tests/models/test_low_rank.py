"""A layer as two: exact with all channels between, the best product of its rank with few."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import sapwood
from sapwood.errors import ConfigError, ShapeError
from sapwood.models import LowRank, Plan, apply_plan, framework_of, own_basis
from sapwood.models.low_rank import Basis, in_directions
from sapwood.models.plan import Factored
from sapwood.models.plan_json import plan_from_dict, plan_to_dict

LAYERS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "linear": (nn.Linear(6, 8), (3, 6)),
    "linear of tokens, without bias": (nn.Linear(6, 8, bias=False), (2, 5, 6)),
    "convolution": (nn.Conv2d(4, 6, 3, stride=2, padding=1), (2, 4, 9, 9)),
    "dilated, reflected": (nn.Conv2d(4, 6, 3, dilation=2, padding=2, padding_mode="reflect"), (2, 4, 9, 9)),
    "of one dimension": (nn.Conv1d(4, 6, 5, padding="same"), (2, 4, 9)),
    "of three": (nn.Conv3d(2, 6, 2, bias=False), (1, 2, 4, 4, 4)),
}


def basis_of(width: int) -> Basis:
    drawn = torch.linalg.qr(torch.randn(width, width, dtype=torch.float64))[0]
    gain = torch.rand(width, dtype=torch.float64) + 0.5
    return Basis(drawn.T * gain, drawn / gain[:, None], torch.randn(width, dtype=torch.float64))


@pytest.mark.parametrize("name", LAYERS)
def test_two_layers_do_what_one_did(name: str) -> None:
    torch.manual_seed(0)
    layer, shape = LAYERS[name]
    layer = layer.double()
    x = torch.randn(*shape, dtype=torch.float64)
    pair = LowRank(*in_directions(layer, basis_of(len(layer.weight))))
    assert torch.allclose(pair(x), layer(x), rtol=1e-12, atol=1e-12)
    assert torch.allclose(pair.weight, layer.weight, rtol=1e-12, atol=1e-12)


def test_what_code_reads_of_the_layer_is_answered() -> None:
    layer = nn.Conv2d(4, 6, 3, stride=2, padding=1)
    pair = LowRank(*in_directions(layer, basis_of(6)))
    for name in ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"):
        assert getattr(pair, name) == getattr(layer, name)
    with pytest.raises(AttributeError, match="nothing"):
        pair.nothing  # noqa: B018


def test_types_modes_and_frozen_weights_stay() -> None:
    layer = nn.Linear(4, 4).to(torch.bfloat16).requires_grad_(False).eval()
    pair = in_directions(layer, basis_of(4))
    assert {one.dtype for half in pair for one in half.parameters()} == {torch.bfloat16}
    assert not any(one.requires_grad for half in pair for one in half.parameters())
    assert not any(half.training for half in pair)


def test_a_plan_makes_the_best_product_of_its_rank() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 10), nn.ReLU()).double()
    small = sapwood.apply_plan(model, Plan(factored=(Factored("0", 3),)))
    values = torch.linalg.svdvals(model[0].weight.detach())
    left = torch.linalg.matrix_norm(model[0].weight - small[0].weight)
    assert left.item() == pytest.approx(values[3:].square().sum().sqrt().item())
    assert small[0][0].weight.shape == (3, 12)


def test_a_shared_module_is_two_in_both_places() -> None:
    layer = nn.Linear(4, 4)
    small = sapwood.apply_plan(nn.Sequential(layer, nn.ReLU(), layer), Plan(factored=(Factored("0", 2),)))
    assert small[0] is small[2]


def test_the_plan_goes_through_json() -> None:
    plan = Plan(factored=(Factored("layers.3", 5),))
    assert plan_from_dict(plan_to_dict(plan)) == plan
    assert "factored" not in plan_to_dict(Plan())


@pytest.mark.parametrize(
    ("name", "reason"),
    [("3", "no such module"), ("1", "came a ReLU"), ("2", "came a Conv2d")],
)
def test_what_cannot_be_two_is_named(name: str, reason: str) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Conv2d(4, 4, 1, groups=2))
    with pytest.raises(ShapeError, match=f"makes two layers of {name}.*{reason}"):
        sapwood.apply_plan(model, Plan(factored=(Factored(name, 2),)))


def test_own_directions_are_those_of_the_largest_singular_values() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(9, 5).double()
    basis = own_basis(layer)
    norms = torch.linalg.vector_norm(basis.down @ layer.weight, dim=1)
    assert torch.allclose(norms, torch.linalg.svdvals(layer.weight))


def test_a_framework_whose_files_have_no_word_for_it_says_so() -> None:
    class Described(type(framework_of(nn.Linear(1, 1)))):  # type: ignore[misc]
        title, describes = "Some", True

    with pytest.raises(ConfigError, match="files of Some have no word for a layer that is two"):
        Described().in_two_layers(nn.Linear(2, 2), {})


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")
def test_torchscript_takes_it() -> None:
    layer = LowRank(nn.Linear(8, 2), nn.Linear(2, 6))
    x = torch.randn(3, 8)
    assert torch.equal(torch.jit.script(layer)(x), layer(x))


def test_a_plan_of_a_wider_layer_is_refused() -> None:
    plan = Plan(factored=(Factored("0", 9),))
    with pytest.raises(ShapeError, match="9 channels between two layers of 0, which has only 8 itself"):
        apply_plan(nn.Sequential(nn.Linear(16, 8)), plan)
