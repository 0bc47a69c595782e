"""The traps that make a smaller network another network: attention's temperature, and norms that pool over channels."""

from __future__ import annotations

import copy
import dataclasses
import json

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapwood.errors import CheckFailedError
from sapwood.models import Plan, apply_plan
from sapwood.pipeline import Target, prune
from sapwood.removal import dense as removal_dense
from sapwood.removal import proof
from support.probes import PROBES, Net, conv, head, picture
from support.silencing import silenced

EXACT = 1e-12
"""Relative, in float64: a handful of layers, summed in another order."""


@torch.no_grad()
def distance(found: nn.Module, wanted: nn.Module, x: Tensor) -> float:
    one, other = (model.eval()(x.to(torch.float64)) for model in (found, wanted))
    return float((one - other).abs().max() / other.abs().max())


TEMPERED = ["attention_sdpa_default_scale", "one_key_for_all_queries"]
"""Those that take their scale from the width."""


@pytest.mark.parametrize("name", [*TEMPERED, "attention_fused", "attention_apart"])
def test_attention_keeps_its_temperature(name: str) -> None:
    model, x = PROBES[name]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0)  # scores that are all close to zero would hide their temperature
    pruned = prune(model, x, target=Target(sparsity=0.5))
    exact = copy.deepcopy(model).to(torch.float64)
    wanted = silenced(model, pruned.plan)
    assert distance(apply_plan(exact, pruned.plan), wanted, x) <= EXACT
    if pruned.plan.rescales:
        hotter = dataclasses.replace(pruned.plan, rescales=())
        assert distance(apply_plan(exact, hotter), wanted, x) > 1e-2
    else:
        assert name not in TEMPERED


def _kept(plan: Plan, name: str) -> Tensor:
    return torch.tensor(next(cut.kept for cut in plan.cuts if cut.tensor == name))


def layer_norm_by_hand(x: Tensor, norm: nn.LayerNorm, kept: Tensor) -> Tensor:
    x = x[..., kept]
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight[kept] + norm.bias[kept]


def rms_norm_by_hand(x: Tensor, norm: nn.RMSNorm, kept: Tensor) -> Tensor:
    x = x[..., kept]
    eps = torch.finfo(x.dtype).eps if norm.eps is None else norm.eps
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * norm.weight[kept]


