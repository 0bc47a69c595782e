"""Block OBS against least squares that are solved from scratch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import remove_parametrizations

import sapwood
from sapwood.calibration import collect
from sapwood.criteria import BlockObs, ModelView, compensated, problems_of
from sapwood.errors import CriterionError
from sapwood.graph import build_groups, trace


class Two(nn.Module):
    """One layer whose outputs another one reads, behind a nonlinearity that ties them together."""

    def __init__(self, kernel: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 1)
        self.second = nn.Conv2d(6, 2, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x)))


def view_of(model: nn.Module, pictures: Tensor) -> ModelView:
    def loss(model: nn.Module, batch: Tensor) -> Tensor:
        return model(batch).square().mean()

    analysis = build_groups(trace(model, pictures[:1]))
    return ModelView.of(model, analysis, collect(model, [pictures], loss, BlockObs.needs))


@pytest.fixture
def pictures() -> Tensor:
    torch.manual_seed(0)
    mixing = torch.tensor([[1.0, 0.5, 0.2], [0.0, 1.0, 0.4], [0.0, 0.0, 1.0]], dtype=torch.float64)
    return torch.einsum("nchw,cd->ndhw", torch.randn(8, 3, 5, 5, dtype=torch.float64), mixing)


@pytest.mark.parametrize("kernel", [1, 3])
def test_the_gram_matrix_is_that_of_all_patches(kernel: int, pictures: Tensor) -> None:
    model = Two(kernel).double()
    view = view_of(model, pictures)
    inside = torch.relu(model.first(pictures))
    patches = nn.functional.unfold(inside, kernel, padding=kernel // 2).transpose(1, 2).flatten(0, 1)
    expected = patches.T @ patches / len(patches)
    torch.testing.assert_close(view.statistic("input_gram")["second"][0], expected)


def test_gradients_of_outputs_are_those_of_each_sample(pictures: Tensor) -> None:
    model = Two().double()
    expected = torch.zeros(2, dtype=torch.float64)
    for picture in pictures:  # the mean over one sample is that sample's loss
        outputs = model(picture[None]).detach().requires_grad_()
        outputs.square().mean().backward()
        assert outputs.grad is not None
        expected += outputs.grad.square().sum(dim=(0, 2, 3)) / len(pictures)
    found = view_of(model, pictures).statistic("output_grad_squared")["second"]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kernel", [1, 3])
def test_the_first_to_go_is_the_one_that_least_squares_can_best_do_without(kernel: int, pictures: Tensor) -> None:
    view = view_of(Two(kernel).double(), pictures)
    group = view.analysis.groups[0]
    scores = BlockObs(damping=1e-9).group_scores(group, view)
    (problem,) = problems_of("second", view.readers.of(group)["second"], group, view)
    costs = []
    for channel in range(6):
        removed = torch.arange(6) == channel
        change = compensated(problem, removed, 1e-9) - problem.weight
        costs.append(float((problem.importance * (change * (problem.gram @ change)).sum(dim=0)).sum()))
    assert float(scores.min()) == pytest.approx(min(costs), rel=1e-5)
    assert int(scores.argmin()) == costs.index(min(costs))


def test_compensated_weights_are_the_least_squares_ones(pictures: Tensor) -> None:
    model = Two().double()
    view = view_of(model, pictures)
    group = view.analysis.groups[0]
    (problem,) = problems_of("second", view.readers.of(group)["second"], group, view)
    removed = torch.tensor([False, True, False, False, True, False])
    found = compensated(problem, removed, 1e-12)
    inside = torch.relu(model.first(pictures)).permute(0, 2, 3, 1).flatten(0, 2)
    target = model.second(torch.relu(model.first(pictures))).permute(0, 2, 3, 1).flatten(0, 2)
    expected = torch.linalg.lstsq(inside[:, ~removed], target).solution
    torch.testing.assert_close(found[~removed], expected, rtol=1e-6, atol=1e-8)
    assert not found[removed].any()


def test_the_sum_of_the_lowest_scores_is_about_the_cost_of_all(pictures: Tensor) -> None:
    view = view_of(Two().double(), pictures)
    group = view.analysis.groups[0]
    scores = BlockObs(damping=1e-9).group_scores(group, view)
    (problem,) = problems_of("second", view.readers.of(group)["second"], group, view)
    order = scores.argsort()
    for count in (1, 2, 3):
        removed = torch.zeros(6, dtype=torch.bool)
        removed[order[:count]] = True
        change = compensated(problem, removed, 1e-9) - problem.weight
        cost = float((problem.importance * (change * (problem.gram @ change)).sum(dim=0)).sum())
        assert float(scores[order[:count]].sum()) >= cost * (1 - 1e-6)


def test_dead_channels_are_free(pictures: Tensor) -> None:
    model = Two().double()
    with torch.no_grad():
        model.first.weight[2] = 0.0
        model.first.bias[2] = -1.0  # the nonlinearity gives 0 for it
    view = view_of(model, pictures)
    scores = BlockObs().group_scores(view.analysis.groups[0], view)
    assert int(scores.argmin()) == 2
    exact = BlockObs(damping=1e-12).group_scores(view.analysis.groups[0], view)
    assert float(exact[2]) == pytest.approx(0.0, abs=1e-14)


def test_padding_that_is_not_zeros_has_no_gram_matrix(pictures: Tensor) -> None:
    model = Two(3).double()
    model.second = nn.Conv2d(6, 2, 3, padding=1, padding_mode="reflect", bias=False).double()
    view = view_of(model, pictures)
    with pytest.raises(CriterionError, match="the patches that 'second' reads are not known"):
        BlockObs().group_scores(view.analysis.groups[0], view)


@pytest.mark.parametrize("kernel", [1, 3])
def test_score_of_a_weight_is_what_its_absence_costs(kernel: int, pictures: Tensor) -> None:
    """Zeroed, with the others of its output solved anew: half the gradient's square times the error that stays."""
    model = Two(kernel).double()
    view = view_of(model, pictures)
    found = BlockObs(damping=1e-10).weight_scores("second.weight", view)
    gram = view.statistic("input_gram")["second"][0]
    importance = view.statistic("output_grad_squared")["second"]
    rows = model.second.weight.detach().flatten(1)
    for output, unknown in ((0, 0), (1, len(gram) - 1)):
        others = [number for number in range(len(gram)) if number != unknown]
        weight = rows[output]
        anew = torch.zeros_like(weight)
        anew[others] = torch.linalg.solve(gram[others][:, others], (gram @ weight)[others])
        error = (anew - weight) @ gram @ (anew - weight)
        expected = 0.5 * importance[output] * error
        torch.testing.assert_close(found.flatten(1)[output, unknown], expected, rtol=1e-5, atol=0.0)


