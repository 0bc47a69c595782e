"""Heads that return what they made beside the maps they were given, and remember positions by the sizes of a map."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sapwood
from sapwood.graph import counting
from support.probes import conv

HALF = sapwood.Target(sparsity=0.5)
EXACT = 1e-12


class Head(nn.Module):
    """Boxes and scores of two maps; the grid is made anew where the first map's sizes are others than the last time."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.boxes, self.scores = conv(channels, 4, 1), conv(channels, 3, 1)
        self.stride = torch.tensor([8.0, 16.0])
        self.shape: Any = None
        self.grid = torch.empty(0)

    def forward(self, maps: list[Tensor]) -> Any:
        boxes = torch.cat([self.boxes(one).flatten(2) for one in maps], 2)
        scores = torch.cat([self.scores(one).flatten(2) for one in maps], 2)
        if self.shape != maps[0].shape:
            self.shape, self.grid = maps[0].shape, self._grid(maps)
        y = torch.cat([boxes * self.grid, scores.sigmoid()], 1)
        return y, {"boxes": boxes, "scores": scores, "feats": maps}

    def _grid(self, maps: list[Tensor]) -> Tensor:
        parts = [one.new_full((one[0, 0].numel(),), float(size)) for one, size in zip(maps, self.stride, strict=True)]
        return torch.cat(parts)


class Detector(nn.Module):
    """A body of two maps and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = conv(3, 16), conv(16, 16, stride=2), Head(16)

    def forward(self, x: Tensor) -> Any:
        one = torch.relu(self.first(x))
        return self.head([one, torch.relu(self.second(one))])


@pytest.mark.parametrize("ran_before", [False, True])
@torch.no_grad()
def test_the_maps_follow_the_widths_and_the_grid_is_right(ran_before: bool) -> None:
    torch.manual_seed(0)
    model, x = Detector().eval(), torch.randn(1, 3, 8, 8)
    if ran_before:
        model(x)
    pruned = sapwood.prune(model, x, target=HALF)
    assert pruned.model.first.out_channels == pruned.model.second.out_channels == 8
    assert pruned.resized_outputs == ("1.feats.0", "1.feats.1")
    assert all("feats" not in left.reason for left in pruned.unpruned)
    silenced = copy.deepcopy(model).double()
    for cut in pruned.plan.cuts:
        gone = torch.tensor([index for index in range(cut.width) if index not in cut.kept])
        silenced.get_parameter(cut.tensor).index_fill_(cut.dim, gone, 0.0)
    wanted = silenced(x.double())[0]
    found = sapwood.apply_plan(copy.deepcopy(model).double(), pruned.plan)
    for _ in range(2):
        assert float((found(x.double())[0] - wanted).abs().max()) <= EXACT * float(wanted.abs().max())


def test_the_pruned_detector_trains_a_step_on_what_its_loss_reads() -> None:
    torch.manual_seed(0)
    small = sapwood.prune(Detector().eval(), torch.randn(1, 3, 8, 8), target=HALF).model.train()
    raw = small(torch.randn(2, 3, 8, 8))[1]
    (raw["boxes"].square().mean() + raw["scores"].square().mean()).backward()
    assert all(parameter.grad is not None for parameter in small.parameters())


def test_all_count_where_they_are_asked_for() -> None:
    torch.manual_seed(0)
    pruned = sapwood.prune(Detector().eval(), torch.randn(1, 3, 8, 8), target=HALF, outputs="*")
    assert pruned.model.first.out_channels == pruned.model.second.out_channels == 16
    assert pruned.resized_outputs == ()


def test_feats_stand_beside_boxes_and_scores_only() -> None:
    def zeros(*keys: str) -> dict[str, Tensor]:
        return {key: torch.zeros(1) for key in keys}

    assert counting(zeros("boxes", "scores", "feats"), None) == [True, True, False]
    assert counting({"one2one": zeros("boxes", "scores", "feats"), "feats": torch.zeros(1)}, None) == [
        *(True, True, False),
        True,
    ]
    assert counting(zeros("scores", "feats"), None) == [True, True]
    assert counting({"boxes": zeros("feats"), "scores": torch.zeros(1)}, None) == [True, True]
