"""Experts of a mixture: each run of rows is multiplied with a matrix of its own, in one call."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

import sapwood
from sapwood.graph import build_groups, trace
from support.probes import Net
from support.silencing import silenced

GROUPED = getattr(torch, "_grouped_mm", None)
pytestmark = pytest.mark.skipif(GROUPED is None, reason="this PyTorch has no grouped product")

ENDS = torch.tensor([2, 3, 6], dtype=torch.int32)
CLOSE = 1e-6
"""float32, a few dozen products."""


def experts(m: Net, x: Tensor) -> Tensor:
    h = m.stem(x)
    up = torch._grouped_mm(h, m.up, offs=m.ends)
    down = torch._grouped_mm(torch.relu(up), m.down.transpose(1, 2), offs=m.ends)
    return m.head(h + down)


def columns(m: Net, x: Tensor) -> Tensor:
    """Runs of columns: every matrix makes some of them."""
    h = m.stem(x)
    return m.head(torch._grouped_mm(m.up.transpose(1, 2), h.t(), offs=m.ends).t())


def mixture(run: object = experts) -> Net:
    torch.manual_seed(0)
    up, down = (nn.Parameter(torch.randn(3, 16, width) / 4) for width in (32, 32))
    layers = {"stem": nn.Linear(8, 16), "head": nn.Linear(32 if run is columns else 16, 5)}
    return Net(run, up=up, down=down, ends=ENDS.clone(), **layers).eval()


def loop(m: nn.Module, x: Tensor) -> Tensor:
    """The same by one product after the other."""
    h, ends = m.stem(x), [0, *m.ends.tolist()]
    rows = [slice(start, end) for start, end in itertools.pairwise(ends)]
    made = [torch.relu(h[own] @ m.up[n]) @ m.down[n].t() for n, own in enumerate(rows)]
    return m.head(h + torch.cat(made))


@torch.no_grad()
def test_both_widths_of_experts_go() -> None:
    model, x = mixture(), torch.randn(6, 8)
    pruned = sapwood.prune(model, x, target=sapwood.Target(sparsity=0.5))
    assert {name: tuple(one.shape) for name, one in pruned.model.named_parameters() if one.dim() > 1} == {
        "up": (3, 8, 16), "down": (3, 8, 16), "stem.weight": (8, 8), "head.weight": (5, 8),
    }  # fmt: skip
    assert pruned.verification.passed
    wanted = loop(silenced(model, pruned.plan).double(), x.double())
    assert float((pruned.model(x).double() - wanted).abs().max()) <= CLOSE * float(wanted.abs().max())


def test_the_experts_stay_and_say_why() -> None:
    pruned = sapwood.prune(mixture(), torch.randn(6, 8), target=sapwood.Target(sparsity=0.5))
    reasons = {(one.tensor, one.dim): one.reason for one in pruned.unpruned}
    assert reasons["up", 0].startswith("read by position in aten._grouped_mm")
    assert reasons["down", 0].startswith("read by position in aten._grouped_mm")


def test_pruned_experts_train() -> None:
    pruned = sapwood.prune(mixture(), torch.randn(6, 8), target=sapwood.Target(sparsity=0.5)).model.train()
    loop(pruned, torch.randn(6, 8)).square().mean().backward()
    assert bool(pruned.up.grad.any())
    assert bool(pruned.down.grad.any())


def test_matrices_for_runs_of_columns() -> None:
    graph = trace(mixture(columns), torch.randn(6, 8))
    groups = {group.name: {(one.tensor, one.dim) for one in group.members} for group in build_groups(graph).groups}
    assert {("up", 1), ("stem.weight", 0), ("stem.bias", 0)} in groups.values()
    assert {("up", 2), ("head.weight", 1)} in groups.values()
