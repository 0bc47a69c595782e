from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from sapwood.errors import MaskError
from sapwood.masks import MaskCase, Selection, apply_masks_, remove_masks_, select_targets


def names(selection: Selection) -> list[str]:
    return [target.slot.name for target in selection.targets]


@pytest.mark.parametrize(
    ("layers", "pattern", "expected"),
    [
        (("conv",), None, ["stem.0.weight", "body.weight", "up.weight"]),
        (("bn",), None, ["stem.1.weight", "stem.1.bias", "norm.weight", "norm.bias"]),
        (("linear",), None, ["head.weight"]),
        (("conv", "linear"), "*e*.*", ["stem.0.weight", "head.weight"]),
        (("all",), "*.bias", ["stem.1.bias", "norm.bias"]),
        ((), "*.bias", ["stem.1.bias", "body.bias", "up.bias", "norm.bias", "head.bias"]),
        ((), "body.*", ["body.weight", "body.bias"]),
    ],
)
def test_what_is_selected(net: nn.Module, layers: tuple[str, ...], pattern: str | None, expected: list[str]) -> None:
    selection = select_targets(net, layers, pattern)
    assert names(selection) == expected
    assert selection.skipped == ()


def test_masked_parameters_keep_their_names_and_places(net: nn.Module) -> None:
    before = names(select_targets(net, ("all",)))
    apply_masks_(net, MaskCase("l1_unstructured", 0.5, layers=("bn", "linear")))
    assert names(select_targets(net, ("all",))) == before


def test_nothing_of_that_kind() -> None:
    with pytest.raises(MaskError, match=r"layers bn, linear: no parameter of Conv2d fits; it has 1 conv, 1 other"):
        select_targets(nn.Conv2d(1, 1, 1), ("bn", "linear"))


def test_a_pattern_that_fits_nothing_names_the_nearest(net: nn.Module) -> None:
    message = (
        r"layers conv and pattern 'bodi.weight': no parameter of SmallNet fits; "
        r"it has 3 conv, 4 bn, 1 linear, 3 other; the nearest names are body.weight"
    )
    with pytest.raises(MaskError, match=message):
        select_targets(net, ("conv",), "bodi.weight")


def test_a_model_without_parameters() -> None:
    with pytest.raises(MaskError, match=r"layers conv: no parameter of ReLU fits; it has none"):
        select_targets(nn.ReLU(), ("conv",))


def test_a_module_that_stands_twice_is_masked_once() -> None:
    layer = nn.Linear(4, 4)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    assert names(select_targets(model, ("linear",))) == ["0.weight"]


class Tied(nn.Module):
    """An embedding and a decoder with one weight, as language models have it."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(6, 4)
        self.decoder = nn.Linear(4, 6, bias=False)
        self.decoder.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.decoder(self.embedding(tokens))


@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("method", ["l1_unstructured", "random_unstructured"])
def test_a_shared_parameter_gets_one_mask_everywhere(method: str, scope: str) -> None:
    model = Tied()
    record = apply_masks_(model, MaskCase(method, 0.5, scope=scope, layers=("linear",)))  # type: ignore[arg-type]
    assert torch.equal(model.decoder.weight_mask, model.embedding.weight_mask)
    assert [(p.name, p.num_params, p.num_masked) for p in record.parameters] == [("decoder.weight", 24, 12)]
    assert record.notes == ("decoder.weight: shared with embedding.weight, masked there too",)
    masked = model(torch.arange(6))
    remove_masks_(model)
    assert model.decoder.weight is model.embedding.weight
    assert torch.equal(model(torch.arange(6)), masked)


def test_shared_parameters_with_different_masks_are_refused() -> None:
    model = Tied()
    prune.l1_unstructured(model.embedding, "weight", amount=0.5)
    with pytest.raises(MaskError, match=r"decoder.weight: shared with embedding.weight, and their live masks differ"):
        apply_masks_(model, MaskCase("l1_unstructured", 0.5, layers=("linear",)))


def old_weight_norm() -> nn.Module:
    with pytest.warns(FutureWarning, match="weight_norm"):
        return torch.nn.utils.weight_norm(nn.Linear(3, 3))


def linear_without_outputs() -> nn.Module:
    layer = nn.Linear(3, 1)
    layer.weight = nn.Parameter(torch.zeros(0, 3))
    return layer


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: parametrizations.weight_norm(nn.Linear(3, 3)), "computed by torch.nn.utils.parametrize; remove"),
        (lambda: torch.nn.utils.spectral_norm(nn.Linear(3, 3)), "computed from other tensors before each forward"),
        (old_weight_norm, "computed from other tensors before each forward"),
        (lambda: nn.LazyLinear(3), "not initialised yet; run the model once"),
        (lambda: nn.Linear(3, 3, device="meta"), "on the meta device, without values"),
        (lambda: nn.MultiheadAttention(4, 2), "read by its MultiheadAttention without calling the layer"),
        (linear_without_outputs, "it has no elements"),
    ],
)
def test_what_cannot_be_masked_is_refused_with_a_reason(make: object, reason: str) -> None:
    model = nn.Sequential(make())  # type: ignore[operator]
    with pytest.raises(
        MaskError, match=f"none of the selected parameters can be masked by l1_unstructured: 0.*{reason}"
    ):
        apply_masks_(model, MaskCase("l1_unstructured", 0.5, layers=("linear",)))
    model.append(nn.Linear(3, 3))
    record = apply_masks_(model, MaskCase("l1_unstructured", 0.5, layers=("linear",)))
    assert [parameter.name for parameter in record.parameters] == ["1.weight"]
    assert reason in record.skipped[0]


@pytest.mark.parametrize(
    ("module", "pattern", "reason"),
    [
        (nn.ParameterList([torch.ones(3)]), "0.0", "held by a ParameterList, which has no forward"),
        (nn.ParameterDict({"scale": torch.ones(3)}), "0.scale", "held by a ParameterDict, which has no forward"),
        (parametrizations.weight_norm(nn.Linear(3, 3)), "*.original0", "belongs to a torch.nn.utils.parametrize"),
        (torch.nn.utils.spectral_norm(nn.Linear(3, 3)), "0.weight_orig", "its layer computes a weight before each"),
    ],
)
def test_a_pattern_reaches_these_and_is_told_why_not(module: nn.Module, pattern: str, reason: str) -> None:
    selection = select_targets(nn.Sequential(module), (), pattern)
    assert selection.targets == ()
    assert reason in selection.skipped[0]


def test_integer_parameters_are_refused() -> None:
    layer = nn.Linear(2, 2)
    layer.weight = nn.Parameter(torch.ones(2, 2, dtype=torch.int8), requires_grad=False)
    assert select_targets(layer, ("linear",)).skipped == ("weight: its values are int8, not floating point",)


def test_a_recurrent_layer_follows_its_masks() -> None:
    model = nn.LSTM(4, 5)
    record = apply_masks_(model, MaskCase("l1_unstructured", 0.5, pattern="weight_*"))
    assert [parameter.name for parameter in record.parameters] == ["weight_ih_l0", "weight_hh_l0"]
    dense = nn.LSTM(4, 5)
    dense.load_state_dict(
        {
            name: (getattr(model, f"{name}_orig") * getattr(model, f"{name}_mask") if "weight" in name else parameter)
            for name, parameter in [(n, getattr(model, n)) for n in dense.state_dict()]
        }
    )
    x = torch.randn(3, 2, 4)
    assert torch.equal(model(x)[0], dense(x)[0])
