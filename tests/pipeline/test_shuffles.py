"""Shuffled channels go one by one: against the dense model with what the plan cuts at zero, from the plan alone."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sapwood
from sapwood.graph import Analysis, build_groups, find_shuffles, trace
from sapwood.measure import count_macs
from sapwood.models import Plan, apply_plan
from sapwood.pipeline import Pruned, Target, prune
from sapwood.removal import Planner
from sapwood.training import carry_optimizer_
from support.probes import PROBES, Net, conv, dealt, halves_shuffled, head, picture, shuffled
from support.silencing import silenced

EXACT = 1e-12
"""Relative, in float64: a handful of layers, summed in another order."""

WIDTHS = {
    "halves_dealt_in_turn": {"left.weight": (8, 3, 3, 3), "blocks.1.1.weight": (8, 8, 1, 1)},
    "channel_shuffle": {"a.weight": (8, 3, 3, 3), "head.weight": (5, 8, 1, 1)},
    "halves_shuffled_by_an_operator": {"left.weight": (4, 3, 3, 3), "blocks.1.1.weight": (4, 4, 1, 1)},
    "halves_shuffled_by_chunk": {
        "left.weight": (4, 3, 3, 3),
        "right.weight": (4, 3, 3, 3),
        "blocks.0.0.weight": (4, 1, 3, 3),
        "blocks.1.1.weight": (4, 4, 1, 1),
        "head.weight": (5, 8, 1, 1),
    },
    "halves_shuffled_by_slices": {"left.weight": (4, 3, 3, 3), "blocks.1.1.weight": (4, 4, 1, 1)},
    "halves_shuffled_in_fours": {"left.weight": (8, 3, 3, 3), "blocks.1.1.weight": (8, 8, 1, 1)},
    "halves_shuffled_of_odd_width": {"left.weight": (5, 3, 3, 3), "blocks.1.1.weight": (5, 5, 1, 1)},
    "shuffle_named_by_attributes": {"a.weight": (9, 3, 3, 3), "head.weight": (5, 9, 1, 1)},
    "shuffled_map_flattened": {"a.weight": (5, 3, 3, 3), "b.weight": (3, 3, 3, 3), "head.weight": (5, 512)},
    "tokens_with_shuffled_features": {"a.weight": (8, 6), "b.weight": (8, 8), "head.weight": (5, 8)},
}
"""Shapes at half the channels."""


def lively(name: str) -> tuple[nn.Module, Any]:
    """A probe of which every channel counts."""
    model, inputs = PROBES[name]()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.bias)
    return model.eval(), inputs


@torch.no_grad()
def distance(model: nn.Module, plan: Plan, inputs: Tensor) -> float:
    """How far what a plan makes is from the masked model, which knows nothing of its orders."""
    wanted = silenced(model, plan)(inputs.double())
    found = apply_plan(copy.deepcopy(model).double(), plan)(inputs.double())
    return float((found - wanted).abs().max() / wanted.abs().max())


def unordered(pruned: Pruned[Any]) -> int:
    return sum(list(cut.kept) != sorted(cut.kept) for cut in pruned.plan.cuts)


@pytest.mark.parametrize("name", sorted(WIDTHS))
def test_half_goes_and_the_rest_is_what_it_was(name: str) -> None:
    model, inputs = lively(name)
    pruned = prune(model, inputs, target=Target(sparsity=0.5), criterion="random")
    assert {key: tuple(pruned.model.get_parameter(key).shape) for key in WIDTHS[name]} == WIDTHS[name]
    assert distance(model, pruned.plan, inputs) <= EXACT
    assert unordered(pruned), "which ones go is free, so that their order is not that of the code"
    assert all("shuffle" not in entry.reason and "split" not in entry.reason for entry in pruned.unpruned)


@pytest.mark.parametrize("name", ["halves_shuffled_by_chunk", "shuffled_map_flattened", "shuffle_named_by_attributes"])
def test_it_trains_a_step_and_loads(name: str, tmp_path: Path) -> None:
    model, inputs = lively(name)
    pruned = prune(model, inputs, target=Target(sparsity=0.5), criterion="random")
    small = pruned.model.train()
    optimizer = torch.optim.SGD(small.parameters(), lr=0.1)
    before = {key: parameter.detach().clone() for key, parameter in small.named_parameters()}
    small(inputs).square().sum().backward()
    optimizer.step()
    assert all(not torch.equal(before[key], parameter) for key, parameter in small.named_parameters() if "head" in key)
    sapwood.save(pruned, tmp_path / "small")
    again = sapwood.load(tmp_path / "small", model=lambda: PROBES[name]()[0])
    assert torch.equal(again.eval()(inputs), small.eval()(inputs))


@pytest.mark.parametrize(
    ("target", "allocator"),
    [
        (Target(macs=0.4), "knapsack"),
        (Target(params=0.3), "global"),
        (Target(macs=0.4), "uniform"),
        (Target(sparsity=0.7), "knapsack"),
    ],
)
def test_budgets_are_kept_to(target: Target, allocator: str) -> None:
    model, inputs = lively("halves_shuffled_in_fours")
    pruned = prune(model, inputs, target=target, allocator=allocator)
    assert distance(model, pruned.plan, inputs) <= EXACT
    assert pruned.model.left.weight.shape[0] == pruned.model.right.weight.shape[0] < 16
    if target.params is not None:
        left = sum(one.numel() for one in pruned.model.parameters()) / sum(one.numel() for one in model.parameters())
        assert left <= target.params


@pytest.mark.parametrize("name", ["halves_shuffled_by_chunk", "halves_shuffled_of_odd_width", "shuffled_map_flattened"])
@pytest.mark.parametrize("share", [0.75, 0.5, 0.3])
def test_the_cost_is_that_of_what_is_made(name: str, share: float) -> None:
    model, inputs = lively(name)
    pruned = prune(model, inputs, target=Target(macs=share))
    found, dense = count_macs(pruned.model, inputs).total, count_macs(model, inputs).total
    assert pruned.allocation is not None
    assert pruned.allocation.cost == pytest.approx(found, rel=1e-12)
    assert 0.6 * share * dense <= found <= share * dense


def test_every_width_of_a_stage_that_the_code_allows_is_right() -> None:
    model, inputs = lively("halves_shuffled_by_chunk")
    widths = set()
    for sparsity in np.arange(0.1, 0.9, 0.1):
        pruned = prune(model, inputs, target=Target(sparsity=float(sparsity)), criterion="random")
        assert distance(model, pruned.plan, inputs) <= EXACT
        widths.add(pruned.model.left.weight.shape[0])
    assert {2, 3, 4, 5, 6, 7} <= widths, "odd ones, too: halves of an even number"


@pytest.mark.parametrize("name", sorted(WIDTHS))
def test_the_narrowest_network_is_right(name: str) -> None:
    model, inputs = lively(name)
    pruned = prune(model, inputs, target=Target(sparsity=0.95), criterion="random")
    assert distance(model, pruned.plan, inputs) <= EXACT
    most = {key: shape[0] for key, shape in WIDTHS[name].items() if "head" not in key}
    assert all(len(pruned.model.get_parameter(key)) <= most[key] for key in most)
    assert not any("shuffle" in entry.reason or "split" in entry.reason for entry in pruned.unpruned)


def test_widths_are_multiples_where_asked_for() -> None:
    model, inputs = lively("halves_shuffled_in_fours")
    pruned = prune(model, inputs, target=Target(macs=0.5), limits=sapwood.Limits(round_to=4))
    assert pruned.model.left.weight.shape[0] in {4, 8, 12}
    assert distance(model, pruned.plan, inputs) <= EXACT


def test_what_must_stay_keeps_its_stage_whole_and_nothing_else() -> None:
    model, inputs = lively("halves_shuffled_by_chunk")
    pruned = prune(model, inputs, target=Target(sparsity=0.5), ignore=["left"])
    assert pruned.model.left.weight.shape[0] == 8
    assert pruned.model.stem.weight.shape[0] == 6, "it is read by the layer that stays whole"
    assert distance(model, pruned.plan, inputs) <= EXACT


def test_an_optimizer_follows_the_order() -> None:
    model, inputs = lively("halves_shuffled_by_chunk")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(inputs).square().sum().backward()
    optimizer.step()
    before = optimizer.state[model.head.weight]["momentum_buffer"].clone()
    pruned = prune(model, inputs, target=Target(sparsity=0.5), criterion="random")
    carry_optimizer_(optimizer, model, pruned)
    (kept,) = (cut.kept for cut in pruned.plan.cuts if (cut.tensor, cut.dim) == ("head.weight", 1))
    assert list(kept) != sorted(kept)
    assert torch.equal(optimizer.state[pruned.model.head.weight]["momentum_buffer"], before[:, list(kept)])


class First:
    """Lets the first channels of each group go, whatever the code makes of that."""

    def __init__(self, analysis: Analysis, share: float) -> None:
        units = [unit for group in analysis.groups for unit in group.units[: int(share * len(group.units))]]
        self.removed = np.array(sorted(units), dtype=np.int64)


def test_numbers_that_the_code_does_not_allow_go_in_parts_that_are_alike() -> None:
    """Three of eight in every group leave halves that are not equal behind the second shuffle."""
    model, inputs = lively("channel_shuffle")
    whole = Planner(model, inputs).solve(lambda analysis: First(analysis, 0.2))
    assert whole.verification.passed
    assert not whole.analysis.shuffles, "16 less 3 channels are no two groups"
    assert distance(model, whole.realised.plan, inputs) <= EXACT


def test_outputs_that_may_change_come_in_the_order_of_the_code() -> None:
    def run(m: Any, x: Tensor) -> dict[str, Tensor]:
        features = shuffled(m.a(x))
        return {"features": features, "scores": m.head(features)}

    model = Net(run, a=conv(3, 16), head=head(16)).eval()
    x = picture()
    pruned = prune(model, x, target=Target(sparsity=0.5), criterion="random", outputs="scores")
    assert pruned.verification.max_abs_error <= EXACT
    found, whole = pruned.model(x)["features"], model(x)["features"]
    (kept,) = (cut.kept for cut in pruned.plan.cuts if (cut.tensor, cut.dim) == ("head.weight", 1))
    assert list(kept) != sorted(kept)
    assert torch.allclose(found, whole[:, list(kept)], atol=1e-6)


def test_the_numbers_of_each_kind_follow_from_the_code() -> None:
    """Of a half of 8, 4 go through the first block; of the 4 that do not, 2 of one branch go through the second."""
    model, inputs = halves_shuffled(lambda x: x.chunk(2, 1))
    graph = trace(model.eval(), inputs)
    analysis = build_groups(graph, loose=find_shuffles(graph))
    (ladder,) = analysis.ladders
    sizes = {number: analysis.groups[number].num_channels for number in ladder.groups}
    assert sorted(sizes.values()) == [2, 2, 2, 2, 4, 4, 4, 4, 8]
    assert ladder.levels.tolist() == list(range(2, 9))
    halves = ladder.rows[ladder.levels.tolist().index(4)]
    assert halves.tolist() == [sizes[number] // 2 for number in ladder.groups]
    assert ladder.rows.sum(axis=1).tolist() == [4 * level for level in range(2, 9)]


def test_shuffles_are_found_by_what_they_do() -> None:
    found = {
        "view": shuffled,
        "three": lambda x: x.reshape(2, 3, 4, 8, 8).permute(0, 2, 1, 3, 4).reshape(2, 12, 8, 8),
        "nested": lambda x: x.view(2, 2, 3, 2, 8, 8).permute(0, 3, 1, 2, 4, 5).reshape(2, 12, 64).view(2, 12, 8, 8),
        "operator": lambda x: nn.functional.channel_shuffle(x, 3),
    }
    others = {
        "flattened": lambda x: x.flatten(1),
        "windows": lambda x: x.view(2, 12, 2, 4, 2, 4).permute(0, 2, 4, 3, 5, 1).reshape(8, 16, 12),
        "there and back": lambda x: x.view(2, 3, 4, 8, 8).transpose(1, 2).transpose(1, 2).reshape(2, 12, 8, 8),
        "read on the way": lambda x: x.view(2, 3, 4, 8, 8).transpose(1, 2).mul(2).reshape(2, 12, 8, 8),
    }
    x = torch.randn(2, 12, 8, 8)
    channels = torch.arange(12.0).reshape(1, 12, 1, 1).expand(2, 12, 8, 8)
    for name, move in found.items():
        (shuffle,) = find_shuffles(trace(Net(lambda m, x, move=move: move(x)), x)).values()
        assert shuffle.dim == 1, name
        assert shuffle.turned.places().tolist() == move(channels)[0, :, 0, 0].tolist(), name
    (shuffle,) = find_shuffles(trace(Net(lambda m, x: torch.cat(dealt(x), 1)), x)).values()
    assert shuffle.turned.places().tolist() == torch.cat(dealt(channels), 1)[0, :, 0, 0].tolist()
    assert len(shuffle.picked) == 2
    for name, move in others.items():
        assert not find_shuffles(trace(Net(lambda m, x, move=move: move(x)), x)), name


class Unread(nn.Module):
    """Cuts its features in two for nothing: what nobody reads is no shuffle (Reformer does so)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 16), nn.Linear(16, 5)

    def forward(self, rows: Tensor) -> Tensor:
        made = self.first(rows)
        made.view(*rows.shape[:2], 2, -1)
        return self.second(made)


def test_halves_that_nobody_reads_are_no_shuffle() -> None:
    torch.manual_seed(0)
    model, rows = Unread().eval(), torch.randn(1, 4, 6)
    assert find_shuffles(trace(model, rows)) == {}
    pruned = prune(model, rows, target=Target(sparsity=0.5))
    assert pruned.model.first.weight.shape[0] < 16
    assert pruned.verification.passed
