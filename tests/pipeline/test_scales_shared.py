"""Scores that are sums of several products: each is undone once, though they have queries and keys in common."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sapwood
from pipeline.test_numbers import EXACT, distance, projections, share, split, trains, weighted
from support.probes import Net

HALF = sapwood.Target(sparsity=0.5)
PLACES = torch.tensor([[2, 3, 4, 5, 6], [1, 2, 3, 4, 5], [0, 1, 2, 3, 4], [0, 0, 1, 2, 3], [0, 0, 0, 1, 2]])


def disentangled(m: Any, x: Tensor) -> Tensor:
    """Content with content, content with places, and places with content, each divided by the width."""
    q, k, v = (one.transpose(1, 2) for one in split(m, x))
    places = [layer(m.places).view(1, 7, m.h, -1).transpose(1, 2) for layer in (m.pk, m.pq)]
    index = PLACES.expand(len(q), m.h, 5, 5)
    scores = q @ (k.transpose(-1, -2) / torch.sqrt(torch.tensor(q.size(-1) * 3)))
    scores = scores + torch.gather(q @ places[0].transpose(-1, -2), -1, index) / math.sqrt(q.size(-1) * 3)
    back = torch.gather(k @ places[1].transpose(-1, -2), -1, index).transpose(-1, -2)
    return weighted(m, scores + back / math.sqrt(k.size(-1) * 3), v.transpose(1, 2))


def relative(m: Any, x: Tensor) -> Tensor:
    """The query meets embeddings of places as well, without a scale; all of it is added to the input."""
    q, k, v = split(m, x)
    q, k = q.transpose(1, 2), k.permute(0, 2, 3, 1)
    scores = (q * q.shape[-1] ** -0.25) @ (k * k.shape[-2] ** -0.25)
    return x + weighted(m, scores + q @ m.places.t(), v)


def network(run: Any, **parts: Any) -> Net:
    torch.manual_seed(0)
    return Net(run, **(projections() | parts)).eval()


def places() -> nn.Parameter:
    return nn.Parameter(torch.randn(7, 16))


def of_layers() -> Net:
    return network(disentangled, places=places(), pk=nn.Linear(16, 16), pq=nn.Linear(16, 16))


def of_shared_layers() -> Net:
    """The layers that make queries and keys of tokens make those of places, too."""
    model = network(disentangled, places=places())
    model.pk, model.pq = model.k, model.q
    return model


@pytest.mark.parametrize("make", [of_layers, of_shared_layers])
def test_each_of_three_products_is_undone_once(make: Any) -> None:
    model, x = make(), torch.randn(2, 5, 8)
    pruned = sapwood.prune(model, x, target=HALF)
    assert pruned.model.q.out_features == pruned.model.k.out_features == 8
    assert not any("its scale" in one.reason for one in pruned.unpruned)
    assert distance(model, pruned.plan, x) < EXACT
    assert share(model, pruned) < 0.4
    assert trains(pruned.model, x)


def test_what_only_other_values_show_keeps_its_part_and_not_the_whole() -> None:
    """A branch that adds zeros before it is trained hides what is wrong in it."""
    model, x = network(relative, places=nn.Parameter(torch.randn(5, 8)), o=nn.Linear(16, 8)), torch.randn(2, 5, 8)
    nn.init.zeros_(model.o.weight)
    nn.init.zeros_(model.o.bias)
    pruned = sapwood.prune(model, x, target=HALF)
    reasons = {(one.tensor, one.dim): one.reason for one in pruned.unpruned}
    assert reasons["places", 1].startswith("its scale follows a width that is pruned")
    assert pruned.model.i.out_features == 8
    nn.init.normal_(model.o.weight)
    assert distance(model, pruned.plan, x) < EXACT
    assert trains(pruned.model, x)
