"""Layers that become two of low rank, beside channels: chosen where it pays, proven, kept on disk, recovered."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sapwood
from sapwood.cli import main
from sapwood.errors import ConfigError
from sapwood.factoring import TwoLayers, with_fewer
from sapwood.goals import Limits, Target, scorer
from sapwood.models import DarknetNetwork, LowRank, apply_plan, parse_cfg
from sapwood.pipeline import Calibration, Pruned, recover, sensitivity, shrink_record, two_layers, two_or_one
from sapwood.pipeline.low_rank import renamed_ways
from sapwood.pipeline.ways import Ways
from sapwood.recovery import DistillConfig
from sapwood.types import ModelBundle, ModelSource, TaskSpec
from support.cfgs import JOINED
from support.silencing import silenced

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
WIDE = 48


class Net(nn.Module):
    """A wide convolution whose results vary in eight directions, between two that use all of theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, WIDE, 3, padding=1), nn.BatchNorm2d(WIDE)
        self.wide, self.wide_norm = nn.Conv2d(WIDE, WIDE, 3, padding=1, bias=False), nn.BatchNorm2d(WIDE)
        self.wide.weight.data = torch.einsum("or,rikl->oikl", torch.randn(WIDE, 8), torch.randn(8, WIDE, 3, 3)) / 40
        self.head = nn.Linear(WIDE, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(self.wide_norm(self.wide(x)))
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]


def batches() -> list[Tensor]:
    return [torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(4)]


def calibration() -> Calibration:
    return Calibration(batches(), lambda model, batch: model(batch).square().mean())


def net() -> Net:
    torch.manual_seed(0)
    model = Net()
    with torch.no_grad():  # statistics as they are after training
        for batch in batches():
            model(batch)
    return model.eval()


@pytest.fixture(scope="module")
def pruned() -> Pruned:
    return sapwood.prune(net(), X, target={"macs": 0.4}, low_rank=True, calibration=calibration())


def test_the_layer_of_few_directions_is_two(pruned: Pruned) -> None:
    model = pruned.model
    assert isinstance(model, Net)
    assert isinstance(model.wide, LowRank)
    assert isinstance(model.stem, nn.Conv2d)
    assert sapwood.count_macs(model, X).total <= 0.401 * sapwood.count_macs(net(), X).total
    assert any("wide (" in note for note in pruned.notes)


def test_channels_between_two_layers_are_none_of_the_model_given(pruned: Pruned) -> None:
    """Two groups of 48 channels had the model, one a convolution; those between are told of in a note."""
    bundle = ModelBundle(net(), X, TaskSpec("none"), ModelSource("net", "session"))
    stem, wide = pruned.model.stem, pruned.model.wide  # type: ignore[union-attr]
    assert shrink_record(bundle, pruned, {}).channels == (2 * WIDE, stem.out_channels + wide.out_channels)  # type: ignore[union-attr]
    assert f"channels     {2 * WIDE} -> " in repr(pruned)


def test_what_stays_whole_is_named_as_in_the_model_given(pruned: Pruned) -> None:
    assert {f"{one.tensor}[{one.dim}]" for one in pruned.unpruned} == {
        "stem.weight[1]",
        "head.weight[0]",
        "head.bias[0]",
    }


@pytest.mark.parametrize("pattern", ["wide", "wide.weight", "wide.weight[0]", "w?de"])
def test_limits_name_layers_of_the_model_given(pattern: str) -> None:
    """Its channels, whether the layer becomes two or not; those between the two by the parts of a LowRank."""
    limits = {"bounds": {pattern: (0.75, 0.8), "wide.0": (0.1, 0.3)}, "round_to": 1}
    for low_rank in (False, True):
        if not low_rank:
            del (own := {**limits, "bounds": {**limits["bounds"]}})["bounds"]["wide.0"]  # type: ignore[dict-item]
        found = sapwood.prune(
            net(), X, target={"macs": 0.5}, limits=limits if low_rank else own, low_rank=low_rank
        ).model.wide  # type: ignore[union-attr]
        assert isinstance(found, LowRank) == low_rank
        assert 36 <= found.out_channels <= 38  # type: ignore[union-attr,operator]
    assert 5 <= found[0].out_channels <= 14  # type: ignore[index,union-attr]


