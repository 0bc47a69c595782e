"""Work as a function of widths is the work of the really pruned model, to the last multiplication."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sapwood.allocation import CostTable, channels_table, layer_work, params_table
from sapwood.graph import build_groups, trace
from sapwood.measure import count_macs, count_params
from support.probes import PROBES, conv
from support.widths import RandomlyPruned, prune_at_random

EXACT = (
    1e-9  # relative: products of whole numbers below 2**53, through fractions (rows a channel) that may not be whole
)

STAY_WHOLE = {"cut_to_one_channel", "group_norm_across_halves", "index_select_permutation", "temporal_shift"}
"""Probes whose code lets go of nothing at these widths (tests/pipeline/test_prune.py says why); costs agree anyway."""


BY_VALUES = {"rows_as_often_as_said"}
"""Probes whose number of rows follows from values: how much a pruned one has to do, no widths tell."""


def costs(pruned: RandomlyPruned, num_params: int) -> tuple[float, float]:
    """MACs and parameters by the tables."""
    macs = layer_work(pruned.analysis, pruned.held).table("macs", "MACs")
    return macs.total(pruned.kept), params_table(pruned.analysis, num_params, pruned.held).total(pruned.kept)


def check(model: nn.Module, inputs: Any, seed: int) -> bool:
    """Compares the tables with what is counted on the pruned model; returns whether that is smaller at all."""
    pruned = prune_at_random(model, inputs, seed)
    macs, params = costs(pruned, count_params(model))
    assert macs == pytest.approx(count_macs(pruned.model, inputs).total, rel=EXACT)
    assert params == pytest.approx(count_params(pruned.model), rel=EXACT)
    return count_params(pruned.model) < count_params(model)


@pytest.mark.parametrize("name", sorted(set(PROBES) - BY_VALUES))
def test_tables_are_what_is_counted(name: str) -> None:
    model, inputs = PROBES[name]()
    smaller = [check(model, inputs, seed) for seed in range(2)]
    assert any(smaller) or name in STAY_WHOLE


def check_torchvision(name: str) -> None:
    models = pytest.importorskip("torchvision.models")
    model, inputs = getattr(models, name)(weights=None).eval(), torch.randn(1, 3, 64, 64)
    assert check(model, inputs, 0)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_torchvision(name: str) -> None:
    check_torchvision(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["densenet121", "shufflenet_v2_x0_5"])
def test_deep_torchvision(name: str) -> None:
    check_torchvision(name)


def test_a_vision_transformer() -> None:
    timm = pytest.importorskip("timm")
    model = timm.create_model("vit_tiny_patch16_224", depth=2, img_size=64, num_classes=5).eval()
    assert check(model, torch.randn(1, 3, 64, 64), 0)


def test_work_by_hand() -> None:
    """3 -> 4 -> 6 -> 5 channels, on 8 x 8 and then 4 x 4 places, for a batch of 2."""
    first, second, last = conv(3, 4), nn.Conv2d(4, 6, 3, stride=2, padding=1), conv(6, 5, 1)
    model = nn.Sequential(first, nn.ReLU(), second, last).eval()
    inputs = torch.randn(2, 3, 8, 8)
    analysis = build_groups(trace(model, inputs))
    assert [group.name for group in analysis.groups] == ["0.weight[0]", "2.weight[0]"]
    work = layer_work(analysis)
    assert work.layers == ("0", "1", "2", "3")
    for a, b in ((4, 6), (3, 5), (1, 1)):
        kept = np.array([a, b])
        by_kind = {kind: CostTable(kind, work.terms[kind]).by_layer(kept) for kind in work.terms}
        assert by_kind["macs"] == {"0": 2 * 64 * 27 * a, "2": 2 * 16 * 9 * a * b, "3": 2 * 16 * b * 5}
        assert by_kind["reads"] == {"0": 2 * 3 * 64, "1": 2 * 64 * a, "2": 2 * 64 * a, "3": 2 * 16 * b}
        assert by_kind["writes"] == {"0": 2 * 64 * a, "1": 2 * 64 * a, "2": 2 * 16 * b, "3": 2 * 16 * 5}
        params = params_table(analysis, count_params(model)).total(kept)
        assert params == (27 + 1) * a + (9 * a + 1) * b + (b + 1) * 5
        assert channels_table(analysis, {}).total(kept) == a + b


def test_parameters_outside_of_the_run_are_fixed() -> None:
    model = nn.Sequential(conv(3, 4), conv(4, 5)).eval()
    analysis = build_groups(trace(model, torch.randn(1, 3, 8, 8)))
    table = params_table(analysis, count_params(model) + 100)
    assert table.fixed == 100
    assert table.total(np.array([2])) == 100 + 28 * 2 + (9 * 2 + 1) * 5


def test_held_groups_do_not_move() -> None:
    model = nn.Sequential(conv(3, 4), conv(4, 5, bias=False)).eval()
    analysis = build_groups(trace(model, torch.randn(1, 3, 8, 8)))
    held = {0: "for the test"}
    assert layer_work(analysis, held).table("macs", "MACs").total(np.array([1])) == 64 * 27 * 4 + 64 * 9 * 4 * 5
    assert params_table(analysis, count_params(model), held).total(np.array([1])) == count_params(model)
