"""Each criterion worked out by hand, and the ones that look at activations against slow references."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune

from sapwood.calibration import STATISTICS, Statistics, collect
from sapwood.criteria import ModelView, make_criterion, norm_scores, score_groups
from sapwood.criteria.reduce import reduced
from sapwood.errors import ConfigError, CriterionError
from sapwood.graph import ChannelGroup, build_groups, trace
from support.nets import batches, loss, net

CLOSE = {"rtol": 1e-9, "atol": 1e-12}
"""Both sides are float64: sums of a few hundred terms in another order."""


class Pair(nn.Module):
    """Two linear modules: channel c is row c of the first and column c of the second."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 3, bias=False)
        self.second = nn.Linear(3, 2, bias=False)
        self.first.weight.data = torch.tensor([[1.0, 2.0], [0.0, -3.0], [4.0, 0.0]])
        self.second.weight.data = torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, -1.0]])

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.relu(self.first(x)))


def pair_view(**values: dict[str, Tensor]) -> tuple[ChannelGroup, ModelView]:
    model = Pair()
    analysis = build_groups(trace(model, torch.ones(1, 2)))
    (group,) = analysis.groups
    return group, ModelView.of(model, analysis, Statistics(values, 1))


def scored(name: str, parameters: dict[str, Any], **values: dict[str, Tensor]) -> list[float]:
    group, view = pair_view(**values)
    return make_criterion(name, **parameters).group_scores(group, view).tolist()


GRAD = {
    "first.weight": torch.tensor([[1.0, 1.0], [5.0, 1.0], [0.5, 9.0]]),
    "second.weight": torch.tensor([[1.0, 7.0, 2.0], [3.0, 3.0, 1.0]]),
}
"""Times the weights: rows (1, 2), (0, -3), (2, 0); columns (2, 0), (0, 3), (2, -1)."""


@pytest.mark.parametrize(
    ("name", "parameters", "wanted"),
    [
        ("l1", {}, [5, 4, 6]),
        ("l1", {"reduction": "max"}, [3, 3, 4]),
        ("l1", {"reduction": "mean"}, [2.5, 2, 3]),
        ("l1", {"members": "producers"}, [3, 3, 4]),
        ("l1", {"members": "consumers"}, [2, 1, 2]),
        ("l2", {}, [9**0.5, 10**0.5, 18**0.5]),
        ("norm", {"n": 3}, [17 ** (1 / 3), 28 ** (1 / 3), 66 ** (1 / 3)]),
        ("l1", {"normalize": "sum"}, [5 / 15, 4 / 15, 6 / 15]),
        ("l1", {"normalize": "max"}, [5 / 6, 4 / 6, 1]),
        ("lamp", {}, [9 / 37, 10 / 28, 1]),
        ("fpgm", {}, [26**0.5 + 13**0.5, 26**0.5 + 25**0.5, 13**0.5 + 25**0.5]),
        ("taylor", {}, [3 + 2, 3 + 3, 2 + 3]),
        ("taylor", {"variant": "squared_sum"}, [25, 0, 9]),
        ("taylor", {"variant": "squared_sum", "members": "consumers"}, [4, 9, 1]),
        ("taylor", {"variant": "squared_sum", "reduction": "max"}, [9, 9, 4]),
        ("taylor", {"variant": "sum_of_squares"}, [9, 18, 9]),
        ("taylor", {"variant": "signed"}, [-5, 0, -3]),
    ],
)
def test_of_weights(name: str, parameters: dict[str, Any], wanted: list[float]) -> None:
    assert scored(name, parameters, grad=GRAD) == pytest.approx(wanted)


def test_fisher() -> None:
    """Half of weight squared times the statistic: rows (1, 4), (0, 9), (16, 0); columns (4, 0), (0, 1), (1, 1)."""
    assert scored("fisher", {}, grad_squared=GRAD) == pytest.approx([(1 + 4 + 4) / 2, (9 + 3) / 2, (8 + 2 + 1) / 2])


def test_movement() -> None:
    assert scored("movement", {}, movement=GRAD) == [2 + 4, 6 + 10, 9.5 + 3]


