"""Whole residual blocks removed: found, judged by the outputs, proven, kept on disk, trained and exported."""

from __future__ import annotations

import copy
import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sapwood
from sapwood import Target
from sapwood.errors import BudgetError, ConfigError
from sapwood.goals.approach import MET_WITHIN
from sapwood.goals.clock import LOADS
from sapwood.graph import find_blocks, trace
from sapwood.models import Removed, apply_plan
from sapwood.models.plan_json import plan_from_dict, plan_to_dict
from sapwood.pipeline import Deployment
from sapwood.removal import Blocks
from support.fake_runtime import FakeSession, drifting, install, without_a_clock

MAPS = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
TOKENS = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))


class ConvBlock(nn.Module):
    """``relu(x + f(x))``, added in place as torchvision does."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(8, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 8, 3, padding=1)
        with torch.no_grad():
            self.second.weight *= scale

    def forward(self, x: Tensor) -> Tensor:
        out = self.second(F.relu(self.norm(self.first(x))))
        out += x
        return F.relu(out)


class ConvNet(nn.Module):
    """Three blocks, of which the second does least."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.ModuleList([ConvBlock(1.0), ConvBlock(0.01), ConvBlock(2.0)])
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(dim=(2, 3)))


class Attention(nn.Module):
    """Two heads; gives its weights as well, as some do."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        query, key, value = self.qkv(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-1, -2)).softmax(-1)
        return self.out((weights @ value).transpose(1, 2).flatten(2)), weights


class Layer(nn.Module):
    """Attention and two linear layers, each added; normed before or after."""

    def __init__(self, *, after: bool) -> None:
        super().__init__()
        self.after = after
        self.attention, self.up, self.down = Attention(), nn.Linear(8, 12), nn.Linear(12, 8)
        self.norm1, self.norm2, self.drop = nn.LayerNorm(8), nn.LayerNorm(8), nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        if self.after:
            x = self.norm1(x + self.drop(self.attention(x)[0]))
            return self.norm2(x + self.drop(self.down(F.gelu(self.up(x)))))
        x = x + self.drop(self.attention(self.norm1(x))[0])
        return x + self.drop(self.down(F.gelu(self.up(self.norm2(x)))))


class Tokens(nn.Module):
    """Two such layers."""

    def __init__(self, *, after: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Layer(after=after), Layer(after=after)])
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(1))


def conv_net() -> ConvNet:
    torch.manual_seed(0)
    return ConvNet().eval()


def token_net(*, after: bool = False) -> Tokens:
    torch.manual_seed(0)
    return Tokens(after=after).eval()


def test_branches_are_found_with_what_is_theirs_alone() -> None:
    found = find_blocks(trace(conv_net(), MAPS))
    assert [block.name for block in found] == ["blocks.0", "blocks.1", "blocks.2"]
    assert found[1].modules == ("blocks.1.first", "blocks.1.norm", "blocks.1.second")
    names = [block.name for block in find_blocks(trace(token_net(), TOKENS))]
    assert names == ["layers.0.attention", "layers.0.up", "layers.1.attention", "layers.1.up"]


@pytest.mark.parametrize("after", [False, True])
def test_a_branch_less_is_the_model_with_zeros_in_its_place(after: bool) -> None:
    model = token_net(after=after)
    result = sapwood.prune(model, TOKENS, depth=["layers.0.attention", "layers.1.up"])
    layers = [(layer.attention, layer.norm1, layer.up, layer.norm2, layer.down) for layer in model.layers]

    def wanted(x: Tensor) -> Tensor:
        (_, norm1, up, norm2, down), (attention2, norm3, _, norm4, _) = layers
        if after:
            x = norm1(x)
            x = norm2(x + down(F.gelu(up(x))))
            return model.head(norm4(norm3(x + attention2(x)[0])).mean(1))
        x = x + down(F.gelu(up(norm2(x))))
        return model.head((x + attention2(norm3(x))[0]).mean(1))

    assert torch.allclose(result.model(TOKENS), wanted(TOKENS), atol=1e-6)
    assert result.removed_blocks == ("layers.0.attention", "layers.1.up")
    assert result.verification.passed
    assert result.verification.distance_from_dense > 0.01
    kept = set(result.model.state_dict())
    gone = (
        "layers.0.attention",
        "layers.1.up",
        "layers.1.down",
        *(() if after else ("layers.0.norm1", "layers.1.norm2")),
    )
    assert kept == {name for name in model.state_dict() if not name.startswith(gone)}


def test_a_module_of_which_only_the_addition_is_left_goes_whole() -> None:
    result = sapwood.prune(conv_net(), MAPS, depth=["blocks.1"])
    assert isinstance(result.model.blocks[1], Removed)
    assert result.plan.removed[0].gives == "relu"
    both = sapwood.prune(token_net(), TOKENS, depth=["layers.0"])
    assert both.model.layers[0].gives == "input"
    assert both.removed_blocks == ("layers.0.attention", "layers.0.up")


def test_those_go_without_which_the_outputs_change_least() -> None:
    assert sapwood.prune(conv_net(), MAPS, depth=1).removed_blocks == ("blocks.1",)
    assert len(sapwood.prune(conv_net(), MAPS, depth=0.67).removed_blocks) == 2


def test_a_target_is_of_the_model_with_its_blocks() -> None:
    model = conv_net()
    dense = sapwood.measure.count_macs(model, MAPS).total
    result = sapwood.prune(model, MAPS, target=Target(macs=0.5), depth=1)
    left = sapwood.measure.count_macs(result.model, MAPS).total
    assert 0.4 * dense < left <= 0.5 * dense
    assert result.verification.passed
    assert result.plan.removed
    assert result.plan.cuts
    again = apply_plan(model, plan_from_dict(plan_to_dict(result.plan)))
    assert torch.equal(again(MAPS), result.model(MAPS))
    assert "residual blocks removed (1): blocks.1" in result.summary(layers=True)
    assert "residual blocks removed, 1: blocks.1" in repr(result)


class Odd(nn.Module):
    """A branch whose inside is returned, one that draws, one in no module, and one that writes into a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.weight = nn.Parameter(torch.eye(8))
        self.counts = nn.Module()
        self.counts.layer = nn.Linear(8, 8)
        self.counts.register_buffer("seen", torch.zeros(8))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.one(x)
        x = x + hidden.sigmoid()
        x = x + F.linear(x, self.weight)
        x = x + torch.rand_like(x) * self.three(x)
        return x, hidden


