"""Directions of results are those of their covariance, as the norm behind scales them."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn

from sapwood.factoring import directions, find_directions, weight_directions

PICTURES = [torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]


def runs(model: nn.Module) -> None:
    for batch in PICTURES:
        model(batch)


def network() -> nn.Sequential:
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 4, 1), nn.Flatten())
    model.append(nn.Linear(64, 6))
    norm = model[1]
    norm.running_var.uniform_(0.1, 4.0)
    norm.weight.data.uniform_(0.2, 2.0)
    return model.eval()


def test_variances_are_those_of_the_results() -> None:
    model = network()
    found = find_directions(model, ["3"], runs)["3"]
    with torch.no_grad():
        rows = torch.cat([model[:4](batch) for batch in PICTURES]).movedim(1, 0).flatten(1).double().numpy()
    values = np.linalg.eigvalsh(np.cov(rows, bias=True))[::-1]
    assert found.variances.numpy() == pytest.approx(values, rel=1e-4)
    assert found.basis.centre.numpy() == pytest.approx(rows.mean(1), rel=1e-4)


def test_a_channel_counts_by_what_the_norm_behind_makes_of_it() -> None:
    model = network()
    found = find_directions(model, ["0"], runs)["0"]
    with torch.no_grad():
        rows = torch.cat([model[:2](batch) for batch in PICTURES]).movedim(1, 0).flatten(1).double().numpy()
    assert found.variances.numpy() == pytest.approx(np.linalg.eigvalsh(np.cov(rows, bias=True))[::-1], rel=1e-4)


def test_there_and_back_is_the_identity() -> None:
    model = network()
    model[1].weight.data[0] = 0.0
    for one in find_directions(model, ["0", "3", "5"], runs).values():
        assert torch.allclose(one.basis.up @ one.basis.down, torch.eye(one.basis.rank, dtype=torch.float64), atol=1e-8)


def test_ranks_hold_a_share_of_the_variance() -> None:
    found = find_directions(network(), ["5"], runs)["5"]
    shares = (found.variances.cumsum(0) / found.variances.sum()).tolist()
    for share in (0.1, 0.5, 0.9, 0.99):
        rank = found.rank(share)
        assert shares[rank - 1] >= share
        assert rank == 1 or shares[rank - 2] < share
    assert found.rank(1.0) <= 6


def test_passes_of_a_few_layers_find_the_same() -> None:
    model, names = network(), ["0", "3", "5"]
    at_once = find_directions(model, names, runs)
    with mock.patch.object(directions, "SUMS_BYTES", 1):
        one_by_one = find_directions(model, names, runs)
    assert [one.variances.tolist() for one in at_once.values()] == [
        one.variances.tolist() for one in one_by_one.values()
    ]


def test_the_model_is_left_as_it_was() -> None:
    model = network().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    find_directions(model, ["0"], runs)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_weights_alone_tell_their_singular_values() -> None:
    model = network()
    found = weight_directions(model, ["5"])["5"]
    assert found.variances.tolist() == pytest.approx((torch.linalg.svdvals(model[5].weight.double()) ** 2).tolist())