def test_weights_of_a_transposed_convolution_count_each_tap_by_itself(pictures: Tensor) -> None:
    model = Two().double()
    model.second = nn.ConvTranspose2d(6, 2, 2, stride=2, bias=False).double()
    view = view_of(model, pictures)
    found = BlockObs(damping=1e-10).weight_scores("second.weight", view)
    inverse = torch.linalg.inv(view.statistic("input_gram")["second"][0]).diagonal()
    importance = view.statistic("output_grad_squared")["second"]
    weight = model.second.weight.detach()
    expected = 0.5 * importance[1] * weight[3, 1, 0, 1] ** 2 / inverse[3]
    torch.testing.assert_close(found[3, 1, 0, 1], expected, rtol=1e-5, atol=0.0)


def test_weights_of_what_is_no_convolution_have_no_score(pictures: Tensor) -> None:
    with pytest.raises(CriterionError, match="'obs' scores weights of convolution and linear modules that ran"):
        BlockObs().weight_scores("first.bias", view_of(Two().double(), pictures))


class TwoHeads(Two):
    """Two modules read the channels; a loss may hang on the first alone, or on none."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.ConvTranspose2d(6, 4, 2, groups=2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.relu(self.first(x))
        return self.second(x), self.other(x)


def scores_of(model: nn.Module, pictures: Tensor, loss) -> Tensor:
    analysis = build_groups(trace(model, pictures[:1]))
    view = ModelView.of(model, analysis, collect(model, [pictures], loss, BlockObs.needs))
    return BlockObs().group_scores(analysis.groups[0], view)


def test_a_head_that_the_loss_does_not_read_comes_to_no_harm(pictures: Tensor) -> None:
    model = TwoHeads().double()
    alone = scores_of(model, pictures, lambda model, x: model(x)[0].square().mean())
    both = scores_of(model, pictures, lambda model, x: model(x)[0].square().mean() + 0.0 * model(x)[1].square().mean())
    torch.testing.assert_close(alone, both)
    assert (alone > 0).all()


def test_a_group_that_no_loss_hangs_on_is_none_of_its_business(pictures: Tensor) -> None:
    model = TwoHeads().double()
    model.apart = nn.Conv2d(3, 2, 1).double()
    with pytest.raises(CriterionError, match=r"first\.weight\[0\]: the loss hangs on no module that reads it"):
        scores_of(model, pictures, lambda model, x: [model(x), model.apart(x).square().mean()][1])


@pytest.mark.parametrize("criterion", ["obs", "wanda", "taylor_activation", "fisher_activation", "apoz"])
def test_weights_that_a_norm_makes_count_as_what_they_are(criterion: str, pictures: Tensor) -> None:
    torch.manual_seed(1)
    middle = weight_norm(nn.Conv2d(8, 8, 3))
    normed = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), middle, nn.ReLU(), nn.Conv2d(8, 2, 1)).double()
    plain = sapwood.copy_model(normed)
    remove_parametrizations(plain[2], "weight")
    kept = []
    for model in (normed.eval(), plain.eval()):
        seen = sapwood.Calibration([pictures], lambda net, x: net(x).square().mean())
        given = {"target": {"sparsity": 0.5}, "criterion": criterion, "calibration": seen}
        pruned = sapwood.prune(model, pictures, **given)
        assert pruned.notes == ()
        kept.append(next(cut.kept for cut in pruned.plan.cuts if cut.tensor == "0.weight"))
    assert kept[0] == kept[1]


def test_groups_that_another_criterion_scores_are_named(pictures: Tensor) -> None:
    class Bare(nn.Module):
        """Parameters of its own, and no module that reads anything."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Parameter(torch.randn(8, 3, 3, 3)), nn.Parameter(torch.randn(2, 8, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            return conv2d(conv2d(x, self.first).relu(), self.last)

    seen = sapwood.Calibration([pictures], lambda net, x: net(x).square().mean())
    for criterion in ("obs", "taylor_activation", "bn_scale"):
        pruned = sapwood.prune(
            Bare().double(), pictures, target={"sparsity": 0.5}, criterion=criterion, calibration=seen
        )
        (note,) = pruned.notes
        assert note.startswith(f"1 of 1 groups are scored by 'norm', as {criterion!r} does not apply to them (first[0]")