def test_what_cannot_go_is_named_with_its_reason() -> None:
    torch.manual_seed(0)
    refused = Blocks(Odd().eval(), torch.randn(2, 8)).refused
    assert refused["one"].startswith("what it makes is returned as well, as 1")
    assert any("its code is in no module of its own: aten.mm" in why for why in refused.values())
    assert refused["three"].startswith("it draws random numbers: aten.rand_like")
    with pytest.raises(ConfigError, match="depth 'one': one cannot go: what it makes is returned as well"):
        sapwood.prune(Odd().eval(), torch.randn(2, 8), depth=["one"])


@pytest.mark.parametrize(
    ("depth", "message"),
    [
        (4, "depth 4: 3 residual blocks can go; expected at most as many"),
        (["blocks.9"], "depth 'blocks.9' names no residual block; expected one of: blocks.0, blocks.1, blocks.2"),
        (0, "depth 0; expected how many blocks, a fraction of them in"),
        (1.5, "depth 1.5; expected how many blocks"),
        ([], r"depth \[\]; expected how many blocks"),
    ],
)
def test_bad_depths_are_named(depth: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sapwood.prune(conv_net(), MAPS, depth=depth)


def test_what_must_stay_whole_keeps_its_block() -> None:
    blocks = Blocks(conv_net(), MAPS, ["blocks.0.first"])
    assert blocks.refused == {"blocks.0": "ignored, as asked: blocks.0.first"}
    result = sapwood.prune(conv_net(), MAPS, depth=2, ignore=["blocks.0.first"])
    assert result.removed_blocks == ("blocks.1", "blocks.2")
    assert "residual block blocks.0 stays: ignored, as asked: blocks.0.first" in result.notes


def test_without_blocks_a_model_trains_and_is_as_it_was_in_a_fresh_process(tmp_path: Path) -> None:
    result = sapwood.prune(conv_net(), MAPS, target={"macs": 0.6}, depth=1)
    optimizer = torch.optim.SGD(result.model.train().parameters(), 0.01)
    result.model(MAPS).square().mean().backward()
    assert all(parameter.grad is not None for parameter in result.model.parameters())
    optimizer.step()
    result.model.eval()
    sapwood.save(result, tmp_path / "small")
    torch.save({"x": MAPS, "y": result.model(MAPS).detach()}, tmp_path / "io.pt")
    code = (
        "import sys, torch, sapwood; sys.path.insert(0, sys.argv[2]); from pipeline.test_depth import conv_net\n"
        "model = sapwood.load(sys.argv[1] + '/small', model=conv_net()); io = torch.load(sys.argv[1] + '/io.pt')\n"
        "assert torch.equal(model(io['x']), io['y'])"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parents[1])], check=True)


