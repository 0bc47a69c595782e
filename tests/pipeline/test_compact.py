"""The central test: a compacted model equals the masked one in float64, on inputs that compact did not see."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune

import sapwood
from sapwood.compaction import compacting
from sapwood.errors import CheckFailedError, ConfigError
from sapwood.graph import call_model, output_tensors
from sapwood.models import apply_plan, copy_model, load_model
from sapwood.pipeline import PROOF_TOLERANCE, Compacted, compact
from sapwood.removal import as_float64
from support.cfgs import BRANCHED
from support.probes import PROBES, Attention, Net, conv, head, picture

ROUNDING = 1e-12
"""Relative, in float64: sums of a few hundred terms in another order."""


def run(model: nn.Module, inputs: Any) -> list[Tensor]:
    with torch.no_grad():
        return output_tensors(call_model(copy_model(model).eval(), inputs))


def fresh(inputs: Any) -> Any:
    """Inputs that compact did not see: its own are made from another seed."""
    return torch.utils._pytree.tree_map(
        lambda leaf: torch.randn_like(leaf) if leaf.dtype.is_floating_point else leaf.flip(-1), inputs
    )


def error(found: list[Tensor], wanted: list[Tensor]) -> float:
    scale = max(float(part.abs().max()) for part in wanted)
    return max(float((one - other).abs().max()) for one, other in zip(found, wanted, strict=True)) / (scale or 1.0)


def num_params(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def checked(model: nn.Module, inputs: Any, **options: Any) -> Compacted:
    """Compacts a float64 copy of ``model`` and compares it with the masked model on other inputs."""
    model, inputs = copy_model(model).double(), as_float64(inputs)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    small = compact(model, inputs, **options)
    assert list(model.state_dict()) == list(before)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert type(small.model) is type(model)
    assert small.verification.passed
    if options.get("exact", True):
        others = fresh(inputs)
        assert error(run(small.model, others), run(model, others)) <= ROUNDING
        assert small.verification.max_abs_error <= PROOF_TOLERANCE
    return small


def zero_filters(layer: nn.Module, *indices: int, bias: bool = False) -> None:
    with torch.no_grad():
        layer.weight[list(indices)] = 0
        if bias:
            layer.bias[list(indices)] = 0


def lively(model: nn.Module) -> nn.Module:
    """BatchNorms as training leaves them, so that a zeroed filter emits something."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model


# Constants and where they go


def emitting(size: int = 1, **options: Any) -> nn.Sequential:
    """A layer of which filters 0 and 1 are zero but still emit a constant, and a reader without padding."""
    model = nn.Sequential(conv(3, 6), nn.BatchNorm2d(6), nn.LeakyReLU(), nn.Conv2d(6, 4, size, **options))
    zero_filters(lively(model)[0], 0, 1)
    return model


@pytest.mark.parametrize("size", [1, 3])
def test_the_constant_of_a_zeroed_filter_is_folded_and_dropping_it_would_be_wrong(size: int) -> None:
    model, inputs = emitting(size).double().eval(), picture().double()
    small = checked(model, inputs)
    assert small.model[0].weight.shape == (4, 3, 3, 3)
    assert small.model[3].weight.shape == (4, 4, size, size)
    assert [shift.tensor for shift in small.plan.shifts] == ["3.bias"]
    dropped = apply_plan(model, sapwood.models.Plan(small.plan.cuts, small.plan.attributes))
    assert error(run(dropped, inputs), run(model, inputs)) > 0.01
    assert error(run(small.model, inputs), run(model, inputs)) < ROUNDING


def test_the_folded_constant_is_the_one_computed_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Conv2d(2, 1, 1))
    with torch.no_grad():
        model[0].weight[:] = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1)
        model[0].bias[:] = torch.tensor([3.0, 0.5])
        model[2].weight[:] = torch.tensor([5.0, 7.0]).reshape(1, 2, 1, 1)
        model[2].bias[:] = 1.0
    small = checked(model, torch.randn(1, 1, 4, 4))
    assert small.plan.shifts == (sapwood.models.Shift("2.bias", (15.0,)),)
    assert small.model[2].bias.item() == 16.0