def group_norm_by_hand(x: Tensor, norm: nn.GroupNorm, kept: Tensor) -> Tensor:
    width = norm.num_channels // norm.num_groups
    made = []
    for group in range(norm.num_groups):
        own = kept[kept // width == group]
        if len(own):
            part = x[:, own]
            centred = part - part.mean((1, 2, 3), keepdim=True)
            scaled = centred / (centred.square().mean((1, 2, 3), keepdim=True) + norm.eps).sqrt()
            made.append(scaled * norm.weight[own][:, None, None] + norm.bias[own][:, None, None])
    return torch.cat(made, 1)


def _vary(model: nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.uniform_(0.5, 1.5)


@pytest.mark.parametrize(("norm", "by_hand"), [(nn.LayerNorm, layer_norm_by_hand), (nn.RMSNorm, rms_norm_by_hand)])
def test_a_norm_over_the_last_dimension_is_taken_over_what_is_kept(norm, by_hand) -> None:
    model = nn.Sequential(nn.Linear(6, 16), norm(16), nn.Linear(16, 5))
    _vary(model)
    x = torch.randn(2, 7, 6, dtype=torch.float64)
    pruned = prune(model, x.float(), target=Target(sparsity=0.5))
    model.to(torch.float64)
    kept = _kept(pruned.plan, "1.weight")
    with torch.no_grad():
        wanted = F.linear(by_hand(model[0](x), model[1], kept), model[2].weight[:, kept], model[2].bias)
        found = apply_plan(model, pruned.plan)(x)
        dense = model(x)
    torch.testing.assert_close(found, wanted, rtol=0.0, atol=EXACT)
    assert pruned.verification.pooled_norms == ("1",)
    far = float((found - dense).abs().max() / dense.abs().max())
    assert pruned.verification.distance_from_dense == pytest.approx(far, rel=1e-4), "inputs and weights were float32"


@pytest.mark.parametrize("num_groups", [4, 8])
def test_a_group_norm_is_taken_over_what_is_kept(num_groups: int) -> None:
    """Of four groups each loses two of its four channels; of eight, four go whole and the others do not notice."""
    model = nn.Sequential(conv(3, 16), nn.GroupNorm(num_groups, 16), head(16))
    _vary(model)
    x = picture().to(torch.float64)
    pruned = prune(model, x.float(), target=Target(sparsity=0.5))
    assert pruned.model[1].num_groups == 4
    model.to(torch.float64)
    kept = _kept(pruned.plan, "1.weight")
    with torch.no_grad():
        wanted = F.conv2d(group_norm_by_hand(model[0](x), model[1], kept), model[2].weight[:, kept], model[2].bias)
        found = apply_plan(model, pruned.plan)(x)
    torch.testing.assert_close(found, wanted, rtol=0.0, atol=EXACT)
    assert pruned.verification.pooled_norms == (("1",) if num_groups == 4 else ())


def test_a_functional_norm_is_named_by_the_module_that_calls_it() -> None:
    class Normed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.layer_norm(x, x.shape[-1:])

    model = nn.Sequential(nn.Linear(6, 16), Normed(), nn.Linear(16, 5))
    pruned = prune(model, torch.randn(2, 6), target=Target(sparsity=0.5))
    assert pruned.verification.pooled_norms == ("1",)


def test_a_weight_standardised_by_batch_normalisation_is_named() -> None:
    """Its statistics are of what a layer reads (NFNet): of fewer channels they are others."""

    class Standardised(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            flat = self.weight.reshape(1, len(self.weight), -1)
            return F.conv2d(x, F.batch_norm(flat, None, None, training=True).view_as(self.weight), self.bias)

    model = nn.Sequential(Standardised(3, 16, 3), nn.ReLU(), Standardised(16, 20, 3), nn.ReLU(), nn.Conv2d(20, 4, 1))
    pruned = prune(model, picture(), target=Target(sparsity=0.5))
    assert pruned.model[2].weight.shape == (10, 8, 3, 3)
    assert pruned.verification.pooled_norms == ("2",)


def test_without_such_a_norm_none_is_named() -> None:
    def run(m, x):
        return m.head(m.norm(F.relu(m.bn(m.a(x)))))

    parts = {"a": conv(3, 16), "bn": nn.BatchNorm2d(16), "norm": nn.InstanceNorm2d(16, affine=True), "head": head(16)}
    pruned = prune(Net(run, **parts), picture(), target=Target(sparsity=0.5))
    assert pruned.verification.pooled_norms == ()


def test_the_distance_from_the_dense_model_is_zero_where_nothing_goes() -> None:
    model, x = PROBES["chain"]()
    assert prune(model, x, target=Target(sparsity=0.0)).verification.distance_from_dense == 0.0
    assert prune(model, x, target=Target(sparsity=0.5)).verification.distance_from_dense > 1e-3


def test_a_distance_that_cannot_be_told_is_none_and_can_be_saved() -> None:
    model, x = PROBES["chain"]()
    nn.init.zeros_(model[-1].weight)
    nn.init.zeros_(model[-1].bias)
    pruned = prune(model, x, target=Target(sparsity=0.5))
    assert pruned.verification.passed
    assert pruned.verification.distance_from_dense is None
    assert "null" in json.dumps(dataclasses.asdict(pruned.verification), allow_nan=False)


def test_outputs_that_do_not_follow_the_input_prove_nothing_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead ReLU makes every output the last bias: equal, whatever was cut. The proof has to look again."""
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    with torch.no_grad():
        model[2].bias.fill_(-1e3)
    inputs = torch.randn(1, 3, 8, 8)
    assert 0.0 < prune(model, inputs, target=Target(sparsity=0.5)).verification.max_abs_error < 1e-12

    def wrong(model: nn.Module, plan: Plan) -> nn.Module:
        compact = apply_plan(model, plan)
        with torch.no_grad():
            next(compact.parameters()).mul_(1.5)
        return compact

    for place in (proof, removal_dense):
        monkeypatch.setattr(place, "apply_plan", wrong)
    with pytest.raises(CheckFailedError, match="differs from the masked one"):
        prune(model, inputs, target=Target(sparsity=0.5))


def test_rows_are_bounded_by_the_norm_of_what_stays() -> None:
    """By hand: a table is cut, and its rows scaled to the norm that is allowed, over the channels that stay."""
    model, words = PROBES["words_of_bounded_norms"]()
    before = model.words.weight.detach().clone()
    pruned = prune(model, words, target=Target(sparsity=0.5))
    assert torch.equal(model.words.weight, before)
    table = before.double()[:, _kept(pruned.plan, "words.weight")]
    rows = table[words]
    scaled = rows * (2.0 / (rows.norm(dim=-1, keepdim=True) + 1e-7)).clamp(max=1.0)
    small = pruned.model.double()
    with torch.no_grad():
        wanted, found = small.head(F.relu(small.f(scaled))), small(words)
    assert float((found - wanted).abs().max() / wanted.abs().max()) <= EXACT
    assert pruned.verification.pooled_norms == ("words",)
    assert small.words.embedding_dim == table.shape[1] < 16