def test_an_optimizer_goes_on_without_the_blocks_that_went() -> None:
    model = conv_net()
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    model(MAPS).square().mean().backward()
    optimizer.step()
    pruned = sapwood.prune(model, MAPS, depth=["blocks.1"], target={"macs": 0.6})
    sapwood.carry_optimizer_(optimizer, model, pruned)
    assert set(optimizer.param_groups[0]["params"]) == set(pruned.model.parameters())
    assert set(optimizer.state) <= set(pruned.model.parameters())


def by_hand(model: nn.Module, x: Tensor, names: Any) -> float:
    """The squared change of the outputs without some blocks of a ConvNet."""
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for name in names:
            block = twin.get_submodule(name)
            block.second.weight.zero_()
            block.second.bias.zero_()
        return float((twin(x) - model(x)).square().sum() / model(x).square().sum())


@pytest.mark.parametrize("goal", ["macs", "params"])
def test_blocks_and_widths_share_one_budget(goal: str) -> None:
    model = conv_net()
    result = sapwood.prune(model, MAPS, depth="auto", target={goal: 0.2})
    assert result.removed_blocks == ("blocks.1",)
    assert result.allocation is not None
    sizes = [
        sapwood.count_macs(one, MAPS).total if goal == "macs" else sum(p.numel() for p in one.parameters())
        for one in (model, result.model)
    ]
    assert sizes[1] <= 0.2 * sizes[0]
    assert result.verification.passed
    assert result.sensitivity is not None
    for row in result.sensitivity.blocks:
        assert row.loss == pytest.approx(by_hand(model, MAPS, [row.name]), rel=1e-4)
    again = apply_plan(model, plan_from_dict(plan_to_dict(result.plan)))
    assert torch.equal(again(MAPS), result.model(MAPS))


def test_blocks_alone_are_those_of_least_harm_that_suffice() -> None:
    model = conv_net()
    macs = sapwood.count_macs(model, MAPS).total
    kept = {}
    blocks = ["blocks.0", "blocks.1", "blocks.2"]
    for names in (some for number in range(4) for some in itertools.combinations(blocks, number)):
        left = sapwood.prune(model, MAPS, depth=list(names)).model if names else model
        kept[names] = sapwood.count_macs(left, MAPS).total / macs
    result = sapwood.prune(model, MAPS, depth="only", target={"macs": 0.7})
    losses = result.sensitivity.block_losses()
    fits = [names for names, share in kept.items() if share <= 0.7]
    assert result.removed_blocks == min(fits, key=lambda names: sum(losses[name] for name in names))
    assert result.allocation is None


def test_a_latency_is_met_by_blocks_and_channels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_a_clock(monkeypatch, tmp_path)
    install(monkeypatch)
    torch.manual_seed(0)
    model, x = Wide().eval(), torch.randn(4, 3, 32, 32)
    for depth in ("auto", "only"):
        target = Target(latency=0.6, tolerance=0.2)
        result = sapwood.prune(model, x, depth=depth, target=target, deployment=Deployment("fake", threads=1))
        assert result.latency is not None
        assert result.latency.target == pytest.approx(0.6)
        assert result.latency.ratio < 0.75
        assert result.verification.passed