def test_a_reader_without_a_bias_gets_one_with_its_own_channels_cut() -> None:
    model = nn.Sequential(conv(3, 6), nn.ReLU(), nn.Conv2d(6, 8, 3, bias=False), nn.ReLU(), head(8))
    zero_filters(model[0], 0, 1)
    with torch.no_grad():
        model[0].bias[:2] = 1.0
        model[4].weight[:, :3] = 0
    small = checked(model, picture())
    assert small.model[2].bias.shape == (5,)
    assert small.model[2].weight.shape == (5, 4, 3, 3)


def test_a_bias_that_is_made_is_frozen_with_its_weight() -> None:
    model = emitting(bias=False)
    model[3].weight.requires_grad_(False)
    assert not checked(model, picture()).model[3].bias.requires_grad


@pytest.mark.parametrize("rank", [2, 3])
def test_a_linear_layer_without_a_bias_gets_one(rank: int) -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5, bias=False), nn.ReLU(), nn.Linear(5, 2))
    zero_filters(model[0], 0, 2, 5)
    small = checked(model, torch.randn(*[4] * (rank - 1), 6))
    assert small.model[2].bias.shape == (5,)


def test_a_batch_norm_behind_a_reader_without_bias_takes_the_constant() -> None:
    """Darknet's files have no place for the bias of a convolution in front of a BatchNorm."""
    parts = [nn.Conv2d(6, 8, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), head(8)]
    model = nn.Sequential(*emitting()[:3], *parts)
    small = checked(lively(model), picture())
    assert [shift.tensor for shift in small.plan.shifts] == ["4.running_mean"]
    assert small.model[3].bias is None


def test_a_transposed_convolution_without_overlap_takes_the_constant() -> None:
    model = nn.Sequential(conv(3, 6), nn.ReLU(), nn.ConvTranspose2d(6, 4, 1), head(4))
    zero_filters(model[0], 0, 1)
    assert checked(model, picture()).model[2].weight.shape == (4, 4, 1, 1)


def test_grouped_convolutions_take_constants_group_by_group() -> None:
    model = nn.Sequential(conv(3, 8), nn.ReLU(), nn.Conv2d(8, 6, 1, groups=2), head(6))
    zero_filters(model[0], 0, 4)
    small = checked(model, picture())
    assert small.model[2].weight.shape == (6, 3, 1, 1)
    assert small.model[0].weight.shape[0] == 6


def test_a_functional_product_has_no_place_for_a_constant() -> None:
    model = Net(lambda m, x: F.relu(m.a(x)) @ m.w, a=nn.Linear(6, 16), w=nn.Parameter(torch.randn(16, 5)))
    zero_filters(model.a, 0, 1)
    with torch.no_grad():
        model.a.bias[:2] = torch.tensor([1.0, -1.0])
    small = checked(model, torch.randn(2, 6))
    assert small.model.a.weight.shape == (15, 6), "ReLU of -1 is 0, which needs no place"
    assert [(k.tensor, k.indices) for k in small.unpruned] == [("a.weight", (0,))]
    assert "belongs to no layer that could take a bias" in small.unpruned[0].reason


# Zero padding


def test_of_constants_that_meet_zero_padding_one_channel_carries_all() -> None:
    small = checked(emitting(3, padding=1), picture())
    assert small.model[0].weight.shape[0] == 5, "six filters, two of them dead, one of these carries both"
    (merge,) = small.plan.merges
    assert (merge.tensor, merge.dim, {merge.into, *merge.sources}) == ("3.weight", 1, {0, 1})
    (kept,) = small.unpruned
    assert str(kept).startswith("0.weight[0]: 1 dead channel stays: it carries the constants of all others, which")
    assert kept.indices == (merge.into,)


def test_one_channel_carries_for_all_that_read_it() -> None:
    model = Net(
        lambda m, x: m.head(m.left(y := F.relu(m.first(x))) + m.right(y)),
        first=conv(3, 8),
        left=nn.Conv2d(8, 6, 3, padding=1),
        right=nn.Conv2d(8, 6, 5, padding=2),
        head=head(6),
    )
    zero_filters(model.first, 0, 2, 4)
    with torch.no_grad():
        model.first.bias.abs_()
    small = checked(model, picture())
    assert small.model.first.weight.shape[0] == 6
    assert len({merge.into for merge in small.plan.merges}) == 1