@pytest.mark.parametrize(
    ("name", "parameters", "statistic", "inputs", "wanted"),
    [
        ("taylor_activation", {}, "gate_grad", [1.0, -2.0, 0.0], [1, 2, 0]),
        ("fisher_activation", {}, "gate_grad_squared", [1.0, 4.0, 0.0], [0.5, 2, 0]),
        ("activation_mean", {}, "input_abs_mean", [1.0, 4.0, 0.0], [1, 4, 0]),
        ("apoz", {}, "input_zeros", [0.25, 1.0, 0.0], [0.75, 0, 1]),
        ("wanda", {}, "input_norm", [3.0, 2.0, 5.0], [2 * 3, 1 * 2, 2 * 5]),
    ],
)
def test_of_activations(
    name: str, parameters: dict[str, Any], statistic: str, inputs: list[float], wanted: list[float]
) -> None:
    assert scored(name, parameters, **{statistic: {"second": torch.tensor(inputs)}}) == wanted


@pytest.mark.parametrize(
    ("name", "parameters", "wanted"),
    [
        ("l2", {}, [[2, 0, 1], [0, 1, 1]]),
        ("lamp", {}, [[4 / 4, 0, 1 / 7], [0, 1 / 7, 1 / 7]]),
        ("taylor", {}, [[2, 0, 2], [0, 3, 1]]),
        ("taylor", {"variant": "squared_sum"}, [[4, 0, 4], [0, 9, 1]]),
        ("fisher", {}, [[2, 0, 1], [0, 1.5, 0.5]]),
        ("movement", {}, [[1, 7, 2], [3, 3, 1]]),
        ("wanda", {}, [[6, 0, 5], [0, 2, 5]]),
    ],
)
def test_of_single_weights(name: str, parameters: dict[str, Any], wanted: list[list[float]]) -> None:
    norms = {"second": torch.tensor([3.0, 2.0, 5.0])}
    _, view = pair_view(grad=GRAD, grad_squared=GRAD, movement=GRAD, input_norm=norms)
    scores = make_criterion(name, **parameters).weight_scores("second.weight", view)
    assert scores.flatten().tolist() == pytest.approx(np.ravel(wanted).tolist())


def test_norm_scores_are_those_of_norm() -> None:
    group, view = pair_view()
    assert torch.equal(norm_scores(group, view.parameters, n=3), make_criterion("norm", n=3).group_scores(group, view))


def test_bn_scale_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1)).eval()
    model[1].weight.data = torch.tensor([-2.0, 0.5, 0.0])
    analysis = build_groups(trace(model, torch.ones(1, 1, 4, 4)))
    assert make_criterion("bn_scale").group_scores(
        analysis.groups[0], ModelView.of(model, analysis)
    ).tolist() == [2, 0.5, 0]  # fmt: skip


def test_reductions_of_signed_values() -> None:
    values = [torch.tensor([1.0, -4.0]), torch.tensor([2.0, 3.0])]
    assert reduced(values, "sum").tolist() == [3, -1]
    assert reduced(values, "mean").tolist() == [1.5, -0.5]
    assert reduced(values, "max").tolist() == [2, -4]


@pytest.fixture(scope="module")
def view() -> ModelView:
    model = net()
    analysis = build_groups(trace(model, batches()[0][0][:2]))
    return ModelView.of(model, analysis, collect(model, batches(), loss, set(STATISTICS)))


READ_BY = {
    "stem.weight[0]": {"inside": (0, 6), "up": (0, 6), "joined": (0, 6)},
    "inside.weight[0]": {"back": (0, 5)},
    "up.bias[0]": {"joined": (6, 10)},
    "joined.weight[0]": {"head": (0, 36)},
}
"""Of the network in nets.py, the input channels of each module that are a group's, in order; nine pixels a channel of
the head. The depthwise convolution passes its channels on."""


def test_who_reads_what(view: ModelView) -> None:
    assert {group.name for group in view.analysis.groups} == set(READ_BY)
    for group in view.analysis.groups:
        found = view.readers.of(group)
        assert set(found) == set(READ_BY[group.name])
        for module, (start, end) in READ_BY[group.name].items():
            (rows,) = np.nonzero((found[module] >= 0).any(axis=1))
            assert rows.tolist() == list(range(start, end))
            per_channel = (end - start) // group.num_channels
            wanted = np.repeat(np.arange(group.num_channels), per_channel)
            assert found[module][start:end].max(axis=1).tolist() == wanted.tolist()


