"""Which groups must keep equal numbers, and which factor of a dimension is pruned."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sapwood.allocation import equal_sets, held_groups
from sapwood.goals import cuts
from sapwood.graph import Analysis, build_groups, trace
from sapwood.models.darknet import DarknetNetwork, compact_cfg, grouped_routes, parse_cfg
from sapwood.pipeline import Target, prune
from support.probes import PROBES, conv, picture


def analysed(model: nn.Module, inputs: Any) -> Analysis:
    return build_groups(trace(model.eval(), inputs))


class Halves(nn.Module):
    """Two convolutions side by side, cut in the middle."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__()
        self.first, self.second = conv(3, first), conv(3, second)
        half = (first + second) // 2
        self.left, self.right = conv(half, 5), conv(half, 5)

    def forward(self, x: Tensor) -> Tensor:
        left, right = torch.cat([self.first(x), self.second(x)], 1).chunk(2, dim=1)
        return self.left(left) + self.right(right)


class TwoCuts(nn.Module):
    """a | b are halves of one map, b | c of another: all three must be equal."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (conv(3, 8) for _ in range(3))
        self.heads = nn.ModuleList(conv(8, 5) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        a, b, c = self.a(x), self.b(x), self.c(x)
        parts = [*torch.cat([a, b], 1).chunk(2, dim=1), *torch.cat([b, c], 1).chunk(2, dim=1)]
        return sum(head(part) for head, part in zip(self.heads, parts, strict=True))


@pytest.mark.parametrize("name", ["chunk_both_used", "c2f"])
def test_the_halves_of_a_chunk_are_equal(name: str) -> None:
    analysis = analysed(*PROBES[name]())
    (found,) = equal_sets(analysis, cuts(analysis, {}))
    assert found == (0, 1)
    assert [analysis.groups[number].num_channels for number in found] == [8, 8]


@pytest.mark.parametrize("name", ["glu_by_hand", "uneven_split", "chain", "pixel_shuffle"])
def test_where_nothing_must_be_equal(name: str) -> None:
    analysis = analysed(*PROBES[name]())
    assert equal_sets(analysis, cuts(analysis, {})) == ()


def test_sets_that_overlap_are_one() -> None:
    analysis = analysed(TwoCuts(), picture())
    assert len(list(cuts(analysis, {}))) == 2
    assert equal_sets(analysis, cuts(analysis, {})) == ((0, 1, 2),)


def test_parts_that_are_not_alike_give_none() -> None:
    analysis = analysed(Halves(8, 8), picture())
    assert equal_sets(analysis, cuts(analysis, {})) == ((0, 1),)
    unlike = analysed(Halves(6, 10), picture())
    assert [group.num_channels for group in unlike.groups] == [6, 2, 8]
    assert len(list(cuts(unlike, {}))) == 1
    assert equal_sets(unlike, cuts(unlike, {})) == ()


def test_the_parts_of_a_darknet_route_are_equal(detector_text: str) -> None:
    network = DarknetNetwork(parse_cfg(detector_text))
    routes = grouped_routes(network)
    assert routes == {"layers.1": 2}
    analysis = analysed(network, torch.rand(1, 3, 32, 32))
    assert equal_sets(analysis, cuts(analysis, {})) == (), "the code cuts where it is told; only a .cfg cuts in halves"
    ((left, right),) = cuts(analysis, routes)
    assert len(left) == len(right) == 4
    assert equal_sets(analysis, cuts(analysis, routes)) == ((0, 1),)


@pytest.mark.parametrize("macs", [0.7, 0.5, 0.3, 0.2])
@pytest.mark.parametrize("criterion", ["l2", "random"])
def test_a_pruned_route_can_be_written_with_no_layer_kept_whole(
    detector_text: str, macs: float, criterion: str
) -> None:
    network = DarknetNetwork(parse_cfg(detector_text))
    pruned = prune(network, torch.rand(1, 3, 32, 32), target=Target(macs=macs), criterion=criterion)
    cfg = compact_cfg(pruned.model)
    filters = cfg.layers[0].integer("filters")
    assert filters < 8
    assert filters % 2 == 0
    assert cfg.layers[1].integer("groups") == 2
    assert DarknetNetwork(cfg).layers[2].conv.weight.shape == pruned.model.layers[2].conv.weight.shape
    assert not any("could not be written" in entry.reason for entry in pruned.unpruned)


def test_the_finer_factor_is_pruned() -> None:
    """A channel shuffle's dimension is 2 x 8: 8 has the finer steps."""
    analysis = analysed(*PROBES["channel_shuffle"]())
    assert [group.num_channels for group in analysis.groups] == [2, 8]
    assert list(held_groups(analysis)) == [0]


def test_heads_go_or_their_width() -> None:
    analysis = analysed(*PROBES["attention_fused"]())
    assert [group.num_channels for group in analysis.groups] == [16, 4, 4, 16], "stream, heads, width, inside"
    assert list(held_groups(analysis)) == [1]
    assert list(held_groups(analysis, whole_heads=True)) == [2]