def test_limits_of_channels_between_two_layers_that_become_one_again() -> None:
    """``stem`` is two at first, and 24 of 48 channels between the two take more than the layer does."""
    limits = {"bounds": {"stem.0": (0.5, 1.0)}}
    network = two_layers(net(), X, sapwood.Target(macs=0.1))
    assert "stem" in network.layers
    found = sapwood.prune(net(), X, target={"macs": 0.5}, limits=limits, low_rank=network)
    assert "stem" not in {one.module for one in found.plan.factored}


def test_a_deep_copy_shares_the_network_it_was_made_of(pruned: Pruned) -> None:
    """And can be recovered as the result can."""
    again = copy.deepcopy(pruned)
    assert again.of_two is pruned.of_two
    assert again.model is not pruned.model
    bundle = ModelBundle(net(), X, TaskSpec("classification", (8, 8)), ModelSource("net", "session"))
    found, wanted = (recover(bundle, one, batches(), "reconstruct").model(X) for one in (again, pruned))
    assert torch.equal(found, wanted)


def test_it_is_nearer_to_the_dense_network_than_channels_alone(pruned: Pruned) -> None:
    plain = sapwood.prune(net(), X, target={"macs": 0.4}, calibration=calibration())
    with torch.no_grad():
        wanted = net()(X)
        low, alone = ((one.model(X) - wanted).abs().max() for one in (pruned, plain))
    assert low < 0.5 * alone


def test_masked_equals_compact(pruned: Pruned) -> None:
    """The reference is made from the cuts of the network whose layers are two alone."""
    assert pruned.of_two is not None
    wide = pruned.of_two.network.model
    assert torch.allclose(wide(X), net()(X), atol=1e-5)
    wanted = silenced(wide, pruned.of_two.plan)(X.double())
    found = pruned.model.double()(X.double())
    pruned.model.float()
    assert pruned.verification.passed
    assert (found - wanted).abs().max() <= 1e-6 * wanted.abs().max()  # of float32 weights on both sides


def test_the_plan_is_one_for_the_model_given(pruned: Pruned) -> None:
    again = apply_plan(net(), pruned.plan)
    assert {name: value.shape for name, value in again.state_dict().items()} == {
        name: value.shape for name, value in pruned.model.state_dict().items()
    }


@pytest.mark.parametrize("with_factory", [True, False])
def test_it_is_saved_and_loaded(pruned: Pruned, tmp_path: Path, with_factory: bool) -> None:
    sapwood.save(pruned, tmp_path / "small", model=net if with_factory else None)
    again = sapwood.load(tmp_path / "small", model=net)
    assert torch.equal(again(X), pruned.model(X))


def test_it_trains(pruned: Pruned) -> None:
    model = sapwood.copy_model(pruned.model).train()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    before = {name: value.clone() for name, value in model.named_parameters()}
    model(X).square().mean().backward()
    optimizer.step()
    assert any(not torch.equal(before[name], value) for name, value in model.named_parameters() if "wide.0" in name)


def test_the_record_has_both_layers_in_one_row(pruned: Pruned) -> None:
    bundle = ModelBundle(net(), X, TaskSpec("none"), ModelSource("net", "session"))
    record = shrink_record(bundle, pruned, {})
    rows = {row.name: row for row in record.layers}
    assert set(rows) >= {"stem", "wide", "wide_norm", "head"}
    first, second = pruned.model.wide[0], pruned.model.wide[1]  # type: ignore[union-attr,index]
    assert rows["wide"].after.shape == (second.out_channels, first.in_channels, 3, 3)
    assert rows["wide"].after.macs == 64 * 2 * (first.weight.numel() + second.weight.numel())
    assert 0 < rows["wide"].after.macs < rows["wide"].before.macs
    assert record.after.macs == sum(row.after.macs for row in rows.values())


