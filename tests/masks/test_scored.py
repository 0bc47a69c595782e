from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from sapwood.errors import ConfigError, MaskError
from sapwood.masks import BUDGETS, MaskCase, apply_masks_, remove_masks_


def sizes(net: nn.Module) -> int:
    return sum(m.weight.numel() for m in net.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)))


def scored(sparsity: float | None = 0.5, **fields: Any) -> MaskCase:
    return MaskCase("scored", sparsity, **({"layers": ("conv", "linear")} | fields))


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.9])
def test_the_count_is_exact(net: nn.Module, budget: str, sparsity: float) -> None:
    total = sizes(net)
    uses = {name: float(len(name)) for name, _ in net.named_parameters()}
    record = apply_masks_(net, scored(sparsity, budget=budget), uses=uses)
    assert sum(parameter.num_masked for parameter in record.parameters) == int(total * sparsity + 0.5)
    assert net(torch.rand(2, 3, 8, 8)).isfinite().all()


def test_one_threshold_of_magnitudes_is_torch_s(net: nn.Module) -> None:
    weights = [(m, "weight") for m in net.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear))]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    apply_masks_(net, scored(0.6, budget="global"))
    ours = {name: value for name, value in net.state_dict().items() if name.endswith("_mask")}
    remove_masks_(net)
    net.load_state_dict(before)
    prune.global_unstructured(weights, prune.L1Unstructured, amount=0.6)
    theirs = net.state_dict()
    assert len(ours) == 4
    assert all(torch.equal(mask, theirs[name]) for name, mask in ours.items())


def test_keys_and_hooks_are_torch_s() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 1, bias=False))
    apply_masks_(model, scored(None, blocks="2:4"))
    assert list(model.state_dict()) == ["0.weight_orig", "0.weight_mask"]
    assert isinstance(next(iter(model[0]._forward_pre_hooks.values())), prune.CustomFromMask)
    assert remove_masks_(model) == ("0.weight",)


def test_two_of_four_in_every_window_and_what_does_not_divide_is_listed(net: nn.Module) -> None:
    record = apply_masks_(net, scored(None, blocks="2:4"))
    assert record.case.sparsity == 0.5
    assert record.skipped == ("stem.0.weight: a row has 27 weights, no multiple of 4",)
    assert [parameter.name for parameter in record.parameters] == ["body.weight", "up.weight", "head.weight"]
    for parameter in record.parameters:
        mask = net.get_buffer(f"{parameter.name}_mask")
        assert (mask.flatten(1).reshape(-1, 4).sum(dim=1) == 2).all()


def test_blocks_hold_in_the_model(net: nn.Module) -> None:
    record = apply_masks_(net, scored(0.5, layers=("conv",), blocks="2x1", budget="lamp"))
    assert record.skipped == ()
    for parameter in record.parameters:
        mask = net.get_buffer(f"{parameter.name}_mask").flatten(1)
        assert torch.equal(mask[0::2], mask[1::2])


def test_a_pattern_that_fits_nothing(net: nn.Module) -> None:
    message = (
        r"none of the selected parameters can be masked by scored: stem.0.weight: a row has 27 weights, "
        r"no multiple of 64 \(and 3 more\)"
    )
    with pytest.raises(MaskError, match=message):
        apply_masks_(net, scored(None, blocks="1:64"))


def test_scores_of_another_criterion_decide() -> None:
    model = nn.Sequential(nn.Linear(4, 2, bias=False))
    scores = torch.tensor([[-5.0, 1.0, 2.0, 3.0], [4.0, -1.0, 0.0, 9.0]])
    case = scored(0.5, budget="global", criterion="fisher")
    apply_masks_(model, case, scores={"0.weight": scores, "1.weight": torch.ones(3)})
    assert model[0].weight_mask.tolist() == [[0, 0, 1, 1], [1, 0, 0, 1]]


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (None, r"criterion 'fisher': no scores were given; expected scores= with a tensor a parameter, or criterion"),
        ({}, r"0.weight: no scores were given for it; expected a tensor for every selected parameter"),
        ({"0.weight": torch.ones(4, 2)}, r"0.weight: its scores have the shape \(4, 2\); expected \(2, 4\)"),
        ({"0.weight": torch.full((2, 4), torch.nan)}, r"0.weight: 8 of 8 scores are NaN or infinite; expected finite"),
    ],
)
def test_bad_scores_are_named_and_the_model_is_as_before(scores: Any, message: str) -> None:
    model = nn.Sequential(nn.Linear(4, 2, bias=False))
    with pytest.raises(MaskError, match=message):
        apply_masks_(model, scored(criterion="fisher"), scores=scores)
    assert list(model.state_dict()) == ["0.weight"]


