"""The central test: a pruned model equals the masked one in float64, for many ways of tying channels together."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from sapwood.errors import ConfigError
from sapwood.graph import output_tensors
from sapwood.pipeline import PROOF_TOLERANCE, Target, prune
from support.probes import PROBES

REFUSED = {
    "cut_to_one_channel": "the halves of a half of four channels are one channel each",
    "group_norm_across_halves": "three norm groups and two halves cut six channels in ways that do not match",
    "index_select_permutation": "an index given by a tensor is read by position",
}
"""Probes of which the tied part stays whole, with a reason in ``unpruned``; all others must shrink."""


def num_params(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_list_of_probes_is_complete() -> None:
    assert len(PROBES) == 129
    assert set(REFUSED) <= set(PROBES)


@pytest.mark.parametrize("name", sorted(PROBES))
def test_probe(name: str) -> None:
    model, inputs = PROBES[name]()
    model.eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    pruned = prune(model, inputs, target=Target(sparsity=0.5))
    assert pruned.verification.passed
    assert pruned.verification.max_abs_error <= PROOF_TOLERANCE
    share = num_params(pruned.model) / num_params(model)
    if name in REFUSED:
        assert any("in module" in entry.reason for entry in pruned.unpruned)
    else:
        assert share < 0.8
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert type(pruned.model) is type(model)


@pytest.mark.parametrize("sparsity", [0.3, 0.75])
@pytest.mark.parametrize("name", sorted(PROBES))
def test_probe_with_any_choice_of_channels(name: str, sparsity: float) -> None:
    """Norms are close to each other in a fresh network; scores at random spread what goes over all positions."""
    model, inputs = PROBES[name]()
    pruned = prune(model.eval(), inputs, target=Target(sparsity=sparsity), criterion="random")
    assert pruned.verification.passed
    assert num_params(pruned.model) < num_params(model) or name in REFUSED


@pytest.mark.parametrize("name", ["residual", "grouped_conv", "attention_fused", "lstm", "frozen_parameters"])
def test_a_pruned_model_trains_a_step(name: str) -> None:
    model, inputs = PROBES[name]()
    frozen = {key for key, parameter in model.named_parameters() if not parameter.requires_grad}
    small = prune(model, inputs, target=Target(sparsity=0.5)).model.train()
    assert {key for key, parameter in small.named_parameters() if not parameter.requires_grad} == frozen
    optimizer = torch.optim.SGD([p for p in small.parameters() if p.requires_grad], lr=0.1)
    before = [parameter.detach().clone() for parameter in small.parameters() if parameter.requires_grad]
    sum(output.square().sum() for output in output_tensors(small(inputs))).backward()
    optimizer.step()
    after = [parameter for parameter in small.parameters() if parameter.requires_grad]
    assert any(not torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_attention_keeps_its_temperature() -> None:
    model, inputs = PROBES["attention_sdpa_default_scale"]()
    pruned = prune(model, inputs, target=Target(sparsity=0.5))
    assert [rescale.tensor for rescale in pruned.plan.rescales] == 2 * ["qkv.weight", "qkv.bias"], "query and key"
    assert pruned.plan.rescales[0].rows == tuple(range(32)), "the query's rows, and no others"
    assert pruned.plan.rescales[0].factor * pruned.plan.rescales[2].factor == pytest.approx(0.5**0.5)


def test_the_mode_and_the_hooks_stay() -> None:
    model, inputs = PROBES["chain"]()
    model.train()
    calls = []
    model[0].register_forward_hook(lambda *_: calls.append(1))
    small = prune(model, inputs, target=Target(sparsity=0.25)).model
    assert model.training
    assert small.training
    assert not calls or len(model[0]._forward_hooks) == 1


def test_ignored_layers_stay_whole_with_the_reason_given() -> None:
    model, inputs = PROBES["chain"]()
    pruned = prune(model, inputs, target=Target(sparsity=0.5), ignore={"0.weight[0]": "asked for"})
    assert pruned.model[0].weight.shape == (16, 3, 3, 3)
    assert pruned.model[3].weight.shape == (12, 16, 3, 3)
    assert ("0.weight", 0, "asked for") in [(u.tensor, u.dim, u.reason) for u in pruned.unpruned]


def test_zero_sparsity_removes_nothing() -> None:
    model, inputs = PROBES["chain"]()
    pruned = prune(model, inputs, target=Target(sparsity=0.0))
    assert pruned.plan.cuts == ()
    assert copy.deepcopy(model).eval()(inputs).equal(pruned.model.eval()(inputs))


@pytest.mark.parametrize("sparsity", [1.0, -0.1, float("nan")])
def test_a_sparsity_out_of_range_is_refused(sparsity: float) -> None:
    with pytest.raises(ConfigError, match=r"sparsity .*; expected a number in \[0, 1\)"):
        Target(sparsity=sparsity)


class Loudest(nn.Module):
    """Returns the position of the loudest channel, which pruning must not renumber."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).max(dim=1)[1]


def test_positions_of_a_maximum_that_are_used_stay() -> None:
    pruned = prune(Loudest(), torch.randn(1, 3, 8, 8), target=Target(sparsity=0.5))
    assert pruned.model.conv.weight.shape == (16, 3, 3, 3)
    assert any("aten.max" in entry.reason for entry in pruned.unpruned)
