"""Targets, limits and deployments: what they refuse, and that what they ask for holds after pruning."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import nn

from sapwood.errors import ConfigError
from sapwood.pipeline import Deployment, Limits, Target, matching_tensors, prune
from support.probes import PROBES, conv, picture

NAN, INF = float("nan"), float("inf")
FRACTION = "expected the fraction kept, a number in (0, 1]"
LATENCY = f"{FRACTION}, or a time with its unit, as 10ms"
GOALS = "expected exactly one of sparsity=, params=, macs=, latency="


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, f"Target() names no goal; {GOALS}"),
        ({"macs": 0.5, "params": 0.25}, f"Target(params=0.25, macs=0.5) names 2 goals; {GOALS}"),
        ({"sparsity": 1.0}, "sparsity 1.0; expected a number in [0, 1)"),
        ({"sparsity": -0.5}, "sparsity -0.5; expected a number in [0, 1)"),
        ({"sparsity": NAN}, "sparsity nan; expected a number in [0, 1)"),
        ({"params": 0.0}, f"params 0.0; {FRACTION}"),
        ({"params": 1.5}, f"params 1.5; {FRACTION}"),
        ({"macs": -1.0}, f"macs -1.0; {FRACTION}"),
        ({"macs": NAN}, f"macs nan; {FRACTION}"),
        ({"latency": 0.0}, f"latency 0.0; {LATENCY}"),
        ({"latency": INF}, f"latency inf; {LATENCY}"),
        ({"latency": 10}, f"latency 10.0; {LATENCY}; did you mean 0.1 or 10ms?"),
        ({"latency": "10"}, f"latency '10'; {LATENCY}; did you mean 0.1 or 10ms?"),
        ({"latency": "0ms"}, f"latency '0ms'; {LATENCY}"),
        ({"latency": "-1ms"}, f"latency '-1ms'; {LATENCY}"),
        ({"latency": "1e3ms"}, f"latency '1e3ms'; {LATENCY}"),
        ({"latency": "10 fps"}, f"latency '10 fps'; {LATENCY}"),
        ({"latency": "0.5,10ms"}, f"latency '0.5,10ms'; {LATENCY}"),
        ({"latency": [0.5, "10ms"]}, f"latency [0.5, '10ms']; {LATENCY}"),
        ({"macs": "10ms"}, "macs '10ms'; expected a number"),
    ],
)
def test_bad_targets(fields: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        Target(**fields)


@pytest.mark.parametrize("fields", [{"sparsity": 0.0}, {"params": 1.0}, {"macs": 1}, {"latency": 0.5}])
def test_good_targets(fields: dict[str, float]) -> None:
    ((kind, value),) = fields.items()
    target = Target(**fields)
    assert (target.kind, target.value) == (kind, float(value))


WHOLE = "expected a whole number of at least 1"
BOUNDS = "expected two fractions kept, 0 <= smallest <= largest <= 1"


@pytest.mark.parametrize(
    ("make", "fields", "message"),
    [
        (Limits, {"round_to": 0}, f"round_to: got 0; {WHOLE}"),
        (Limits, {"round_to": 2.0}, f"round_to: got 2.0; {WHOLE}"),
        (Limits, {"round_to": True}, f"round_to: got True; {WHOLE}"),
        (Limits, {"minimum": -1}, f"minimum: got -1; {WHOLE}"),
        (Limits, {"bounds": {"a": (0.6, 0.5)}}, f"bounds of 'a': got (0.6, 0.5); {BOUNDS}"),
        (Limits, {"bounds": {"a": (-0.1, 0.5)}}, f"bounds of 'a': got (-0.1, 0.5); {BOUNDS}"),
        (Limits, {"bounds": {"a": (0.5, 1.1)}}, f"bounds of 'a': got (0.5, 1.1); {BOUNDS}"),
        (Limits, {"bounds": {"a": (NAN, 1.0)}}, f"bounds of 'a': got (nan, 1.0); {BOUNDS}"),
        (Limits, {"bounds": {"a": (0.0, 0.0)}}, f"bounds of 'a': got (0.0, 0.0); {BOUNDS}"),
        (Deployment, {"threads": 0}, f"threads: got 0; {WHOLE}"),
        (Deployment, {"threads": 1.5}, f"threads: got 1.5; {WHOLE}"),
        (Deployment, {"batch": False}, f"batch: got False; {WHOLE}"),
    ],
)
def test_bad_limits_and_deployments(make: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        make(**fields)


def test_threads_that_are_not_given_are_all_there_are() -> None:
    assert Deployment(threads=3).num_threads == 3
    assert Deployment().num_threads >= 1


def network() -> nn.Sequential:
    """3 -> 16 -> 16 -> 16 -> 5 channels, all convolutions alike."""
    return nn.Sequential(conv(3, 16), nn.ReLU(), conv(16, 16), nn.ReLU(), conv(16, 16), nn.ReLU(), conv(16, 5))


def widths(limits: Limits, macs: float = 0.3, **options: Any) -> list[int]:
    pruned = prune(network(), picture(), target=Target(macs=macs), limits=limits, **options)
    assert pruned.verification.passed
    return [pruned.model[place].out_channels for place in (0, 2, 4)]


@pytest.mark.parametrize("pattern", ["0", "0.weight", "0.weight[0]", "0.weight[[]0]", "?.weight[0]", "?.weight[[]0]"])
def test_bounds_hold(pattern: str) -> None:
    found = widths(Limits(bounds={pattern: (0.75, 0.8)}), macs=0.65)
    concerned = found if pattern.startswith("?") else found[:1]
    assert concerned == [12] * len(concerned)  # ceil(0.75 * 16) = floor(0.8 * 16) = 12


def test_a_module_without_channels_of_its_own_stands_for_all_in_it() -> None:
    """Of one that has, as attention, what is in it is not meant."""
    model = nn.Sequential(nn.Sequential(conv(3, 16), nn.ReLU()), nn.Sequential(conv(16, 16), nn.ReLU(), conv(16, 5)))
    pruned = prune(model, picture(), target=Target(macs=0.4), limits=Limits(bounds={"0": (0.75, 0.8)}))
    assert pruned.model[0][0].out_channels == 12  # type: ignore[index]
    assert pruned.model[1][0].out_channels < 12  # type: ignore[index]


def test_the_tighter_of_two_bounds_holds() -> None:
    found = widths(Limits(bounds={"*": (0.25, 0.9), "2": (0.75, 1.0)}), macs=0.4)
    assert all(4 <= width <= 14 for width in found)
    assert found[1] >= 12


def test_equal_layers_stay_equal() -> None:
    free = widths(Limits(round_to=1), criterion="random")
    tied = widths(Limits(round_to=1, equal=(("0", "4"),)), criterion="random")
    assert len(set(free)) > 1
    assert tied[0] == tied[2] < 16
    assert len(set(widths(Limits(equal=(("0", "2"), ("2", "4.weight"))), criterion="random"))) == 1


def test_minimum_and_round_to_hold() -> None:
    assert min(widths(Limits(minimum=7))) >= 7
    assert {width % 4 for width in widths(Limits(round_to=4))} == {0}
    assert widths(Limits(minimum=16), macs=1.0) == [16, 16, 16]


@pytest.mark.parametrize("what", ["bounds", "equal"])
def test_patterns_that_name_nothing(what: str) -> None:
    limits = Limits(bounds={"conv9": (0.5, 1.0)}) if what == "bounds" else Limits(equal=(("0", "conv9"),))
    with pytest.raises(ConfigError, match=f"^{what} 'conv9' names no channels that can go; expected a layer or a dim"):
        widths(limits)


def test_bounds_that_contradict_each_other_name_the_group() -> None:
    with pytest.raises(ConfigError, match=r"no width of 16 channels is a multiple of 1, at least 12 and at most 4"):
        widths(Limits(bounds={"0": (0.75, 1.0), "?": (0.0, 0.25)}))


def test_ignored_types_stay_whole() -> None:
    model = nn.Sequential(conv(3, 16), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 64, 12), nn.ReLU(), nn.Linear(12, 5))
    ignore = matching_tensors(model, ["type:Linear"])
    assert sorted(ignore) == ["3.bias", "3.weight", "5.bias", "5.weight"]
    assert set(ignore.values()) == {"ignored, as asked: type:Linear"}
    assert sorted(matching_tensors(model, ["type:Conv*"])) == ["0.bias", "0.weight"]
    pruned = prune(model, picture(), target=Target(sparsity=0.5), ignore=matching_tensors(model, ["type:Linear[0]"]))
    assert pruned.model[3].weight.shape == (12, 8 * 64), (
        "its outputs stay; what the convolution loses, it does not read"
    )
    with pytest.raises(ConfigError, match=r"^--ignore 'type:GRU' names nothing; expected a parameter or a module"):
        matching_tensors(model, ["type:GRU"])


def test_whole_heads() -> None:
    model, inputs = PROBES["attention_fused"]()
    torch.manual_seed(1)
    narrow, fewer = (
        prune(model, inputs, target=Target(macs=0.5), limits=Limits(whole_heads=whole)) for whole in (False, True)
    )
    assert (narrow.model[1].num_heads, narrow.model[1].head_dim) == (4, 2)
    assert fewer.model[1].num_heads < 4
    assert fewer.model[1].head_dim == 4
    assert fewer.model[1].qkv.out_features == 3 * 4 * fewer.model[1].num_heads
    assert narrow.verification.passed
    assert fewer.verification.passed
