"""Shapes that are worked out without PyTorch's own code."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

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


class OwnOnly(ShapesOnly):
    """Answers itself, or it is a fault."""

    def pass_on(self, func: Any, args: Any, kwargs: Any) -> Any:
        raise AssertionError(f"PyTorch is asked about {func}")


def _pairs(*sizes: tuple[int, ...], device: str) -> list[Tensor]:
    return [torch.ones(size, device=device, dtype=torch.float64) for size in sizes]


@pytest.mark.parametrize(
    ("sizes", "function"),
    [
        ([(2, 3, 4, 5)], lambda x: F.interpolate(x, size=(7, 3), mode="bilinear", align_corners=False)),
        ([(2, 3, 1, 1)], lambda x: F.interpolate(x, size=(7, 3), mode="bilinear", align_corners=True)),
        ([(2, 3, 4, 5)], lambda x: F.interpolate(x, scale_factor=2)),
        ([(2, 3, 4)], lambda x: F.interpolate(x, size=9, mode="linear")),
        ([(2, 3, 4, 5, 6)], lambda x: F.interpolate(x, scale_factor=1.5)),
        ([(2, 3, 4, 5)], lambda x: torch.linalg.vector_norm(x, dim=(1, -1), keepdim=True)),
        ([(2, 3, 4, 5)], lambda x: torch.linalg.vector_norm(x, 1)),
        ([(2, 3, 4, 5)], lambda x: x.sum((0, 2))),
        ([(2, 3, 4, 5)], lambda x: x.sum()),
        ([(2, 3)], lambda x: x**2),
        ([(2, 3, 4, 5), (5,), (1, 1, 4, 1)], torch.addcmul),
        ([(1, 5), (3, 4, 5), (4, 1)], torch.addcmul),
        ([(2, 3), (2, 3)], F.mse_loss),
        ([(2, 3), (2, 3)], lambda x, y: F.mse_loss(x, y, reduction="none")),
        ([(1, 3, 9, 8)], lambda x: F.avg_pool2d(x, 3, 2, 1)),
        ([(1, 3, 9, 8)], lambda x: F.avg_pool2d(x, (3, 2), ceil_mode=True)),
        ([(1, 3, 9, 8)], lambda x: F.max_pool2d(x, 3, 2, 1, return_indices=True)),
        ([(1, 3, 5, 5)], lambda x: F.max_pool2d(x, 2, 2, ceil_mode=True, return_indices=True)),
        ([(1, 3, 6, 4)], lambda x: F.max_pool2d(x, 2, 3, 1, ceil_mode=True, return_indices=True)),
        ([(2, 3, 1, 1)], lambda x: F.max_pool2d(x, 1, return_indices=True)),
        ([(2, 3, 4), (2, 1, 4)], lambda *both: torch.cat(both, -2)),
        ([(1, 1, 1, 1), (1, 2, 1, 1)], lambda *both: torch.cat(both, 1)),
        ([(2, 3), (2, 3), (2, 3)], lambda *all_of: torch.stack(all_of, -1)),
        ([(), ()], lambda *both: torch.stack(both)),
    ],
)
def test_results_that_pytorch_is_not_asked_about(sizes: list[tuple[int, ...]], function: Callable[..., Any]) -> None:
    real = function(*_pairs(*sizes, device="cpu"))
    given = _pairs(*sizes, device="meta")
    with OwnOnly():
        found = function(*given)
    both = (real, found) if isinstance(real, tuple) else ((real,), (found,))
    for one, other in zip(*both, strict=True):
        assert (other.shape, other.dtype, other.stride()) == (one.shape, one.dtype, one.stride())


@pytest.mark.parametrize(
    ("sizes", "function"),
    [
        ([(2, 3), (2, 4)], lambda *both: torch.cat(both, 0)),
        ([(2, 3), (2, 3)], lambda *both: torch.cat(both, 2)),
        ([(2, 3), (2, 4)], lambda *both: torch.stack(both, 0)),
        ([(2, 3), (2, 3)], lambda *both: torch.stack(both, 3)),
        ([(2, 3), (3, 4), (2, 3)], torch.addcmul),
        ([(1, 3, 2, 2)], lambda x: F.avg_pool2d(x, 3)),
        ([(1, 3, 9, 9)], lambda x: F.max_pool2d(x, 3, 1, 2)),
        ([(1, 3, 9, 9)], lambda x: F.interpolate(x, size=(0, 3))),
        ([(1, 3, 9, 9)], lambda x: F.max_pool2d(x, 3, 0)),
        ([(2, 3)], lambda x: torch.sum(x, (0, 0))),
        ([(2, 3)], lambda x: torch.sum(x, (2,))),
    ],
)
def test_what_does_not_fit_is_refused(sizes: list[tuple[int, ...]], function: Callable[..., Any]) -> None:
    given = _pairs(*sizes, device="meta")
    with ShapesOnly(), pytest.raises((RuntimeError, IndexError)):
        function(*given)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.interpolate(x, scale_factor=2),
        lambda x: F.max_pool2d(x, 2),
        lambda x: F.avg_pool2d(x, 2),
        lambda x: torch.cat([x, x], 1),
        lambda x: torch.cat([x, x.double()], 1),
    ],
)
@pytest.mark.parametrize("size", [(2, 3, 4, 6), (2, 3, 2, 2)])
def test_channels_side_by_side_stay_so(function: Callable[[Tensor], Tensor], size: tuple[int, ...]) -> None:
    x = torch.ones(size).to(memory_format=torch.channels_last)
    real = function(x)
    with ShapesOnly():
        found = function(x.to("meta"))
    assert (found.shape, found.dtype, found.stride()) == (real.shape, real.dtype, real.stride())
