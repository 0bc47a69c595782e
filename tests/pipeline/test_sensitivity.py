"""Sensitivity: every group pruned alone, against a loop that zeroes channels by hand."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapwood.errors import ConfigError, MeasureError
from sapwood.goals.sensitivity import RUINED
from sapwood.pipeline import (
    Calibration,
    Sensitivity,
    SensitivityRow,
    Target,
    compensation,
    prune,
    scorer,
    sensitivity,
)
from support.probes import PROBES, conv, picture

FRACTIONS = (0.25, 0.5)
ROUNDING = 1e-5  # relative, float32: sums of a few hundred products


def network() -> nn.Sequential:
    """3 -> 8 -> 4 -> 5 channels, each followed by what reads it."""
    return nn.Sequential(conv(3, 8), nn.ReLU(), conv(8, 4), nn.ReLU(), conv(4, 5, 1)).eval()


def measure_on(inputs: Tensor) -> object:
    target = torch.zeros(len(inputs), 5, 8, 8)

    def loss(model: nn.Module) -> float:
        with torch.no_grad():
            return float(F.mse_loss(model(inputs), target))

    return loss


def by_hand(model: nn.Sequential, layer: int, kept: int, loss: object) -> float:
    """The loss with the filters of the smallest norm at zero."""
    twin = copy.deepcopy(model)
    weight, bias = twin[layer].weight, twin[layer].bias
    norms = (weight.detach() ** 2).sum((1, 2, 3)) + twin[layer + 2].weight.detach().pow(2).sum((0, 2, 3))
    norms = norms + bias.detach() ** 2
    gone = norms.argsort()[: len(norms) - kept]
    with torch.no_grad():
        weight[gone] = 0.0
        bias[gone] = 0.0
    return loss(twin) - loss(model)  # type: ignore[operator]


def test_losses_are_those_of_a_loop_by_hand() -> None:
    model, inputs = network(), picture()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    loss = measure_on(inputs)
    seen: list[tuple[int, int]] = []
    found = sensitivity(
        model,
        inputs,
        loss,  # type: ignore[arg-type]
        score=scorer(model, "l2"),
        fractions=FRACTIONS,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert found.dense == loss(model)  # type: ignore[operator]
    assert [(row.group, row.num_channels, row.kept) for row in found.rows] == [
        ("0.weight[0]", 8, (2, 4)),
        ("2.weight[0]", 4, (1, 2)),
    ]
    for row, layer in zip(found.rows, (0, 2), strict=True):
        expected = [by_hand(model, layer, kept, loss) for kept in row.kept]
        assert row.losses == pytest.approx(expected, rel=ROUNDING, abs=ROUNDING * found.dense)
    assert json.loads(json.dumps(asdict(found)))["figure"] == "loss"


def test_of_a_figure_like_accuracy_less_is_harm() -> None:
    model, inputs = network(), picture()
    loss = measure_on(inputs)
    options = {"score": scorer(model, "l2"), "fractions": FRACTIONS}
    harm = sensitivity(model, inputs, loss, **options)  # type: ignore[arg-type]
    gain = sensitivity(model, inputs, loss, more_is_better=True, **options)  # type: ignore[arg-type]
    assert [row.losses for row in gain.rows] == [tuple(-one for one in row.losses) for row in harm.rows]


def test_curves_never_fall_with_less() -> None:
    row = SensitivityRow("a", 8, (2, 4, 6), (3.0, -1.0, 0.5))
    ((fractions, losses),) = Sensitivity("loss", 1.0, (row,)).curves().values()
    assert fractions == [0.0, 0.25, 0.5, 0.75, 1.0]
    # from 3 at 0.25 on with the slope of (3 - -1) a quarter down to nothing
    assert losses == [7.0, 3.0, 0.5, 0.5, 0.0]


def test_harms_multiply_where_the_worst_is_known() -> None:
    """Small harms are as measured; half of the worst counts as log 2 of it; no channel at all is nearly ruin."""
    row = SensitivityRow("a", 8, (2, 4, 6), (5.0, 1e-3, 1e-6))
    ((fractions, losses),) = Sensitivity("loss", 1.0, (row,), worst=10.0).curves().values()
    at = dict(zip(fractions, losses, strict=True))
    assert at[0.0] == pytest.approx(-10.0 * math.log(1.0 - RUINED))
    assert at[0.25] == pytest.approx(10.0 * math.log(2.0))
    assert at[0.5] == pytest.approx(1e-3, rel=1e-3)
    assert at[1.0] == 0.0
    assert (np.diff(losses) <= 0).all()
    assert at[0.375] < (at[0.25] + at[0.5]) / 2.0, "a convex harm is not taken for a straight line"


def test_worst_is_measured_with_all_groups_narrow() -> None:
    model, inputs = network(), picture()
    narrowest = []

    def zeros(net: nn.Module) -> float:
        narrowest.append(sum(int((one == 0).sum()) for one in net.parameters()))
        return float(narrowest[-1])

    found = sensitivity(model, inputs, zeros, score=scorer(model, "l2"), fractions=FRACTIONS)
    assert found.worst == max(narrowest) - narrowest[0] == narrowest[-1] - narrowest[0]
    assert found.worst > max(loss for row in found.rows for loss in row.losses)


@pytest.mark.parametrize("seed", range(5))
def test_any_curve_is_monotone_and_ends_at_no_harm(seed: int) -> None:
    rng = np.random.default_rng(seed)
    row = SensitivityRow("a", 16, (2, 4, 8, 12), tuple(rng.normal(size=4).tolist()))
    ((fractions, losses),) = Sensitivity("loss", 1.0, (row,)).curves().values()
    assert (np.diff(fractions) > 0).all()
    assert (np.diff(losses) <= 0).all()
    assert losses[-1] == 0.0


def test_halves_of_one_map_have_curves_of_their_own() -> None:
    """Both are named after the map they are halves of."""
    model, inputs = PROBES["chunk_both_used"]()

    def size_of_first_half(net: nn.Module) -> float:
        return -float(net.get_parameter("a.weight")[:8].abs().sum().detach())

    found = sensitivity(model, inputs, size_of_first_half, score=scorer(model, "l2"), fractions=(0.5,))
    assert [(row.group, row.first) for row in found.rows] == [("a.weight[0]", 0), ("a.weight[0]", 8)]
    assert found.rows[0].losses[0] > 0
    assert found.rows[1].losses[0] == 0
    assert len(found.curves()) == 2


def test_the_knapsack_takes_from_what_does_not_suffer() -> None:
    model, inputs = network(), picture()
    rows = (SensitivityRow("0.weight[0]", 8, (4,), (9.0,)), SensitivityRow("2.weight[0]", 4, (2,), (0.0,)))
    pruned = prune(model, inputs, target=Target(macs=0.8), sensitivity=Sensitivity("loss", 0.0, rows))
    assert pruned.model[0].out_channels == 8
    assert pruned.model[2].out_channels < 4


@pytest.mark.parametrize("fractions", [(), (0.0,), (1.0,), (0.5, 1.5), (math.nan,)])
def test_bad_fractions(fractions: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match=r"fractions \(.*\); expected numbers in \(0, 1\), the fractions kept"):
        sensitivity(network(), picture(), lambda _: 0.0, score=lambda _: [], fractions=fractions)


def test_a_figure_that_is_no_number() -> None:
    model = network()
    with pytest.raises(MeasureError, match=r"^loss of the untouched model is nan; expected a finite number$"):
        sensitivity(model, picture(), lambda _: math.nan, score=scorer(model, "l2"))


def test_a_trial_that_breaks_the_model_is_the_worst_there_is() -> None:
    model = network()
    calls = iter([1.0, math.inf, math.nan, 1.5, 2.0, math.nan])
    found = sensitivity(model, picture(), lambda _: next(calls), score=scorer(model, "l2"), fractions=FRACTIONS)
    worst = float(np.finfo(np.float32).max)
    assert [row.losses for row in found.rows] == [(worst, worst), (0.5, 1.0)]
    assert found.worst == worst


def test_a_measurement_that_fails_leaves_the_model_as_it_was() -> None:
    model = network()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    kept: list[nn.Module] = []

    def fails_the_second_time(net: nn.Module) -> float:
        kept.append(net)
        return 1.0 / (2 - len(kept))

    with pytest.raises(ZeroDivisionError):
        sensitivity(model, picture(), fails_the_second_time, score=scorer(model, "l2"))
    assert all(torch.equal(value, before[key]) for key, value in kept[0].state_dict().items()), "the copy, too"
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("groups", [1, 2])
def test_harm_is_less_where_the_next_layer_is_solved_anew(groups: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 3, groups=groups, bias=False)).eval()
    inputs = torch.randn(16, 3, 8, 8)
    wanted = model(inputs).detach()

    def apart(twin: nn.Module) -> float:
        with torch.no_grad():
            return float(F.mse_loss(twin(inputs), wanted))

    calibration = Calibration([inputs], lambda twin, batch: F.mse_loss(twin(batch), wanted + 1.0))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    harms = []
    for compensate in (None, compensation(model, calibration)):
        found = sensitivity(model, inputs, apart, score=scorer(model, "l2"), fractions=(0.75,), compensate=compensate)
        harms.append([row.losses[0] for row in found.rows if row.group == "0.weight[0]"])
    assert len(harms[0]) == len(harms[1]) >= 1
    assert all(after < 0.5 * plain for plain, after in zip(*harms, strict=True))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