def gates_by_hand(squared: bool) -> dict[str, Tensor]:
    """A factor on every channel at every module that reads it, sample by sample."""
    model, totals = net(), {}
    for group, readers in READ_BY.items():
        total: Any = 0
        for module, (start, end) in readers.items():
            rows = []
            for pictures, labels in batches():
                for index in range(len(labels)):
                    gate = torch.ones({"head": 36, "joined": 10}.get(module, end), dtype=torch.float64).requires_grad_()

                    def gated(_: nn.Module, args: Any, gate: Tensor = gate) -> Any:
                        return (args[0] * (gate if args[0].dim() == 2 else gate[:, None, None]),)

                    handle = model.get_submodule(module).register_forward_pre_hook(gated)
                    sample = pictures[index : index + 1], labels[index : index + 1]
                    rows.append(torch.autograd.grad(loss(model, sample), gate)[0][start:end])
                    handle.remove()
            values = torch.stack(rows)
            values = values.square().mean(0) if squared else values.mean(0)
            total = total + (values.reshape(4, 9).sum(1) if module == "head" else values)
        totals[group] = total / 2 if squared else total.abs()
    return totals


def test_gates_of_every_reader(view: ModelView) -> None:
    for name, squared in (("taylor_activation", False), ("fisher_activation", True)):
        wanted = gates_by_hand(squared)
        for group in view.analysis.groups:
            scores = make_criterion(name).group_scores(group, view)
            torch.testing.assert_close(scores, wanted[group.name], **CLOSE)


def test_the_signed_sum_over_consumers_is_the_derivative_of_gates(view: ModelView) -> None:
    for group in view.analysis.groups:
        weights = make_criterion("taylor", variant="squared_sum", members="consumers").group_scores(group, view)
        gates = make_criterion("taylor_activation").group_scores(group, view)
        torch.testing.assert_close(weights, gates.square(), **CLOSE)


def test_activations_of_every_reader(view: ModelView) -> None:
    model = net()
    inputs: dict[str, list[Tensor]] = {}
    for name in ("inside", "up", "joined", "back", "head"):
        model.get_submodule(name).register_forward_pre_hook(
            lambda _, args, name=name: inputs.setdefault(name, []).append(args[0].detach())
        )
    for pictures, _ in batches():
        model(pictures)
    for group in view.analysis.groups:
        sizes, alive = [], []
        for module, (start, end) in READ_BY[group.name].items():
            seen = torch.cat(inputs[module])[:, start:end].movedim(1, 0).reshape(group.num_channels, -1)
            if module == "head":  # (channel, pixel) stand side by side in its input
                seen = torch.cat(inputs[module]).reshape(8, 4, 9).movedim(1, 0).reshape(4, -1)
            sizes.append(seen.abs().mean(1))
            alive.append((seen != 0).double().mean(1))
        for name, wanted in (("activation_mean", sizes), ("apoz", alive)):
            scores = make_criterion(name).group_scores(group, view)
            torch.testing.assert_close(scores, torch.stack(wanted).mean(0), **CLOSE)


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(4, 6, 3),
        nn.Conv2d(4, 6, 3, groups=2),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.ConvTranspose2d(4, 6, 2),
        nn.ConvTranspose2d(4, 6, 2, groups=2),
    ],
)
def test_wanda_of_every_kind_of_convolution(module: nn.Module) -> None:
    """A weight's norm is that of what it is multiplied with: all others zero, the module's output has no other."""
    x = torch.rand(1, 4, 5, 5, dtype=torch.float64) + 0.1
    model = nn.Sequential(module).double()
    analysis = build_groups(trace(model, x))
    view = ModelView.of(model, analysis, collect(model, [x], lambda model, x: model(x).sum(), {"input_norm"}))
    scores = make_criterion("wanda").weight_scores("0.weight", view)
    weight, norms = model[0].weight.detach(), x.square().sum((0, 2, 3)).sqrt()
    for place in np.ndindex(*weight.shape[:2]):
        alone = torch.zeros_like(weight)
        alone[place] = 1.0
        reads = torch.autograd.functional.jacobian(
            lambda y, alone=alone: torch.func.functional_call(model[0], {"weight": alone}, (y,)).sum(), x
        )
        (channel,) = reads.abs().sum((0, 2, 3)).nonzero().flatten().tolist()
        torch.testing.assert_close(scores[place], weight[place].abs() * norms[channel], **CLOSE)