def test_a_transposed_convolution_takes_carriers_too() -> None:
    model = nn.Sequential(conv(3, 8), nn.ReLU(), nn.ConvTranspose2d(8, 6, 3, padding=1), head(6))
    zero_filters(model[0], 0, 2, 4)
    with torch.no_grad():
        model[0].bias.abs_()
    assert checked(model, picture()).model[0].weight.shape[0] == 6


def test_a_shared_weight_carries_nothing() -> None:
    model = Net(
        lambda m, x: m.head(m.twice(F.relu(m.twice(F.relu(m.first(x)))))),
        first=conv(3, 8),
        twice=nn.Conv2d(8, 8, 3, padding=1),
        head=head(8),
    )
    zero_filters(model.first, 0, 2, 4)
    with torch.no_grad():
        model.first.bias.abs_()
    assert checked(model, picture()).plan.merges == ()


def test_a_constant_that_meets_zero_padding_can_be_folded_with_the_error_reported() -> None:
    model = emitting(3, padding=1).double().eval()
    inputs = picture(size=16).double()
    small = checked(model, inputs, exact=False)
    assert small.model[0].weight.shape[0] == 4
    assert small.unpruned == ()
    difference = (run(small.model, inputs)[0] - run(model, inputs)[0]).abs()
    assert difference[..., 1:-1, 1:-1].max() < ROUNDING, "inside, the fold is exact"
    assert small.verification.max_abs_error >= error(run(small.model, inputs), run(model, inputs)) > 1e-3


def test_a_channel_of_zeros_meets_padding_without_harm() -> None:
    model = emitting(3, padding=1)
    with torch.no_grad():
        model[1].weight[:2] = 0
        model[1].bias[:2] = 0
    small = checked(model, picture())
    assert small.model[3].weight.shape == (4, 4, 3, 3)
    assert small.plan.shifts == ()


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_that_repeats_the_map_is_harmless(mode: str) -> None:
    assert checked(emitting(3, padding=1, padding_mode=mode), picture()).model[0].weight.shape[0] == 4


@pytest.mark.parametrize(
    ("between", "goes"),
    [
        (nn.MaxPool2d(3, 1, padding=1), True),
        (nn.AvgPool2d(3, 1, padding=1, count_include_pad=False), True),
        (nn.AvgPool2d(3, 1, padding=1, count_include_pad=True), False),
        (nn.Upsample(scale_factor=2), True),
        (nn.Upsample(scale_factor=2, mode="bilinear"), True),
        (nn.ZeroPad2d(1), False),
        (nn.ConstantPad2d((0, 1, 0, 1), float("-inf")), False),
        (nn.AdaptiveAvgPool2d(1), True),
        (nn.Dropout(), True),
        (nn.PixelUnshuffle(2), True),
    ],
    ids=str,
)
def test_constants_pass_pooling_and_resampling(between: nn.Module, goes: bool) -> None:
    factor = 4 if isinstance(between, nn.PixelUnshuffle) else 1
    tail = (
        [nn.MaxPool2d(2, 1)] if isinstance(between, nn.ConstantPad2d) and not isinstance(between, nn.ZeroPad2d) else []
    )
    model = nn.Sequential(*emitting()[:3], between, *tail, nn.Conv2d(6 * factor, 4, 1))
    small = checked(model, picture())
    goes = goes or bool(tail)  # minus infinity never wins
    assert small.model[0].weight.shape[0] == (4 if goes else 6)


# What hangs on a dead channel


def test_channels_that_nothing_reads_go_with_all_that_only_they_need() -> None:
    model = nn.Sequential(conv(3, 6), nn.ReLU(), conv(6, 8), nn.ReLU(), head(8))
    with torch.no_grad():
        model[4].weight[:, 2:] = 0  # all but two channels of [2] are read by nobody
        model[2].weight[:2, 3:] = 0  # and these two read three channels of [0]
    small = checked(model, picture())
    assert small.model[2].weight.shape == (2, 3, 3, 3)
    assert small.model[0].weight.shape == (3, 3, 3, 3)