def test_scores_for_a_method_that_reads_none(net: nn.Module) -> None:
    with pytest.raises(ConfigError, match=r"scores: given to l1_unstructured, which chooses for itself"):
        apply_masks_(net, MaskCase("l1_unstructured", 0.5, layers=("conv",)), scores={})


def test_a_live_mask_is_not_masked_again() -> None:
    model = nn.Sequential(nn.Linear(4, 2, bias=False), nn.Linear(2, 2, bias=False))
    prune.l1_unstructured(model[0], "weight", 0.5)
    record = apply_masks_(model, scored(0.5))
    assert record.skipped == ("0.weight: it has a live mask; make that permanent first (remove)",)


def test_shared_parameters_get_one_mask() -> None:
    first, second = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
    second.weight = first.weight
    record = apply_masks_(nn.Sequential(first, second), scored(0.5))
    assert len(record.parameters) == 1
    assert torch.equal(first.weight_mask, second.weight_mask)


def test_numbers_that_are_given_are_kept() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 1, bias=False), nn.Conv2d(4, 2, 1, bias=False))
    case = MaskCase("scored", 0.5, layers=("conv",))
    weights = [module.weight.detach().abs() for module in model]
    record = apply_masks_(model, case, kept={"0.weight": 3, "1.weight": 8})
    assert [parameter.num_masked for parameter in record.parameters] == [5, 0]
    kept = model[0].weight_mask.bool()
    assert float(weights[0][kept].min()) >= float(weights[0][~kept].max())
    assert record.notes == ("how many weights each parameter keeps was given, not found by the budget",)


def test_units_are_what_is_counted() -> None:
    model = nn.Conv2d(4, 4, 1, bias=False)
    record = apply_masks_(model, MaskCase("scored", 0.5, layers=("conv",), blocks="2x1"), kept={"weight": 3})
    assert record.parameters[0].num_masked == 16 - 2 * 3


@pytest.mark.parametrize("kept", [{}, {"weight": 0}, {"weight": 9}])
def test_numbers_that_do_not_fit_are_named(kept: dict[str, int]) -> None:
    model = nn.Conv2d(2, 4, 1, bias=False)
    with pytest.raises(
        MaskError, match=rf"weight: kept is {kept.get('weight')}; expected a number from 1 to its 8 units"
    ):
        apply_masks_(model, MaskCase("scored", 0.5, layers=("conv",)), kept=kept)
    assert list(model.state_dict()) == ["weight"]


def test_only_scored_takes_numbers() -> None:
    with pytest.raises(ConfigError, match="kept: given to l1_unstructured, which chooses for itself"):
        apply_masks_(nn.Conv2d(2, 4, 1), MaskCase("l1_unstructured", 0.5, layers=("conv",)), kept={"weight": 3})


def test_layers_that_are_used_more_often_keep_less() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3))
    uses = {"0.weight": 10000.0, "1.weight": 1.0}
    found = {}
    for budget in ("lamp", "lamp_macs"):
        record = apply_masks_(copy.deepcopy(model), MaskCase("scored", 0.5, layers=("conv",), budget=budget), uses=uses)
        found[budget] = [one.num_params - one.num_masked for one in record.parameters]
        assert sum(found[budget]) == (216 + 576) // 2
    assert found["lamp_macs"][0] < found["lamp"][0] / 2


@pytest.mark.parametrize("uses", [{}, {"weight": 0}, {"weight": float("inf")}, {"weight": True}])
def test_uses_that_do_not_fit_are_named(uses: dict[str, float]) -> None:
    model = nn.Conv2d(2, 4, 1)
    with pytest.raises(MaskError, match=r"weight: uses is .*; expected a number above 0 for every selected parameter"):
        apply_masks_(model, MaskCase("scored", 0.5, layers=("conv",), budget="lamp_macs"), uses=uses)
    with pytest.raises(ConfigError, match=r"uses: given to l1_unstructured, which chooses for itself"):
        apply_masks_(model, MaskCase("l1_unstructured", 0.5, layers=("conv",)), uses=uses)