@pytest.mark.parametrize("kind", ["grouped", "transposed"])
def test_wanda_of_channels_read_by_a_grouped_convolution(kind: str) -> None:
    torch.manual_seed(0)
    grouped: nn.Module = nn.Conv2d(8, 6, 3, groups=2) if kind == "grouped" else nn.ConvTranspose2d(8, 6, 3, groups=2)
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), grouped, nn.ReLU(), nn.Conv2d(6, 2, 1)).double()
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    analysis = build_groups(trace(model, x))
    view = ModelView.of(model, analysis, collect(model, [x], lambda model, x: model(x).square().mean(), {"input_norm"}))
    norms = model[:2](x).square().sum((0, 2, 3)).sqrt().detach()
    weight = grouped.weight.detach().abs()  # type: ignore[union-attr, operator]
    if kind == "grouped":
        by_input = torch.stack([weight[3 * (i // 4) : 3 * (i // 4) + 3, i % 4].sum() * norms[i] for i in range(8)])
    else:
        by_input = torch.stack([weight[i].sum() * norms[i] for i in range(8)])
    inner = next(group for group in analysis.groups if "2" in view.readers.of(group))
    places = view.readers.of(inner)["2"].max(axis=1)
    wanted = torch.zeros(inner.num_channels, dtype=torch.float64)
    for index, place in enumerate(places.tolist()):
        if place >= 0:
            wanted[place] += by_input[index]
    assert sorted(set(places.tolist())) == list(range(inner.num_channels))
    torch.testing.assert_close(make_criterion("wanda").group_scores(inner, view), wanted, **CLOSE)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_gates_and_weights_agree_on_grouped_convolutions(kind: Any, groups: int) -> None:
    """Channels that a conv group passes on are read further down, by weights as by activations."""
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), kind(4, 8, 3, groups=groups), nn.ReLU(), nn.Conv2d(8, 2, 1))
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    analysis = build_groups(trace(model.double(), x))
    loss = lambda model, x: model(x).square().mean()  # noqa: E731
    view = ModelView.of(model, analysis, collect(model, [x], loss, {"grad", "gate_grad"}))
    assert len(analysis.groups) >= 2
    for group in analysis.groups:
        weights = make_criterion("taylor", variant="squared_sum", members="consumers").group_scores(group, view)
        gates = make_criterion("taylor_activation").group_scores(group, view)
        torch.testing.assert_close(weights, gates.square(), **CLOSE)


def test_a_weight_with_two_names() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.mid, self.two = nn.Linear(3, 4), nn.Linear(4, 3), nn.Linear(3, 4)
            self.two.weight = self.one.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.two(self.mid(self.one(x)))

    model, x = Tied(), torch.randn(2, 3)
    analysis = build_groups(trace(model, x))
    view = ModelView.of(model, analysis, collect(model, [x], lambda model, x: model(x).sum(), set(STATISTICS)))
    for name in ("taylor", "l1", "movement"):
        scores = make_criterion(name).weight_scores("two.weight", view)
        assert torch.equal(scores, make_criterion(name).weight_scores("one.weight", view))
    wanda = make_criterion("wanda").weight_scores("two.weight", view)
    assert not torch.equal(wanda, make_criterion("wanda").weight_scores("one.weight", view)), "what they read differs"


def test_a_residual_convolution_reads_what_it_adds_to() -> None:
    """Its input and output channels are one group, yet it is no depthwise one: it sums over them."""

    class Added(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.inside, self.head = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            return self.head(x + self.inside(x))

    model = Added()
    analysis = build_groups(trace(model, torch.ones(1, 3)))
    assert set(ModelView.of(model, analysis).readers.of(analysis.groups[0])) == {"inside", "head"}


def test_a_parameter_multiplied_from_the_right_is_read_in_its_first_dimension() -> None:
    class Right(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 4, bias=False), nn.Parameter(torch.arange(8.0).reshape(4, 2))

        def forward(self, x: Tensor) -> Tensor:
            return self.first(x) @ self.second

    model = Right()
    analysis = build_groups(trace(model, torch.ones(1, 3)))
    (group,) = analysis.groups
    view = ModelView.of(model, analysis)
    assert view.summed_dims["second", 0] == 1
    assert make_criterion("l1", members="consumers").group_scores(group, view).tolist() == [1, 5, 9, 13]


def test_channels_read_outside_of_modules_have_no_activation_statistics() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 4), nn.Parameter(torch.ones(4, 2))

        def forward(self, x: Tensor) -> Tensor:
            return self.first(x) @ self.second

    model = Functional()
    x = torch.randn(2, 3)
    analysis = build_groups(trace(model, x))
    view = ModelView.of(model, analysis, collect(model, [x], lambda model, x: model(x).sum(), set(STATISTICS)))
    with pytest.raises(
        CriterionError, match=r"first.weight\[0\]: 4 of 4 channels are read by no convolution or linear"
    ):
        make_criterion("apoz").group_scores(analysis.groups[0], view)


def test_channels_also_read_outside_of_modules_have_no_sums() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)
            self.third = nn.Parameter(torch.ones(4, 2))

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            return self.second(x) + x @ self.third

    model = Both()
    x = torch.randn(2, 3)
    analysis = build_groups(trace(model, x))
    view = ModelView.of(model, analysis, collect(model, [x], lambda model, x: model(x).sum(), set(STATISTICS)))
    with pytest.raises(CriterionError, match=r"first.weight\[0\]: also read by aten.mm in module '\(the model\)'"):
        make_criterion("taylor_activation").group_scores(analysis.groups[0], view)
    assert make_criterion("activation_mean").group_scores(analysis.groups[0], view).shape == (4,)


def mixed() -> tuple[nn.Module, ModelView]:
    """One group with a BatchNorm and one without."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1), nn.Flatten(), nn.Linear(8, 1))
    model[1].weight.data = torch.tensor([1.0, 2.0, 3.0])
    analysis = build_groups(trace(model.eval(), torch.ones(1, 1, 2, 2)))
    return model, ModelView.of(model, analysis)


def test_a_fallback_is_scaled_and_said() -> None:
    _, view = mixed()
    groups = view.analysis.groups
    found = score_groups(make_criterion("bn_scale"), groups, view)
    assert found.scores[0].tolist() == [1, 2, 3]
    plain = make_criterion("norm").group_scores(groups[1], view)
    torch.testing.assert_close(found.scores[1], plain * (2.0 / plain.mean()), **CLOSE)
    assert found.fallbacks == {"2.weight[0]": "2.weight[0]: no BatchNorm scales its channels"}


def test_a_fallback_is_normalised_as_the_criterion_is() -> None:
    _, view = mixed()
    found = score_groups(make_criterion("bn_scale", normalize="max"), view.analysis.groups, view)
    assert [float(scores.max()) for scores in found.scores] == pytest.approx([1, 1])


def test_without_a_fallback_the_error_is_passed_on() -> None:
    _, view = mixed()
    with pytest.raises(CriterionError, match=r"2.weight\[0\]: no BatchNorm scales its channels"):
        score_groups(make_criterion("bn_scale"), view.analysis.groups, view, fallback=None)


def test_a_statistic_that_is_missing_is_no_reason_to_fall_back() -> None:
    _, view = mixed()
    with pytest.raises(ConfigError, match="needs the statistic 'grad', and none were collected"):
        score_groups(make_criterion("taylor"), view.analysis.groups, view)


def test_a_masked_weight_counts_as_zero() -> None:
    model, _ = mixed()
    prune.l1_unstructured(model[0], "weight", amount=2)
    analysis = build_groups(trace(model, torch.ones(1, 1, 2, 2)))
    view = ModelView.of(model, analysis)
    assert int((view.parameters["0.weight_orig"] == 0).sum()) == 2
    scores = make_criterion("l1").weight_scores("0.weight_orig", view)
    assert scores.flatten().tolist() == model[0].weight.detach().abs().flatten().tolist()


@pytest.mark.parametrize("name", ["fpgm", "taylor"])
def test_a_group_without_such_slices_is_refused(name: str) -> None:
    group, view = pair_view(grad=GRAD)
    buffers = ChannelGroup(group.name, group.units, tuple(m for m in group.members if m.tensor == "none"))
    with pytest.raises(CriterionError, match=r"first.weight\[0\]: no slice of a parameter is among its"):
        make_criterion(name).group_scores(buffers, view)
