"""Which layers become two, and that the network computes the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sapwood.errors import ConfigError
from sapwood.factoring import TwoLayers, in_two_layers, with_fewer
from sapwood.models import AttributeEdit, Cut, Factored, Plan

X = torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(1))


class Net(nn.Module):
    """A convolution whose results vary in few directions, one whose vary in all, and what cannot be two."""

    def __init__(self) -> None:
        super().__init__()
        self.low = nn.Conv2d(8, 32, 3, padding=1)
        self.low.weight.data = torch.einsum("or,rikl->oikl", torch.randn(32, 3), torch.randn(3, 8, 3, 3))
        self.full = nn.Conv2d(32, 24, 1)
        self.grouped = nn.Conv2d(24, 24, 3, groups=24, padding=1)
        self.attended = nn.MultiheadAttention(24, 2, batch_first=True)
        self.tied = nn.Linear(24, 24)
        self.other = nn.Linear(24, 24)
        self.other.weight = self.tied.weight
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.grouped(torch.relu(self.full(torch.relu(self.low(x))))).flatten(2).transpose(1, 2)
        x = self.attended(x, x, x)[0]
        return self.head(self.other(torch.relu(self.tied(x))))  # type: ignore[no-any-return]


def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


def runs(model: nn.Module) -> None:
    for seed in range(4):
        model(torch.randn(4, 8, 6, 6, generator=torch.Generator().manual_seed(seed)))


def test_the_layer_of_few_directions_is_two_and_the_outputs_are_the_same() -> None:
    model = net()
    found = in_two_layers(model, X, 0.8, runs)
    assert list(found.layers) == ["low"]
    assert found.layers["low"] == 32
    assert found.verification.passed
    assert found.verification.max_abs_error < 1e-12
    assert torch.allclose(found.model(X), model(X), atol=1e-5)


def test_what_cannot_be_two_is_named() -> None:
    refused = in_two_layers(net(), X, 0.8, runs).refused
    assert refused["grouped"] == "it has groups"
    assert refused["attended.out_proj"] == "it is a NonDynamicallyQuantizableLinear"
    assert refused["tied"] == refused["other"] == "its weight is shared"
    assert "low" not in refused


def test_what_stays_whole_stays_one() -> None:
    found = in_two_layers(net(), X, 0.5, runs, ignore={"low.weight[0]": "as asked", "head.bias": "as asked, too"})
    assert found.refused["low"] == "as asked"
    assert found.refused["head"] == "as asked, too"
    assert found.layers
    assert not {"low", "head"} & set(found.layers)


def test_a_layer_whose_code_reads_more_of_it_stays_one() -> None:
    class Reads(Net):
        def forward(self, x: Tensor) -> Tensor:
            assert isinstance(self.low._parameters["weight"], Tensor)
            return super().forward(x)

    torch.manual_seed(0)
    with pytest.raises(ConfigError, match="does not run with layers that are two: KeyError"):
        in_two_layers(Reads().eval(), X, 0.8, runs)


def test_of_several_only_the_one_that_fails_stays() -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = (nn.Conv2d(8, 32, 3, padding=1) for _ in range(2))
            for conv in (self.one, self.two):
                conv.weight.data = torch.einsum("or,rikl->oikl", torch.randn(32, 3), torch.randn(3, 8, 3, 3))

        def forward(self, x: Tensor) -> Tensor:
            assert self.two._parameters["weight"].dim() == 4
            return torch.relu(self.one(x)) + torch.relu(self.two(x))

    found = in_two_layers(Reads().eval(), X, 0.5, runs)
    assert list(found.layers) == ["one"]
    assert found.refused == {"two": "the model's code does not run with two in its place"}


def test_layers_of_other_kinds_are_named() -> None:
    """What multiplies by a weight and is no plain layer; what looks one up or scales by one is not meant."""

    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.look, self.norm = nn.Embedding(9, 16), nn.LayerNorm((4, 16))
            self.attend, self.recur = nn.MultiheadAttention(16, 2, batch_first=True), nn.GRU(16, 16, batch_first=True)
            self.wide, self.up = nn.Linear(16, 64), nn.ConvTranspose1d(64, 8, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(self.look(x))
            x = self.recur(self.attend(x, x, x)[0])[0]
            return self.up(self.wide(x).transpose(1, 2))  # type: ignore[no-any-return]

    torch.manual_seed(0)
    model = Mixed().eval()
    model.wide.weight.data = torch.randn(64, 2) @ torch.randn(2, 16)
    found = in_two_layers(model, torch.randint(9, (2, 4)), 0.5)
    assert list(found.layers) == ["wide"]
    assert found.refused == {
        "attend": "it is a MultiheadAttention",
        "attend.out_proj": "it is a NonDynamicallyQuantizableLinear",
        "recur": "it is a GRU",
        "up": "it is a ConvTranspose1d",
    }


def test_a_layer_that_is_the_model_has_no_place_for_two() -> None:
    with pytest.raises(ConfigError, match=r"no layer can be two .the model: it stands in no other module"):
        in_two_layers(nn.Linear(64, 64), torch.randn(2, 64), 0.5)


def test_layers_become_one_again() -> None:
    model = net()
    found = in_two_layers(model, X, 0.8, runs)
    again = with_fewer(found, model, X, ["low"])
    assert again.layers == {}
    assert torch.equal(again.model(X), model(X))
    assert found.called_in(again, "low.0.weight[0]") is None
    assert found.called_in(again, "low.1.weight[0]") == "low.weight[0]"
    assert found.called_in(again, "full.weight[0]") == "full.weight[0]"


def test_names_of_tensors_follow() -> None:
    found = in_two_layers(net(), X, 0.8, runs)
    assert found.renamed("low.weight[0]") == "low.1.weight[0]"
    assert found.renamed("head.bias") == "head.bias"
    assert found.called_in(found, "low.0.weight[0]") == "low.0.weight[0]"


def joined(network: TwoLayers, *cuts: Cut, attributes: Any = ()) -> Plan:
    return network.joined(Plan(cuts=cuts, attributes=attributes))


def test_channels_between_two_layers_are_a_rank_in_the_plan() -> None:
    network = in_two_layers(net(), X, 0.8, runs)
    few = (0, 1, 2)
    inner = [Cut("low.0.weight", 0, 32, few), Cut("low.0.bias", 0, 32, few), Cut("low.1.weight", 1, 32, few)]
    outer = [Cut("low.1.weight", 0, 32, (0, 5)), Cut("full.weight", 1, 32, (0, 5)), Cut("low.0.weight", 1, 8, (0, 1))]
    edits = (
        AttributeEdit("low.0", "out_channels", 32, 3),
        AttributeEdit("low.1", "in_channels", 32, 3),
        AttributeEdit("full", "in_channels", 32, 2),
    )
    plan = joined(network, *inner, *outer, attributes=edits)
    assert plan.factored == (Factored("low", 3),)
    assert plan.cuts == tuple(outer)
    assert plan.attributes == edits[2:]
    assert joined(network).factored == (Factored("low", 32),)


def test_two_that_take_as_much_as_one_are_found() -> None:
    network = in_two_layers(net(), X, 0.8, runs)
    assert network.takes_no_less(network.model) == ["low"]


def test_less_is_asked_of_more_layers() -> None:
    model = net()
    with pytest.raises(ConfigError, match="expected a network with wide convolutions"):
        in_two_layers(model, X, 1.0, ignore=["*"])
    assert len(in_two_layers(model, X, 0.1, runs).layers) >= len(in_two_layers(model, X, 0.8, runs).layers)