@pytest.mark.parametrize("method", ["batchnorm", "reconstruct", "distill"])
def test_recovery_brings_it_nearer(method: Any) -> None:
    less = sapwood.prune(net(), X, target={"macs": 0.15}, low_rank=True, calibration=calibration())
    assert less.plan.factored
    bundle = ModelBundle(net(), X, TaskSpec("classification", (8, 8)), ModelSource("net", "session"))
    config = DistillConfig(steps=20, batch_size=8, lr=1e-3)
    found = recover(bundle, less, batches() * 4, method, config=config)
    with torch.no_grad():
        wanted = net()(torch.cat(batches()))
        after, before = ((one.model(torch.cat(batches())) - wanted).square().mean() for one in (found, less))
    assert after < 0.8 * before


def test_no_layer_pays_where_all_directions_count() -> None:
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 4))
    found = sapwood.prune(model, X, target={"params": 0.6}, low_rank=True)
    assert not found.plan.factored or sapwood.count_params(found.model) <= 0.61 * sapwood.count_params(model)
    assert found.verification.passed


def test_what_is_returned_is_of_the_last_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where layers became one again until there were no more tries."""
    asked: list[list[str]] = []

    def all_but_one(network: TwoLayers, model: nn.Module, *, by_params: bool) -> list[str]:
        asked.append(sorted(network.layers))
        return asked[-1][1:]

    monkeypatch.setattr(TwoLayers, "takes_no_less", all_but_one)
    monkeypatch.setattr(two_or_one, "MOST_TRIES", 1)
    found = sapwood.prune(net(), X, target={"macs": 0.15}, low_rank=True, calibration=calibration())
    assert len(asked[0]) > 1
    assert [one.module for one in found.plan.factored] == asked[0][:1]
    assert found.of_two is not None
    assert {name for name, module in found.model.named_modules() if isinstance(module, LowRank)} == {asked[0][0]}
    assert apply_plan(found.of_two.network.model, found.of_two.plan)(X).equal(found.model(X))


def test_weights_alone_tell_directions_without_pictures() -> None:
    found = sapwood.prune(net(), X, target={"macs": 0.4}, low_rank=True)
    assert [one.module for one in found.plan.factored] == ["wide"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": {"sparsity": 0.5}}, "sparsity 0.5, which counts channels; expected macs, params or latency"),
        ({"target": {"macs": 0.5}, "depth": 1}, "got depth 1, too; expected one of them"),
        ({"target": None, "depth": 1}, "got no target"),
        ({"target": {"macs": 0.5}, "limits": {"as_config": True}}, "no config of transformers says"),
    ],
    ids=["sparsity", "depth", "none", "config"],
)
def test_what_does_not_go_with_it_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"low rank: .*{message}"):
        sapwood.prune(net(), X, low_rank=True, **options)


def test_a_sensitivity_of_the_network_whose_layers_are_one_is_refused() -> None:
    """Its rows would be left out without a word, where the names are others."""
    model = net()
    measured = sensitivity(model, X, lambda one: float(one(X).detach().square().mean()), score=scorer(model, "l2"))
    with pytest.raises(ConfigError, match="low rank: the sensitivity says nothing of channels between two layers"):
        sapwood.prune(model, X, target={"macs": 0.4}, low_rank=True, sensitivity=measured)


def test_no_picture_is_no_reason_to_say_that_results_are_not_finite() -> None:
    none = Calibration([], lambda model, batch: model(batch).sum())
    with pytest.raises(ConfigError, match=r"^low rank: no batch to look at; expected at least one, or no calibration$"):
        sapwood.prune(net(), X, target={"macs": 0.4}, low_rank=True, criterion="l2", calibration=none)


def test_the_network_can_be_made_before() -> None:
    model = net()
    network = two_layers(model, X, sapwood.Target(macs=0.4), calibration())
    found = sapwood.prune(model, X, target={"macs": 0.4}, low_rank=network)
    assert found.of_two is not None
    assert found.of_two.network.model is network.model


def test_the_result_can_be_pruned_again(pruned: Pruned) -> None:
    again = sapwood.prune(pruned.model, X, target={"macs": 0.7})
    assert again.verification.passed
    assert sapwood.count_macs(again.model, X).total <= 0.701 * sapwood.count_macs(pruned.model, X).total


@pytest.fixture
def detector() -> Callable[[], DarknetNetwork]:
    def made() -> DarknetNetwork:
        torch.manual_seed(0)
        network = DarknetNetwork(parse_cfg(JOINED)).eval()
        conv = network.layers[2].conv  # type: ignore[union-attr]
        conv.weight.data = torch.einsum("or,rikl->oikl", torch.randn(64, 6), torch.randn(6, 64, 3, 3)) / 60  # type: ignore[union-attr]
        return network

    return made


def test_a_darknet_network_comes_back_from_its_own_files(
    detector: Callable[[], DarknetNetwork], tmp_path: Path
) -> None:
    network = detector()
    x = torch.rand(1, 3, 32, 32)
    found = sapwood.prune(network, x, target={"macs": 0.5}, low_rank=True)
    assert [one.module for one in found.plan.factored] == ["layers.2.conv"]
    assert len(found.model.layers) == len(network.layers) + 1  # type: ignore[arg-type]
    sapwood.save(found, tmp_path / "small")
    again = sapwood.load(tmp_path / "small")
    assert all(torch.equal(one, other) for one, other in zip(again(x), found.model(x), strict=True))
    assert apply_plan(network, found.plan).cfg == found.model.cfg  # type: ignore[union-attr]


def test_limits_of_a_network_whose_layers_get_other_numbers(detector: Callable[[], DarknetNetwork]) -> None:
    """Layer 2 becomes two, so that layer 2 is layer 3; the bounds are those of the ``.cfg`` that was given."""
    network, x = detector(), torch.rand(1, 3, 32, 32)
    limits = {"bounds": {"layers.2": (0.75, 0.8), "layers.1.conv": (0.9, 1.0)}, "round_to": 1}
    found = sapwood.prune(network, x, target={"macs": 0.6}, limits=limits, low_rank=True)
    assert [one.module for one in found.plan.factored] == ["layers.2.conv"]
    _, first, between, second, *_ = (getattr(layer, "conv", None) for layer in found.model.layers)  # type: ignore[union-attr]
    assert 58 <= first.out_channels <= 64
    assert between.out_channels < 32
    assert 48 <= second.out_channels <= 51


def test_what_stays_whole_has_the_numbers_of_the_network_given(detector: Callable[[], DarknetNetwork]) -> None:
    found = sapwood.prune(detector(), torch.rand(1, 3, 32, 32), target={"macs": 0.5}, low_rank=True)
    named = {f"{one.tensor}[{one.dim}]": one.reason for one in found.unpruned}
    assert named.keys() == {"layers.0.conv.weight[1]", "layers.4.conv.weight[0]", "layers.4.conv.bias[0]"}
    assert "'layers.0.conv'" in named["layers.0.conv.weight[1]"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--macs", "0.5", "--remove-blocks", "1"], "--low-rank: got --remove-blocks 1, too; expected one of them"),
        (["--macs", "0.5", "--as-config"], "--low-rank: got --as-config, too; no config of transformers says"),
        (["--sparsity", "0.5"], "--low-rank: got --sparsity 0.5, which counts channels; expected --macs, --params"),
        (["--remove-blocks", "1"], "--low-rank: got --remove-blocks 1, too; expected one of them"),
    ],
)
def test_the_command_names_what_does_not_go_with_it(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the model is read: there is none."""
    with pytest.raises(SystemExit) as ended:
        main(["prune", "none.cfg", "--low-rank", *options])
    assert ended.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_the_command(
    detector: Callable[[], DarknetNetwork], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg, weights = tmp_path / "net.cfg", tmp_path / "net.weights"
    cfg.write_text(JOINED)
    sapwood.models.write_weights(weights, detector())
    how = [str(cfg), "--weights", str(weights), "--macs", "0.5", "--low-rank", "-o", str(tmp_path / "small"), "--json"]
    with pytest.raises(SystemExit) as ended:
        main(["prune", *how])
    assert not ended.value.code
    record = json.loads(capsys.readouterr().out)
    assert record["options"]["low_rank"] is True
    assert {row["name"] for row in record["layers"]} >= {"layers.2.conv", "layers.4.conv"}
    assert (tmp_path / "small" / "model.cfg").read_text().count("[convolutional]") == 5
    page = (tmp_path / "small" / "report.html").read_text()
    assert "how many channels are between the two: layers.2.conv" in page
    bundle = sapwood.load_model(str(tmp_path / "small" / "model.cfg"), weights=tmp_path / "small" / "model.weights")
    assert sapwood.count_macs(bundle.model, bundle.example_inputs).total == record["after"]["macs"]


def test_with_pictures_the_criterion_is_obs_where_none_is_named() -> None:
    """By the size of a direction another plan comes out."""

    def cuts(**options: Any) -> object:
        found = sapwood.prune(net(), X, target={"macs": 0.15}, low_rank=True, **options)
        assert found.of_two is not None
        assert found.of_two.plan.cuts
        return found.of_two.plan.cuts

    assert cuts(calibration=calibration()) == cuts(calibration=calibration(), criterion="obs")
    assert cuts(calibration=calibration()) != cuts(calibration=calibration(), criterion="l2")
    assert cuts() == cuts(criterion="l2")


class Chain(nn.Sequential):
    """Linear layers of which each has few directions; all that they read counts, not some places of it."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.Linear(64, 4))
        for one in (self[2], self[4]):
            one.weight.data = torch.randn(64, 4) @ torch.randn(4, 64) / 16


def test_what_was_collected_of_two_layers_is_that_of_the_one_that_they_become_again() -> None:
    rows = [torch.randn(16, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    seen = Calibration(rows, lambda model, batch: model(batch).square().mean())
    model = Chain()
    network = two_layers(model, rows[0], Target(macs=0.3), seen)
    assert set(network.layers) == {"2", "4"}
    fewer = with_fewer(network, model, rows[0], ["4"])
    ways = Ways(scorer(model, "obs", seen), None, None, Limits(), None, None, None)
    moved = renamed_ways(ways, network, fewer).score.of(fewer.model).statistics()
    anew = scorer(fewer.model, "obs", seen).statistics()
    assert moved is not None
    assert anew is not None
    for name in ("input_gram", "output_grad_squared"):
        assert moved[name].keys() == anew[name].keys() == {"0", "2.0", "2.1", "4", "5"}
        for module, value in anew[name].items():
            assert torch.allclose(moved[name][module], value, rtol=1e-4, atol=1e-9)


def test_statistics_of_parameters_are_collected_anew() -> None:
    """The gradient of a layer's weight does not follow from those of the two that it was."""
    x = torch.randn(16, 8)
    seen = Calibration([x], lambda model, batch: model(batch).square().mean())
    network = two_layers(Chain(), x, Target(macs=0.3), seen)
    fewer = with_fewer(network, Chain(), x, ["4"])
    ways = Ways(scorer(Chain(), "taylor", seen), None, None, Limits(), None, None, None)
    found = renamed_ways(ways, network, fewer).score.of(fewer.model).statistics()
    assert found is not None
    assert "4.weight" in found["grad"]
