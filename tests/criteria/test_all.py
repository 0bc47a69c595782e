"""What holds for every criterion."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sapwood.calibration import STATISTICS, Statistics, collect
from sapwood.criteria import CRITERIA, ModelView, make_criterion, parameters_of
from sapwood.errors import ConfigError, CriterionError, ShapeError
from sapwood.graph import build_groups, trace
from sapwood.models import copy_model
from support.nets import Net, batches, loss, net

CLOSE = {"rtol": 1e-7, "atol": 1e-10}
"""float64, gradients through a network whose sums run in another order."""


def view_of(model: nn.Module) -> ModelView:
    analysis = build_groups(trace(model, batches()[0][0][:2]))
    return ModelView.of(model, analysis, collect(model, batches(), loss, set(STATISTICS)))


@pytest.fixture(scope="module")
def view() -> ModelView:
    return view_of(net())


def test_the_network_has_the_groups_it_is_for(view: ModelView) -> None:
    assert [(group.name, group.num_channels) for group in view.analysis.groups] == [
        ("stem.weight[0]", 6),
        ("inside.weight[0]", 5),
        ("up.bias[0]", 4),
        ("joined.weight[0]", 4),
    ]


@pytest.mark.parametrize("name", CRITERIA)
def test_one_finite_score_a_channel(name: str, view: ModelView) -> None:
    criterion = make_criterion(name)
    for group in view.analysis.groups:
        scores = criterion.group_scores(group, view)
        assert scores.shape == (group.num_channels,)
        assert scores.dtype == torch.float64
        assert bool(torch.isfinite(scores).all())
        assert not scores.requires_grad
        assert len(scores.unique()) > 1


@pytest.mark.parametrize("name", CRITERIA)
def test_the_same_twice_and_nothing_is_changed(name: str, view: ModelView) -> None:
    criterion = make_criterion(name)
    assert view.statistics is not None
    held = [*view.parameters.values(), *(value for one in view.statistics.values.values() for value in one.values())]
    before = [value.clone() for value in held]
    first = [criterion.group_scores(group, view) for group in view.analysis.groups]
    assert all(torch.equal(value, old) for value, old in zip(held, before, strict=True))
    for group, scores in zip(view.analysis.groups, first, strict=True):
        assert torch.equal(criterion.group_scores(group, view), scores)


@pytest.mark.parametrize("name", CRITERIA)
def test_it_needs_no_statistics_but_those_it_names(name: str, view: ModelView) -> None:
    criterion = make_criterion(name)
    assert view.statistics is not None
    few = Statistics({need: view.statistics[need] for need in criterion.needs}, view.statistics.num_samples)
    some = ModelView(view.parameters, view.analysis, view.modules, few)
    for group in view.analysis.groups:
        assert torch.equal(criterion.group_scores(group, some), criterion.group_scores(group, view))
    assert criterion.needs <= set(STATISTICS)
    if criterion.needs:
        with pytest.raises(ConfigError, match=f"needs the statistic '{min(criterion.needs)}', and none were collected"):
            criterion.group_scores(view.analysis.groups[0], ModelView.of(net(), view.analysis))


def permuted(model: Net, orders: dict[str, Tensor]) -> Net:
    """The same function with the channels of each group in another order."""
    twin = copy_model(model)
    stem, inside, up, joined = (orders[name] for name in ("stem", "inside", "up", "joined"))
    rows = {
        **dict.fromkeys(("stem", "norm", "back", "back_norm", "depthwise", "depthwise_norm"), stem),
        **dict.fromkeys(("inside", "inside_norm"), inside),
        "up_norm": up,
        **dict.fromkeys(("joined", "joined_norm"), joined),
    }
    for name, order in rows.items():
        module = twin.get_submodule(name)
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.dim():
                tensor.data = tensor.data[order]
    columns = {"inside": stem, "back": inside, "joined": torch.cat([stem, 6 + up])}
    for name, order in columns.items():
        weight = twin.get_submodule(name).weight
        weight.data = weight.data[:, order]
    twin.up.weight.data = twin.up.weight.data[stem][:, up]
    twin.up.bias.data = twin.up.bias.data[up]
    twin.head.weight.data = twin.head.weight.data.reshape(3, 4, 9)[:, joined].reshape(3, 36)
    return twin


ORDERS = {
    "stem": torch.tensor([3, 1, 5, 0, 2, 4]),
    "inside": torch.tensor([4, 2, 0, 1, 3]),
    "up": torch.tensor([1, 3, 0, 2]),
    "joined": torch.tensor([2, 0, 3, 1]),
}


def test_the_permuted_network_computes_the_same() -> None:
    picture = batches()[0][0]
    torch.testing.assert_close(permuted(net(), ORDERS)(picture), net()(picture))


@pytest.fixture(scope="module")
def permuted_view() -> ModelView:
    return view_of(permuted(net(), ORDERS))


@pytest.mark.parametrize("name", sorted(set(CRITERIA) - {"random"}))
def test_permuting_channels_permutes_scores(name: str, view: ModelView, permuted_view: ModelView) -> None:
    criterion = make_criterion(name)
    for group, order in zip(permuted_view.analysis.groups, ORDERS.values(), strict=True):
        original = next(one for one in view.analysis.groups if one.name == group.name)
        wanted = criterion.group_scores(original, view)[order]
        torch.testing.assert_close(criterion.group_scores(group, permuted_view), wanted, **CLOSE)


ONE_BY_ONE = sorted(set(CRITERIA) - {"random", "obs"})
"""Criteria that score each channel by itself: to `obs` it matters which ones went before."""


@pytest.fixture(scope="module")
def equal_view() -> ModelView:
    model = net()
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.25)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    return view_of(model)


@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_equal_weights_score_equal(name: str, equal_view: ModelView) -> None:
    scores = make_criterion(name).group_scores(equal_view.analysis.groups[1], equal_view)
    torch.testing.assert_close(scores, scores[:1].expand(5), **CLOSE)


@pytest.fixture(scope="module")
def zero_view() -> ModelView:
    model = net()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    return view_of(model)


@pytest.mark.parametrize("how", ["none", "sum", "mean", "max", "standard"])
@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_weights_that_are_all_zero_score_zero(name: str, how: str, zero_view: ModelView) -> None:
    for group in zero_view.analysis.groups:
        assert not make_criterion(name, normalize=how).group_scores(group, zero_view).any()


@pytest.mark.parametrize("reduction", ["sum", "mean", "max"])
@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_normalised_scores_are_of_one_size(name: str, reduction: str, view: ModelView) -> None:
    for group in view.analysis.groups:
        plain = make_criterion(name, reduction=reduction).group_scores(group, view)
        by = {
            how: make_criterion(name, reduction=reduction, normalize=how) for how in ("sum", "mean", "max", "standard")
        }
        scores = {how: criterion.group_scores(group, view) for how, criterion in by.items()}
        assert float(scores["sum"].abs().sum()) == pytest.approx(1)
        assert float(scores["mean"].abs().mean()) == pytest.approx(1)
        assert float(scores["max"].abs().max()) == pytest.approx(1)
        assert float(scores["standard"].mean()) == pytest.approx(0, abs=1e-9)
        assert float(scores["standard"].std(correction=0)) == pytest.approx(1)
        assert all(torch.equal(one.argsort(), plain.argsort()) for one in scores.values())


@pytest.mark.parametrize("name", CRITERIA)
def test_parameters_go_there_and_back(name: str) -> None:
    criterion = make_criterion(name)
    assert criterion.name == name
    assert make_criterion(name, **parameters_of(criterion)) == criterion


@pytest.mark.parametrize("name", [name for name in CRITERIA if CRITERIA[name].scores_weights])
def test_one_finite_score_a_weight(name: str, view: ModelView) -> None:
    for parameter in ("stem.weight", "depthwise.weight", "up.weight", "joined.weight", "head.weight"):
        scores = make_criterion(name).weight_scores(parameter, view)
        assert scores.shape == view.parameters[parameter].shape
        assert bool(torch.isfinite(scores).all())
    with pytest.raises((ConfigError, CriterionError), match="nothing"):
        make_criterion(name).weight_scores("nothing", view)


@pytest.mark.parametrize("name", [name for name in CRITERIA if not CRITERIA[name].scores_weights])
def test_the_others_say_who_scores_weights(name: str, view: ModelView) -> None:
    message = (
        f"the criterion '{name}' scores channels only; these score single weights: "
        "fisher, l1, l2, lamp, movement, norm, obs, random, taylor, wanda"
    )
    with pytest.raises(ConfigError, match=message):
        make_criterion(name).weight_scores("stem.weight", view)


def test_weights_and_biases_that_are_nan_are_refused(view: ModelView) -> None:
    bad = {**view.parameters, "stem.weight": view.parameters["stem.weight"] * math.nan}
    broken = ModelView(bad, view.analysis, view.modules, view.statistics)
    with pytest.raises(CriterionError, match=r"stem.weight\[0\]: its scores by 'l2' are NaN or infinite in 6 places"):
        make_criterion("l2").group_scores(view.analysis.groups[0], broken)
    with pytest.raises(CriterionError, match=r"stem.weight: its scores by 'l2' are NaN or infinite in 162 places"):
        make_criterion("l2").weight_scores("stem.weight", broken)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("best", {}, "unknown criterion 'best'; expected one of: activation_mean, apoz, bn_scale, fisher,"),
        ("l2", {"p": 1}, "the criterion 'l2' has no parameter 'p'; it has: reduction, normalize, members, n"),
        ("norm", {"n": 0}, r"n is 0; expected a number in \(0, inf\)"),
        ("norm", {"n": "two"}, "n is 'two'; expected float"),
        ("random", {"seed": 1.5}, "seed is 1.5; expected int"),
        ("taylor", {"reduction": "median"}, "reduction is 'median'; expected one of: 'sum', 'mean', 'max'"),
        ("wanda", {"normalize": True}, "normalize is True; expected one of: 'none', 'sum', 'mean', 'max', 'standard'"),
        ("taylor", {"variant": "best"}, "variant is 'best'; expected one of: 'abs', 'squared_sum', 'sum_of_squares'"),
    ],
)
def test_bad_parameters(name: str, parameters: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_criterion(name, **parameters)


def test_statistics_of_another_model_are_refused(view: ModelView) -> None:
    other = Statistics({"grad": {"stem.weight": torch.zeros(2)}, "input_norm": {"inside": torch.zeros(3)}}, 1)
    strange = ModelView(view.parameters, view.analysis, view.modules, other)
    with pytest.raises(ShapeError, match=r"'grad' of 'stem.weight' is of shape \(2,\); expected \(6, 3, 3, 3\)"):
        make_criterion("taylor").weight_scores("stem.weight", strange)
    with pytest.raises(CriterionError, match=r"the statistic 'grad' knows no parameter 'up.weight'"):
        make_criterion("taylor").weight_scores("up.weight", strange)
    with pytest.raises(ShapeError, match=r"'input_norm' of 'inside' is of shape \(3,\); expected \(6,\)"):
        make_criterion("wanda").weight_scores("inside.weight", strange)
    with pytest.raises(CriterionError, match="the statistic 'input_norm' knows no module 'up': it did not run"):
        make_criterion("wanda").weight_scores("up.weight", strange)


def test_random_depends_on_seed_and_name_alone(view: ModelView) -> None:
    groups = view.analysis.groups
    first, other = make_criterion("random"), make_criterion("random", seed=1)
    assert not torch.equal(first.group_scores(groups[0], view), other.group_scores(groups[0], view))
    assert not np.array_equal(first.group_scores(groups[2], view), first.group_scores(groups[3], view))