def test_a_residual_sum_goes_where_all_its_parts_are_constant() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        x = m.stem(x)
        return m.head(F.relu(x + m.b(F.relu(m.a(x)))))

    model = Net(forward, stem=conv(3, 6), a=conv(6, 4, 1), b=conv(4, 6, 1), head=head(6))
    zero_filters(model.stem, 0, 1)
    zero_filters(model.b, 1, 2)
    small = checked(model, picture())
    assert [cut.kept for cut in small.plan.cuts if cut.tensor == "stem.weight"] == [(0, 2, 3, 4, 5)]
    reasons = {(kept.tensor, kept.indices): kept.reason for kept in small.unpruned}
    assert reasons["stem.weight", (0,)] == "they share their channels with values that are read"


def test_depthwise_filters_go_with_their_inputs() -> None:
    model = nn.Sequential(conv(3, 6), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=6), nn.ReLU(), head(6))
    zero_filters(model[0], 0)
    zero_filters(model[2], 3)
    small = checked(model, picture())
    assert small.model[0].weight.shape[0] == small.model[2].weight.shape[0] == small.model[2].groups == 4


def test_a_gate_that_is_zero_kills_what_it_multiplies() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        x = m.a(x)
        return m.head(x * F.relu(m.up(F.relu(m.down(x.mean((2, 3), keepdim=True))))))

    model = Net(forward, a=conv(3, 8), down=conv(8, 4, 1), up=conv(4, 8, 1), head=head(8))
    zero_filters(model.up, 0, 1, bias=True)
    with torch.no_grad():
        model.down.weight[:, :2] = 0
    small = checked(model, picture())
    assert small.model.a.weight.shape[0] == 6


def test_both_inputs_of_a_bilinear_layer_are_read() -> None:
    """What the second of them alone has is in no output, and was taken for read by nobody."""
    torch.manual_seed(0)
    parts = {"a": nn.Linear(8, 12), "b": nn.Linear(8, 10), "c": nn.Bilinear(12, 10, 16), "d": nn.Linear(16, 2)}
    model = Net(lambda m, x: m.d(m.c(m.a(x).relu(), m.b(x).relu()).relu()), **parts).eval()
    x = torch.randn(32, 8)
    assert compact(model, x).plan.cuts == ()
    prune.ln_structured(model.d, "weight", 0.5, n=2, dim=1)
    small = compact(model, x)
    assert {(cut.tensor, cut.dim): len(cut.kept) for cut in small.plan.cuts} == {
        ("c.weight", 0): 8, ("c.bias", 0): 8, ("d.weight", 1): 8,
    }  # fmt: skip


def test_concatenation_and_slices() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        x = F.relu(m.a(x))
        return m.head(torch.cat([F.relu(m.b(x[:, m.cut :])), x], 1))

    model = Net(forward, a=conv(3, 8), b=nn.Conv2d(4, 6, 1), head=head(14), cut=4)
    zero_filters(model.a, 1, 5)
    zero_filters(model.b, 0)
    small = checked(model, picture())
    assert small.model.a.weight.shape[0] == 6
    assert small.model.b.weight.shape == (5, 3, 1, 1)
    assert small.model.head.weight.shape[1] == 11
    assert small.model.cut == 3


def test_a_place_in_the_code_moves_by_what_goes_before_it() -> None:
    model = Net(lambda m, x: m.head(F.relu(m.a(x))[:, m.start : m.stop]), a=conv(3, 16), head=head(8), start=8, stop=16)
    zero_filters(model.a, 8, 9, 12, 15)
    small = checked(model, picture())
    assert small.model.start == 1, "the first half is read by nobody"
    assert small.model.a.weight.shape[0] == 5
    model.side = conv(8, 5, 1)
    model.run = lambda m, x: m.side(F.relu(m.a(x))[:, : m.start]) + m.head(F.relu(m.a(x))[:, m.start : m.stop])
    zero_filters(model.a, 2)
    small = checked(model, picture())
    assert small.model.start == 7
    assert small.model.a.weight.shape[0] == 11


def test_parts_that_are_cut_equally_lose_equal_numbers() -> None:
    model, inputs = PROBES["chunk_both_used"]()
    zero_filters(model.a, 0, 1, 2, 9, bias=True)
    small = checked(model, inputs)
    assert small.model.a.weight.shape[0] == 14
    assert any("cut into equal parts" in kept.reason for kept in small.unpruned)