@pytest.mark.parametrize("speed", [2.0, 0.5])
def test_a_machine_of_another_speed_a_minute_later_is_no_reason_to_stop(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, speed: float
) -> None:
    """Channels are to do the rest of a latency, a fraction of the network with all blocks, timed in the same rounds."""
    without_a_clock(monkeypatch, tmp_path)
    monkeypatch.setattr("sapwood.goals.clock.measure_latency", drifting(speed, LOADS))
    install(monkeypatch)
    torch.manual_seed(0)
    model, x = Wide().eval(), torch.randn(4, 3, 32, 32)
    result = sapwood.prune(
        model, x, depth=["blocks.1"], target=Target(latency=0.6), deployment=Deployment("fake", threads=1)
    )
    wanted = FakeSession(model, x, 1.0, layers=True).ms
    assert FakeSession(result.model, x, 1.0, layers=True).ms == pytest.approx(0.6 * wanted, rel=MET_WITHIN)
    assert result.latency is not None
    assert result.latency.met
    assert {row.layer for row in result.latency.layers} >= {"stem", "blocks.0.first", "blocks.3.second"}


class Wide(nn.Module):
    """Four blocks that take most of the time."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1)
        self.blocks = nn.Sequential(*(Branch() for _ in range(4)))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.stem(x)).mean(dim=(2, 3))


class Branch(nn.Module):
    """``x + f(x)``."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(32, 64, 3, padding=1), nn.Conv2d(64, 32, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(x)))


@pytest.mark.parametrize(
    ("model", "depth", "target", "error", "message"),
    [
        (conv_net, "auto", None, ConfigError, "depth 'auto': got no target; expected macs, params or latency"),
        (
            conv_net,
            "only",
            {"sparsity": 0.5},
            ConfigError,
            "depth 'only': got sparsity 0.5, which counts channels",
        ),
        (conv_net, "only", {"macs": 0.05}, BudgetError, r"without the 3 blocks that can go \d+ MACs stay \(0.077"),
        (
            conv_net,
            "auto",
            {"macs": 1e-4},
            BudgetError,
            r"can go, at the smallest widths of the others, \d+ MACs",
        ),
        (lambda: nn.Conv2d(3, 4, 1), "auto", {"macs": 0.5}, ConfigError, "depth 'auto': no residual block can go; exp"),
    ],
)
def test_what_a_budget_of_blocks_cannot_do_is_named(
    model: Any, depth: str, target: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        sapwood.prune(model(), MAPS, depth=depth, target=target)


def test_a_sensitivity_that_knows_no_blocks_is_refused() -> None:
    model = conv_net()
    score = sapwood.pipeline.scorer(model, "l2")
    change = sapwood.goals.change_of_outputs(model, MAPS, None)
    known = sapwood.pipeline.sensitivity(model, MAPS, change, score=score)
    with pytest.raises(ConfigError, match=r"the sensitivity says nothing of blocks\.0; expected one that was measured"):
        sapwood.prune(model, MAPS, depth="auto", target={"macs": 0.5}, sensitivity=known)
    blocks = sapwood.pipeline.block_plans(model, MAPS)
    known = sapwood.pipeline.sensitivity(model, MAPS, change, score=score, blocks=blocks)
    assert sapwood.prune(model, MAPS, depth="auto", target={"macs": 0.5}, sensitivity=known).sensitivity is known


def test_what_is_left_takes_over_the_work_of_a_block_that_went() -> None:
    model = conv_net()
    result = sapwood.prune(model, MAPS, depth=["blocks.2"])
    pictures = torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    solved = sapwood.reconstruct(model, result.model, result.plan, pictures.split(8))
    assert {"head"} <= {row.layer for row in solved.layers}
    others = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    wanted = model(others)
    before, after = ((one(others) - wanted).square().sum() for one in (result.model, solved.model))
    assert after < 0.5 * before


def test_a_plan_without_blocks_is_written_as_before() -> None:
    assert "removed" not in plan_to_dict(sapwood.prune(conv_net(), MAPS, target={"macs": 0.6}).plan)
