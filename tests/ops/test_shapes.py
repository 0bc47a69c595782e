"""Shapes that are worked out without PyTorch's own code."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sapwood.ops import ShapesOnly


@pytest.mark.parametrize(("size", "grid"), [((2, 3, 4, 5), (2, 6, 7, 2)), ((2, 3, 4, 5, 6), (2, 7, 8, 9, 3))])
def test_samples_on_a_grid(size: tuple[int, ...], grid: tuple[int, ...]) -> None:
    def sample(device: str) -> Tensor:
        return F.grid_sample(torch.zeros(size, device=device), torch.zeros(grid, device=device), align_corners=False)

    with ShapesOnly():
        found = sample("meta")
    real = sample("cpu")
    assert (found.shape, found.dtype, found.stride()) == (real.shape, real.dtype, real.stride())


def test_a_grid_of_other_pictures_is_refused() -> None:
    x, grid = torch.zeros(2, 3, 4, 5, device="meta"), torch.zeros(3, 6, 7, 2, device="meta")
    with ShapesOnly(), pytest.raises(RuntimeError, match=r"samples of a tensor of shape \(2, 3, 4, 5\) on a grid"):
        torch.ops.aten.grid_sampler_2d(x, grid, 0, 0, False)