def test_a_whole_head_of_attention_goes() -> None:
    attention = Attention(24, 3, fused=False)
    with torch.no_grad():
        attention.out.weight[:, :8] = 0  # nothing reads head 0
    small = checked(nn.Sequential(nn.Linear(6, 24), attention, nn.Linear(24, 5)), torch.randn(2, 7, 6))
    assert small.model[1].q.weight.shape == small.model[1].v.weight.shape == (16, 24)
    assert small.model[1].num_heads == 2


def test_the_temperature_stays_when_widths_of_fused_attention_go() -> None:
    model, inputs = PROBES["attention_sdpa_default_scale"]()
    with torch.no_grad():
        for start in (0, 32):
            model.qkv.weight[start + 3 : start + 32 : 16] = model.qkv.bias[start + 3 : start + 32 : 16] = 0
        model.out.weight[:, 3::16] = 0
    small = checked(model, inputs)
    assert small.model.qkv.weight.shape[0] == 90
    assert small.plan.rescales


def test_norms_over_channels_keep_their_channels() -> None:
    model, inputs = PROBES["layer_norm_channels_first"]()
    zero_filters(model.a, 0, 1, bias=True)
    small = checked(model, inputs)
    assert small.plan.cuts == ()
    assert any("combined with others by aten.native_layer_norm" in kept.reason for kept in small.unpruned)


def test_a_weight_used_twice_folds_where_both_uses_agree() -> None:
    def forward(m: Net, x: Tensor, y: Tensor) -> Tensor:
        return m.head(torch.cat([m.b(F.relu(m.a(x))), m.b(F.relu(m.a(y)))], 1))

    model = Net(forward, a=conv(3, 6), b=nn.Conv2d(6, 4, 3), head=head(8))
    zero_filters(model.a, 0, 1)
    small = checked(model, (picture(), picture()))
    assert small.model.b.weight.shape == (4, 4, 3, 3)


def test_a_weight_used_twice_stays_where_its_uses_disagree() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        return m.head(m.b(F.relu(m.a(x))) + m.b(F.relu(m.c(x))))

    model = Net(forward, a=conv(3, 6), b=nn.Conv2d(6, 4, 1), c=conv(3, 6), head=head(4))
    zero_filters(model.a, 0, 1)
    zero_filters(model.c, 0, 1)
    with torch.no_grad():
        model.a.bias[:2] = torch.tensor([1.0, 2.0])
        model.c.bias[:2] = torch.tensor([1.0, 3.0])
    small = checked(model, picture())
    assert small.model.b.weight.shape == (4, 5, 1, 1)
    assert any("two uses of its bias want different constants" in kept.reason for kept in small.unpruned)


# Every way of tying channels together


