"""Shapes that are worked out without PyTorch's own code."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
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


def _tensor(size: tuple[int, ...], device: str) -> Tensor:
    return torch.zeros(size, device=device, dtype=torch.float64)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((2, 3, 4), (3, 1)),
        ((4, 1), (1, 5)),
        ((3,), (2, 1, 3)),
        ((), (2, 3)),
        ((2, 3), ()),
        ((1, 5, 1, 2), (4, 1, 3, 1)),
    ],
)
@pytest.mark.parametrize("op", [torch.add, torch.sub, torch.mul, torch.div])
def test_stretched_tensors(first: tuple[int, ...], second: tuple[int, ...], op: Callable[..., Tensor]) -> None:
    real = op(_tensor(first, "cpu"), _tensor(second, "cpu"))
    with ShapesOnly():
        found = op(_tensor(first, "meta"), _tensor(second, "meta"))
    assert (found.shape, found.dtype, found.stride()) == (real.shape, real.dtype, real.stride())


@pytest.mark.parametrize(
    ("size", "layer"),
    [
        ((2, 4, 9), nn.Conv1d(4, 6, 3, stride=2, padding=1)),
        ((2, 4, 9, 8), nn.Conv2d(4, 6, (3, 2), dilation=2, groups=2, bias=False)),
        ((2, 4, 5, 1), nn.Conv2d(4, 6, 3, padding="same")),
        ((1, 4, 5, 6, 7), nn.Conv3d(4, 2, 2)),
        ((2, 4, 9), nn.ConvTranspose1d(4, 6, 3, stride=2, padding=1, output_padding=1)),
        ((2, 4, 5, 6), nn.ConvTranspose2d(4, 6, 3, stride=3, groups=2, dilation=2)),
        ((4, 5, 6), nn.Conv2d(4, 6, 3)),
        ((2, 5, 4), nn.Linear(4, 3, bias=False)),
        ((2, 5), nn.Embedding(4, 3, padding_idx=0)),
    ],
)
def test_layers(size: tuple[int, ...], layer: nn.Module) -> None:
    x = torch.zeros(size, dtype=torch.int64 if isinstance(layer, nn.Embedding) else torch.float64)
    real = layer.double()(x)
    with ShapesOnly():
        found = copy.deepcopy(layer).to("meta")(x.to("meta"))
    assert (found.shape, found.dtype, found.stride()) == (real.shape, real.dtype, real.stride())


def test_a_layer_that_does_not_fit_is_refused_as_pytorch_does() -> None:
    with ShapesOnly(), pytest.raises(RuntimeError, match="channel"):
        nn.Conv2d(4, 6, 3, device="meta")(torch.zeros(1, 3, 5, 5, device="meta"))
    with ShapesOnly(), pytest.raises(RuntimeError):
        torch.bmm(_tensor((2, 3, 4), "meta"), _tensor((2, 3, 4), "meta"))


@pytest.mark.parametrize("softmax", [torch.softmax, torch.log_softmax, torch._safe_softmax])
def test_a_softmax_stands_in_memory_in_order(softmax: Callable[..., Tensor]) -> None:
    real = softmax(_tensor((2, 3, 4), "cpu").transpose(1, 2), -1)
    with ShapesOnly():
        found = softmax(_tensor((2, 3, 4), "meta").transpose(1, 2), -1)
    assert (found.shape, found.stride()) == (real.shape, real.stride())


@pytest.mark.parametrize("size", [(2, 3, 4, 5), (1, 3, 4, 4), (2, 3, 1, 1)])
@pytest.mark.parametrize("dims", [(2, 3), (-1,), (1,), (0, 2)])
@pytest.mark.parametrize("keepdim", [True, False])
def test_means(size: tuple[int, ...], dims: tuple[int, ...], keepdim: bool) -> None:
    real = _tensor(size, "cpu").mean(dims, keepdim)
    with ShapesOnly():
        found = _tensor(size, "meta").mean(dims, keepdim)
    assert (found.shape, found.dtype, found.stride()) == (real.shape, real.dtype, real.stride())


def test_a_mean_of_all() -> None:
    with ShapesOnly():
        assert _tensor((2, 3), "meta").mean().shape == ()
