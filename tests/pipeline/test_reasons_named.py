"""What stays whole says why, and what need not stay goes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapwood.pipeline import Pruned, Target, prune
from support.probes import PROBES, Net, conv, head, picture

HALF = Target(sparsity=0.5)


def reasons(pruned: Pruned, tensor: str, dim: int) -> list[str]:
    return [entry.reason for entry in pruned.unpruned if (entry.tensor, entry.dim) == (tensor, dim)]


def test_channels_that_a_convolution_slides_along_are_named() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        x = F.relu(m.a(x))
        return m.head(x * m.mix(x.mean((2, 3)).unsqueeze(1)).sigmoid().view(*x.shape[:2], 1, 1))

    model = Net(run, a=conv(3, 32), mix=nn.Conv1d(1, 1, 3, padding=1), head=head(32))
    pruned = prune(model, picture(), target=HALF)
    assert pruned.plan.cuts == ()
    for tensor, dim in (("a.weight", 0), ("a.bias", 0), ("head.weight", 1)):
        (reason,) = reasons(pruned, tensor, dim)
        assert reason.startswith("is a position of aten.convolution in module 'mix' at test_reasons_named.py")


def test_maps_behind_channels_are_not_listed() -> None:
    """A learned picture, as generators begin with; its rows and columns are no news."""
    start = nn.Parameter(torch.randn(1, 16, 8, 8))
    pruned = prune(Net(lambda m, x: m.b(m.start) + x, b=head(16), start=start), torch.randn(1, 5, 8, 8), target=HALF)
    assert pruned.model.start.shape == (1, 8, 8, 8)
    assert not [entry for entry in pruned.unpruned if entry.dim > 1]


def test_positions_of_whole_conv_groups_are_named() -> None:
    model = nn.Sequential(conv(3, 48, 1), nn.ReLU(), conv(48, 48, groups=8), nn.ReLU(), head(48))
    pruned = prune(model, picture(), target=HALF)
    assert pruned.model[2].groups == 4
    assert pruned.model[2].weight.shape == (24, 6, 3, 3)
    assert reasons(pruned, "2.weight", 1) == ["stays whole, for 0.weight[0] goes instead: both make up one dimension"]


def test_one_choice_between_factors_holds_for_all_dimensions_that_share_it() -> None:
    """Shuffled channels are pairs of positions; if each dimension chose anew, the first would lose nothing."""
    layers = [conv(3, 32, 1), nn.ReLU(), nn.ChannelShuffle(4), conv(32, 32, groups=4), nn.ReLU(), head(32)]
    pruned = prune(nn.Sequential(*layers), picture(), target=HALF)
    assert pruned.model[0].out_channels == pruned.model[3].out_channels == 16


def test_a_tensor_that_nobody_reads_ties_nothing() -> None:
    model, x = PROBES["tensor_made_for_nothing"]()
    pruned = prune(model, x, target=HALF)
    assert pruned.model.a.out_channels == 8
    assert not any("a shape in the code" in entry.reason for entry in pruned.unpruned)


@pytest.mark.parametrize(("index", "width"), [(0, 8), (-1, 8), (3, 16)])
def test_the_first_and_the_last_channel_are_so_in_a_smaller_model(index: int, width: int) -> None:
    model = Net(lambda m, x: m.b(m.a(x) * m.a(x)[:, index, None]), a=conv(3, 16), b=head(16))
    pruned = prune(model, picture(), target=HALF, criterion="random")
    assert pruned.model.a.out_channels == width
    kept = next((cut.kept for cut in pruned.plan.cuts if cut.tensor == "a.weight" and cut.dim == 0), tuple(range(16)))
    assert index % 16 in kept


def test_a_matrix_of_channels_is_read_as_a_whole() -> None:
    """An exponential mixes all channels; what is in front of its rows and columns passes."""
    model = Net(
        lambda m, x: m.head(m.a(x) @ torch.matrix_exp(m.w - m.w.T)),
        a=nn.Linear(3, 16),
        w=nn.Parameter(0.1 * torch.randn(16, 16)),
        head=nn.Linear(16, 4),
    )
    pruned = prune(model, torch.randn(2, 3), target=HALF)
    assert not pruned.plan.cuts
    (reason,) = reasons(pruned, "w", 0)
    assert reason.startswith("read by position in aten.linalg_matrix_exp in module '(the model)'")


def test_slopes_that_are_drawn_stay() -> None:
    model = Net(lambda m, x: m.head(F.rrelu(m.a(x), training=True)), a=conv(3, 16), head=head(16))
    pruned = prune(model, picture(), target=HALF)
    assert not pruned.plan.cuts
    (reason,) = reasons(pruned, "a.weight", 0)
    assert reason.startswith("draws a slope for each element in aten.rrelu_with_noise")


@pytest.mark.parametrize(
    ("read", "named"),
    [
        (lambda x: torch.multinomial(x.softmax(-1), 2).to(x.dtype), "aten.multinomial"),
        (lambda x: torch.histc(x, 4, -1.0, 1.0), "aten.histc"),
        (lambda x: x.take(torch.tensor([0, 3])), "aten.take"),
        (lambda x: torch.unique_consecutive(x.round()), "aten.unique_consecutive"),
        (lambda x: F.multi_margin_loss(x, torch.tensor([0, 1])), "aten.multi_margin_loss"),
    ],
)
def test_what_counts_channels_through_is_named(read: Any, named: str) -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        x = m.a(x)
        return m.head(x) + read(x).mean()

    pruned = prune(Net(run, a=nn.Linear(3, 16), head=nn.Linear(16, 4)), torch.randn(2, 3), target=HALF)
    assert not pruned.plan.cuts
    (reason,) = reasons(pruned, "a.weight", 0)
    assert reason.startswith(f"read by position in {named} in module '(the model)' at test_reasons_named.py")