def zero_half(model: nn.Module, pattern: str) -> None:
    for parameter in model.parameters():
        size = parameter.shape[1] if pattern == "columns" and parameter.dim() > 1 else parameter.shape[0]
        chosen = torch.randperm(size, generator=torch.Generator().manual_seed(size))[: size // 2]
        with torch.no_grad():
            if pattern == "columns" and parameter.dim() > 1 and size > 1:
                parameter[:, chosen] = 0
            elif pattern == "all" or (pattern == "rows" and parameter.dim() > 1):
                parameter[chosen] = 0


DIRECTIONS = {"weight_norm", "weight_norms_in_a_chain"}
"""Probes whose rows are divided by their norms."""


@pytest.mark.parametrize("pattern", ["rows", "all", "columns"])
@pytest.mark.parametrize("name", sorted(PROBES))
def test_probe(name: str, pattern: str) -> None:
    model, inputs = PROBES[name]()
    zero_half(lively(model), pattern)
    if name in DIRECTIONS and pattern != "columns":
        pytest.skip("a direction of length zero has no norm")
    checked(model, inputs)


@pytest.mark.parametrize("pattern", ["all", "columns"])
def test_most_probes_shrink(pattern: str) -> None:
    shares = []
    for name in sorted(set(PROBES) - DIRECTIONS):
        model, inputs = PROBES[name]()
        zero_half(model, pattern)
        shares.append(num_params(compact(model, inputs).model) / num_params(model))
    assert sum(share < 0.8 for share in shares) > len(shares) / 2


@st.composite
def networks(draw: st.DrawFn) -> nn.Module:
    """Small chains of convolutions with zeroed filters, channels nobody reads, and all that may stand between."""
    torch.manual_seed(draw(st.integers(0, 10_000)))
    parts: list[nn.Module] = []
    width = 3
    for _ in range(draw(st.integers(1, 3))):
        wide = draw(st.sampled_from([4, 6]))
        size = draw(st.sampled_from([1, 3]))
        groups = draw(st.sampled_from([1, 2])) if width % 2 == 0 else 1
        padding, bias = draw(st.integers(0, size // 2)), draw(st.booleans())
        parts.append(nn.Conv2d(width, wide, size, padding=padding, groups=groups, bias=bias))
        between = [
            nn.BatchNorm2d(wide),
            nn.ReLU(),
            nn.SiLU(),
            nn.MaxPool2d(2, 1),
            nn.Conv2d(wide, wide, 1, groups=wide),
        ]
        parts += [part for part in between if draw(st.booleans())]
        width = wide
    model = lively(nn.Sequential(*parts, nn.Conv2d(width, 2, draw(st.sampled_from([1, 2])))))
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d)):
            for parameter in module.parameters():
                for dim in range(min(parameter.dim(), 2)):
                    rows = draw(st.sets(st.integers(0, parameter.shape[dim] - 1), max_size=parameter.shape[dim] // 2))
                    with torch.no_grad():
                        parameter.index_fill_(dim, torch.tensor(sorted(rows), dtype=torch.int64), 0.0)
    return model


@settings(max_examples=40, deadline=None, derandomize=True)
@given(networks())
def test_random_networks(model: nn.Module) -> None:
    checked(model, torch.randn(2, 3, 9, 9))


# Masks, and the model that is given


def test_live_masks_become_plain_weights() -> None:
    model = nn.Sequential(conv(3, 8), nn.ReLU(), head(8))
    prune.ln_structured(model[0], "weight", amount=0.5, n=2, dim=0)
    prune.l1_unstructured(model[0], "weight", amount=0.2)
    small = checked(model, picture())
    assert list(small.model.state_dict()) == ["0.bias", "0.weight", "2.weight", "2.bias"]
    assert small.model[0].weight.shape[0] == 4
    assert not small.model[0]._forward_pre_hooks
    assert hasattr(model[0], "weight_mask")
    prune.remove(model[0], "weight")
    again = checked(model, picture())
    assert again.plan == small.plan
    assert (small.model[0].weight == 0).any(), "zeros inside the filters that stay remain"


def test_mode_and_gradients_stay_and_the_model_trains() -> None:
    model = emitting()
    model[0].bias.requires_grad_(False)
    model.train()
    small = compact(model, picture()).model
    assert model.training
    assert small.training
    assert [name for name, part in small.named_parameters() if not part.requires_grad] == ["0.bias"]
    small(picture()).sum().backward()
    assert small[3].bias.grad is not None


def test_the_random_state_stays() -> None:
    model, inputs = emitting(), picture()
    before = torch.get_rng_state()
    compact(model, inputs)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_plan_makes_the_model_again() -> None:
    model, inputs = emitting().double(), picture().double()
    small = compact(model, inputs)
    again = apply_plan(model, small.plan)
    assert all(torch.equal(one, other) for one, other in zip(run(again, inputs), run(small.model, inputs), strict=True))


def test_nothing_to_do() -> None:
    model, inputs = PROBES["residual"]()
    small = checked(model, inputs)
    assert small.plan.cuts == small.plan.shifts == ()
    assert small.unpruned == ()
    assert num_params(small.model) == num_params(model)


def test_a_layer_of_zeros_keeps_one_channel() -> None:
    model = nn.Sequential(conv(3, 6), nn.ReLU(), conv(6, 8, 1), nn.ReLU(), head(8))
    zero_filters(model[0], *range(6))
    small = checked(model, picture())
    assert small.model[0].weight.shape == (1, 3, 3, 3)
    assert small.model[2].weight.shape == (1, 1, 1, 1), "what follows is constant as well"
    assert any(kept.reason == "the last channel always stays" for kept in small.unpruned)


def test_outputs_of_the_model_stay_with_the_reason() -> None:
    model = nn.Sequential(conv(3, 6), nn.ReLU(), head(6))
    zero_filters(model[2], 0, 4)
    (kept,) = checked(model, picture()).unpruned
    assert str(kept) == "2.weight[0]: 2 dead channels stay: is an output of the model"


def test_ignored_tensors_stay_whole() -> None:
    small = checked(emitting(), picture(), ignore={"0.weight[0]": "asked for"})
    assert small.plan.cuts == ()
    assert [(kept.indices, kept.reason) for kept in small.unpruned] == [((0, 1), "asked for")]


def test_whole_number_inputs_stay_in_range() -> None:
    model = nn.Sequential(nn.Embedding(11, 8), nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 11))
    with torch.no_grad():
        model[0].weight[:, :3] = 0.25  # constant columns are dead
    zero_filters(model[1], 0, 1)
    tokens = torch.randint(0, 11, (2, 7))
    small = checked(model, tokens)
    assert small.model[0].weight.shape == (11, 5)
    assert small.model[1].weight.shape == (14, 5)
    assert set(compacting.other_inputs(tokens).flatten().tolist()) == set(tokens.flatten().tolist())


def test_a_dead_neuron_that_only_these_inputs_silence_stays() -> None:
    """ReLU of a large negative bias is 0 on every input seen, and not on every input there is."""
    model = nn.Sequential(conv(3, 6), nn.ReLU(), head(6))
    with torch.no_grad():
        model[0].bias[:3] = -100.0
    assert checked(model, picture()).plan.cuts == ()


def test_a_failed_proof_returns_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compacting, "_error", lambda *_: (0.5, True))
    with pytest.raises(CheckFailedError, match=r"differs from the masked one by 5.0e-01"):
        compact(emitting(), picture())


def test_a_model_that_does_not_repeat_itself_is_refused() -> None:
    ticks = itertools.count()

    class Fickle(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.relu() if next(ticks) % 2 else x.sigmoid()

    with pytest.raises(CheckFailedError, match="does not repeat itself"):
        compact(Fickle(), torch.randn(2, 3))


# Detectors


DETECTOR = BRANCHED.replace("filters=4\nsize=3\nstride=1\npad=1", "filters=4\nsize=1\nstride=1\npad=0")
"""Without padding in front of its second convolution, so that every constant can be folded."""


def test_outputs_stay_as_they_are() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 3))
    with pytest.raises(
        ConfigError, match=r"^outputs 'logits': what is compacted computes the same, so that every output"
    ):
        compact(model, torch.rand(2, 4), outputs="logits")


