"""Reconstruction: against least squares solved from scratch, and on networks with everything that can be in the way."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sapwood
from sapwood.errors import CheckFailedError, ConfigError
from sapwood.models import Plan
from sapwood.recovery import Reconstruction, Rule, reconstruct
from sapwood.recovery.reconstruction import least_squares
from sapwood.recovery.reconstruction.least_squares import NormalSums, System, solve
from sapwood.recovery.reconstruction.masked import solve_by_rule


class Residual(nn.Module):
    """A stem, a residual block with BatchNorm and activations in place, a depthwise layer, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.inside = nn.Conv2d(8, 12, 3, padding=1, bias=False)
        self.inside_norm = nn.BatchNorm2d(12)
        self.back = nn.Conv2d(12, 8, 1, bias=False)
        self.back_norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x), inplace=True)
        branch = F.relu(self.inside_norm(self.inside(x)), inplace=True)
        branch = self.back_norm(self.back(branch))
        branch += x
        x = F.relu(self.depthwise(F.relu(branch, inplace=True)))
        return self.head(x.mean(dim=(2, 3)))


class Tokens(nn.Module):
    """Attention and an MLP over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(6, 16)
        self.norm = nn.LayerNorm(16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.up = nn.Linear(16, 24)
        self.down = nn.Linear(24, 16)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        normed = self.norm(x)
        x = x + self.attention(normed, normed, normed, need_weights=False)[0]
        x = x + self.down(F.gelu(self.up(x)))
        return self.head(x.mean(dim=1))


def _lively(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            module.running_mean.normal_(std=0.2)
            module.running_var.uniform_(0.5, 2.0)
    return model.eval()


def _case(kind: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(1)
    if kind == "residual":
        return _lively(Residual()), torch.randn(64, 3, 8, 8)
    return _lively(Tokens()), torch.randn(64, 5, 6)


def _error(model: nn.Module, dense: nn.Module, inputs: Tensor) -> float:
    with torch.no_grad():
        wanted = dense(inputs)
        return float((model(inputs) - wanted).square().mean() / wanted.var())


@pytest.mark.parametrize("kind", ["residual", "tokens"])
def test_other_pictures_come_out_nearer_to_the_dense_network(kind: str) -> None:
    dense, inputs = _case(kind)
    pruned = sapwood.prune(dense, inputs[:1], target=sapwood.Target(sparsity=0.5))
    before = {name: value.clone() for name, value in pruned.model.state_dict().items()}
    found = reconstruct(dense, pruned.model, pruned.plan, inputs[:48].split(16))
    assert _error(found.model, dense, inputs[48:]) < 0.6 * _error(pruned.model, dense, inputs[48:])
    assert found.num_pictures == 48
    assert all(row.error_after <= row.error_before for row in found.layers)
    assert all(torch.equal(value, before[name]) for name, value in pruned.model.state_dict().items())
    assert {row.layer for row in found.layers} >= ({"back", "depthwise"} if kind == "residual" else {"down", "head"})


def test_what_a_wide_layer_does_twice_is_taken_over_exactly() -> None:
    torch.manual_seed(2)
    dense = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 5, 3, padding=1), nn.BatchNorm2d(5)).double()
    dense.eval()
    with torch.no_grad():
        dense[0].weight[1] *= 0.3  # the lowest norm
        dense[0].bias[1] *= 0.3
        dense[2].weight[:, 1] *= 0.3
        dense[0].weight[3] = 10.0 * dense[0].weight[1]  # always ten times as large
        dense[0].bias[3] = 10.0 * dense[0].bias[1]
    inputs = torch.randn(32, 3, 6, 6, dtype=torch.float64)
    pruned = sapwood.prune(dense, inputs[:1], target=sapwood.Target(sparsity=0.25))
    assert next(cut.kept for cut in pruned.plan.cuts if cut.tensor == "0.weight") == (0, 2, 3)
    assert _error(pruned.model, dense, inputs) > 1e-4
    found = reconstruct(dense, pruned.model, pruned.plan, [inputs])
    assert _error(found.model, dense, inputs) < 1e-10


def test_the_same_seed_gives_the_same_weights() -> None:
    dense, inputs = _case("residual")
    pruned = sapwood.prune(dense, inputs[:1], target=sapwood.Target(sparsity=0.5))

    def run(seed: int) -> Reconstruction:
        return reconstruct(dense, pruned.model, pruned.plan, [inputs], num_patches=200, seed=seed)

    first, again, other = (run(seed).model.state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert any(not torch.equal(value, other[name]) for name, value in first.items())


def test_nothing_removed_nothing_changed() -> None:
    dense, inputs = _case("residual")
    found = reconstruct(dense, copy.deepcopy(dense), Plan(), [inputs])
    assert found.layers == ()
    assert all(torch.equal(value, dense.state_dict()[name]) for name, value in found.model.state_dict().items())


def test_dead_channels_and_constant_inputs_are_no_trouble() -> None:
    dense, inputs = _case("residual")
    with torch.no_grad():
        dense.stem.weight[:3] = 0.0
        dense.stem.bias[:3] = -1.0  # never alive
        dense.inside_norm.weight[:4] = 0.0  # a constant behind the norm
    pruned = sapwood.prune(dense, inputs[:1], target=sapwood.Target(sparsity=0.25), criterion="random")
    found = reconstruct(dense, pruned.model, pruned.plan, [inputs])
    assert all(bool(value.isfinite().all()) for value in found.model.state_dict().values())
    assert _error(found.model, dense, inputs) <= _error(pruned.model, dense, inputs)


def test_fewer_patches_than_unknowns() -> None:
    dense, inputs = _case("residual")
    pruned = sapwood.prune(dense, inputs[:1], target=sapwood.Target(sparsity=0.5))
    found = reconstruct(dense, pruned.model, pruned.plan, [inputs[:6]], num_patches=12)
    assert all(row.num_rows < row.num_unknowns for row in found.layers if row.layer == "inside")
    assert all(bool(value.isfinite().all()) for value in found.model.state_dict().values())
    assert all(row.error_after <= row.error_before for row in found.layers)


def test_what_cannot_be_solved_is_named() -> None:
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.ConvTranspose2d(8, 4, 2), nn.ReLU(), nn.Conv2d(4, 2, 1))
    inputs = torch.randn(16, 3, 8, 8)
    pruned = sapwood.prune(dense.eval(), inputs[:1], target=sapwood.Target(sparsity=0.5))
    found = reconstruct(dense, pruned.model, pruned.plan, [inputs])
    assert found.left_alone == {"2.weight": "is a transposed convolution"}
    assert [row.layer for row in found.layers] == ["4"]


def test_a_layer_that_is_called_twice_is_solved_once() -> None:
    class Siamese(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            one, other = (self.second(F.relu(self.first(part))) for part in (x, x.flip(1)))
            return (one - other).mean(dim=(2, 3))

    torch.manual_seed(0)
    dense, inputs = Siamese().eval(), torch.randn(32, 3, 6, 6)
    pruned = sapwood.prune(dense, inputs[:1], target=sapwood.Target(sparsity=0.5))
    found = reconstruct(dense, pruned.model, pruned.plan, [inputs])
    assert [(row.layer, row.num_rows) for row in found.layers] == [("second", 2 * 32 * 36)]
    assert _error(found.model, dense, inputs) < _error(pruned.model, dense, inputs)


def test_bad_input_is_refused() -> None:
    dense, inputs = _case("residual")
    pruned = sapwood.prune(dense, inputs[:1], target=sapwood.Target(sparsity=0.5))
    with pytest.raises(ConfigError, match="no batch to reconstruct on; expected at least one"):
        reconstruct(dense, pruned.model, pruned.plan, [])
    with pytest.raises(ConfigError, match="num_patches: got 0; expected at least 1"):
        reconstruct(dense, pruned.model, pruned.plan, [inputs], num_patches=0)
    with pytest.raises(CheckFailedError, match=r"has 4 rows and the plan keeps 8; expected the model that the plan"):
        reconstruct(dense, pruned.model, Plan(), [inputs])


@pytest.mark.parametrize("groups", [1, 3])
def test_least_squares_are_those_of_numpy(groups: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(200, groups, 5, dtype=torch.float64)
    truth, bias = torch.randn(groups, 5, 2, dtype=torch.float64), torch.randn(groups, 2, dtype=torch.float64)
    y = torch.einsum("rgn,gno->rgo", x, truth) + bias
    fit, held = NormalSums.zeros(groups, 5, 2), NormalSums.zeros(groups, 5, 2)
    fit.add(x[:150], y[:150])
    held.add(x[150:], y[150:])
    found = solve(fit, held, torch.zeros_like(truth), torch.zeros_like(bias), intercept=True, dampings=(1e-12, 1.0))
    torch.testing.assert_close(found.weight, truth)
    torch.testing.assert_close(found.bias, bias)
    assert found.damping == 1e-12
    assert found.after < 1e-18
    assert found.before == pytest.approx(float(y[150:].square().sum() / held.spread()))


def test_rows_that_are_noise_leave_the_weights() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(40, 1, 30, dtype=torch.float64), torch.randn(40, 1, 1, dtype=torch.float64)
    fit, held = NormalSums.zeros(1, 30, 1), NormalSums.zeros(1, 30, 1)
    fit.add(x[:20], y[:20])
    held.add(x[20:], y[20:])
    weight, bias = torch.zeros(1, 30, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    found = solve(fit, held, weight, bias, intercept=False, dampings=(1e-6, 1e-3))
    assert found.damping is None
    assert torch.equal(found.weight, weight)


@pytest.mark.parametrize(
    ("level", "noise", "unit"),
    [(3.0, 0.0, 10 * 9.0), (3.0, 1e-7, 10 * 9.0), (0.0, 0.0, 10.0), (3.0, 1.0, None)],
)
def test_errors_where_targets_hardly_vary_are_fractions_of_their_squares(
    level: float, noise: float, unit: float | None
) -> None:
    """A spread of 0, or of rounding, would make numbers of 300 digits."""
    x = torch.linspace(-1.0, 1.0, 10, dtype=torch.float64).reshape(10, 1, 1)
    y = level + noise * x
    fit, held = NormalSums.zeros(1, 1, 1), NormalSums.zeros(1, 1, 1)
    fit.add(x, y)
    held.add(x, y)
    zero = torch.zeros(1, 1, 1, dtype=torch.float64)
    found = solve(fit, held, 0.5 + zero, zero[0], intercept=True)
    expected = float((0.5 * x - y).square().sum()) / (unit or float((y - y.mean()).square().sum()))
    assert found.before == pytest.approx(expected, rel=1e-6)
    ruled, _ = solve_by_rule(fit, held, 0.5 + zero, zero[0], Rule(torch.ones(1, 1, dtype=torch.bool)), intercept=True)
    assert ruled.before == pytest.approx(expected, rel=1e-6)
    assert ruled.after <= found.before


def test_mirror_images_count_and_are_held_out_with_their_pictures() -> None:
    """Mirrored, a batch gives what the batch and its mirror image give together, but for which rows are held out."""
    dense, inputs = _case("residual")
    pruned = sapwood.prune(dense, inputs[:1], target=sapwood.Target(sparsity=0.5))
    plain = reconstruct(dense, pruned.model, pruned.plan, [inputs])
    both = reconstruct(dense, pruned.model, pruned.plan, [inputs], views=2, num_patches=2 * 32768)
    assert both.num_pictures == plain.num_pictures == len(inputs)
    for one, other in zip(plain.layers, both.layers, strict=True):
        assert other.num_rows == 2 * one.num_rows
    unseen = torch.randn(64, 3, 8, 8)
    assert _error(both.model, dense, unseen) < 1.05 * _error(plain.model, dense, unseen)
    symmetric = inputs + inputs.flip(
        3
    )  # its mirror image is itself: the same rows twice, on the same side of the split
    once, twice = (
        reconstruct(dense, pruned.model, pruned.plan, [symmetric], views=views, num_patches=10**9) for views in (1, 2)
    )
    assert [one.damping for one in once.layers] == [one.damping for one in twice.layers]
    for one, other in zip(once.layers, twice.layers, strict=True):
        assert other.error_after == pytest.approx(one.error_after, rel=1e-4)


def test_random_views_count_and_are_the_same_again() -> None:
    dense, inputs = _case("residual")
    pruned = sapwood.prune(dense, inputs[:1], target=sapwood.Target(sparsity=0.5))
    one, found, again = (
        reconstruct(dense, pruned.model, pruned.plan, [inputs], views=views, num_patches=10**9) for views in (1, 5, 5)
    )
    assert [layer.num_rows for layer in found.layers] == [5 * layer.num_rows for layer in one.layers]
    pairs = zip(found.model.parameters(), again.model.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)
    other = reconstruct(dense, pruned.model, pruned.plan, [inputs], views=5, num_patches=10**9, seed=1)
    pairs = zip(found.model.parameters(), other.model.parameters(), strict=True)
    assert not all(torch.equal(*pair) for pair in pairs)
    unseen = torch.randn(64, 3, 8, 8)
    assert _error(found.model, dense, unseen) < 1.05 * _error(one.model, dense, unseen)


def test_only_pictures_have_views() -> None:
    dense, inputs = _case("tokens")
    with pytest.raises(ConfigError, match="views: got 0; expected at least 1"):
        reconstruct(dense, dense, Plan(), [inputs], views=0)
    with pytest.raises(ConfigError, match=r"expected tensors of shape \(B, C, H, W\)"):
        reconstruct(dense, dense, Plan(), [inputs], views=2)


def test_ridges_are_tried_from_the_largest_until_two_are_no_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows and much noise: the smallest ridges are not tried, and the choice is that of trying all."""
    torch.manual_seed(0)
    truth, tried = torch.randn(1, 30, 2, dtype=torch.float64), []
    sums = [NormalSums.zeros(1, 30, 2) for _ in range(2)]
    for own, count in zip(sums, (40, 400), strict=True):
        rows = torch.randn(count, 1, 30, dtype=torch.float64)
        own.add(rows, rows @ truth[0] + 5.0 * torch.randn(count, 1, 2, dtype=torch.float64))
    fit, held = sums
    solve_one = System.solve
    monkeypatch.setattr(System, "solve", lambda self, damping: [tried.append(damping), solve_one(self, damping)][1])
    weight, bias = torch.zeros_like(truth), torch.zeros(1, 2, dtype=torch.float64)
    found = solve(fit, held, weight, bias, intercept=False)
    monkeypatch.setattr(least_squares, "WORSE", 99)
    assert solve(fit, held, weight, bias, intercept=False).damping == found.damping == 1.0
    assert tried[: tried.index(1e-2) + 1] == [1.0, 1e-1, 1e-2]
    assert tried[3:4] == [1.0], "solved on all rows, after three of seven"