def test_a_darknet_detector(tmp_path: Path) -> None:
    (tmp_path / "net.cfg").write_text(DETECTOR)
    model = lively(load_model(str(tmp_path / "net.cfg")).model)
    prune.ln_structured(model.layers[0].conv, "weight", amount=4, n=2, dim=0)
    prune.ln_structured(model.layers[2].conv, "weight", amount=2, n=2, dim=0)
    inputs = torch.rand(1, 3, 32, 32)
    small = checked(model, inputs)
    assert num_params(small.model) < num_params(model)
    assert {shift.tensor for shift in small.plan.shifts} == {"layers.2.bn.running_mean", "layers.4.conv.bias"}
    assert small.model.layers[2].conv.bias is None


@pytest.mark.slow
@pytest.mark.parametrize("batch_norm_too", [False, True])
def test_a_real_detector(data_dir: Path, batch_norm_too: bool) -> None:
    folder = data_dir / "detectors"
    model = load_model(str(folder / "yolov3-tiny.cfg"), weights=folder / "yolov3-tiny.weights").model
    for layer in model.layers:
        if not hasattr(layer, "conv"):
            continue
        prune.ln_structured(layer.conv, "weight", amount=0.4, n=2, dim=0)
        if batch_norm_too and hasattr(layer, "bn"):
            silent = (layer.conv.weight.flatten(1) != 0).any(dim=1).float()
            prune.custom_from_mask(layer.bn, "weight", silent)
            prune.custom_from_mask(layer.bn, "bias", silent)
    small = checked(model, torch.rand(1, 3, 96, 96))
    share = num_params(small.model) / num_params(model)
    assert share < (0.4 if batch_norm_too else 0.7)
    assert batch_norm_too or any("zero padding" in kept.reason for kept in small.unpruned)
