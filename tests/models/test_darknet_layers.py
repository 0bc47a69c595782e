"""Each layer against the plainest loops that say what Darknet computes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapwood.errors import ShapeError
from sapwood.models.darknet.activations import ACTIVATIONS
from sapwood.models.darknet.layers import (
    BinaryConv2d,
    Crop,
    DarknetUpsample,
    MaxPool,
    PartialAdd,
    Reorg,
    Route,
    Scale,
    Shortcut,
    Softmax,
    WeightedShortcut,
)

Array = npt.NDArray[np.float32]


def random(*shape: int) -> Tensor:
    return torch.randn(shape)


def reference_maxpool(x: Array, size: int, stride: int, padding: int) -> Array:
    batch, channels, height, width = x.shape
    rows, columns = (height + padding - size) // stride + 1, (width + padding - size) // stride + 1
    out = np.full((batch, channels, rows, columns), -np.inf, np.float32)
    for b, c, i, j in np.ndindex(*out.shape):
        for n, m in np.ndindex(size, size):
            row, column = i * stride + n - padding // 2, j * stride + m - padding // 2
            if 0 <= row < height and 0 <= column < width:
                out[b, c, i, j] = max(out[b, c, i, j], x[b, c, row, column])
    return out


@pytest.mark.parametrize("padding", [None, 0, 1, 2])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize(("height", "width"), [(7, 8), (6, 5)])
def test_maxpool_pads_as_darknet_does(size: int, stride: int, padding: int | None, height: int, width: int) -> None:
    padding = size - 1 if padding is None else padding
    x = random(2, 3, height, width) - 5  # all below zero: padding that wins would show
    found = MaxPool(size, (stride, stride), padding)(x)
    np.testing.assert_array_equal(found.numpy(), reference_maxpool(x.numpy(), size, stride, padding))


def reference_reorg(x: Array, stride: int, *, reread: bool) -> Array:
    """Moves single values by the index arithmetic of Darknet's ``reorg_cpu``, on flat memory."""
    batch, channels, height, width = x.shape
    shape = (batch, channels * stride**2, height // stride, width // stride)
    # the loop runs over the input's extents for [reorg], over the result's for [reorg3d]
    extents = (channels, height, width) if reread else shape[1:]
    flat, out = x.reshape(batch, -1), np.empty((batch, x[0].size), np.float32)
    few = extents[0] // stride**2
    for at, (k, j, i) in enumerate(np.ndindex(*extents)):
        row = j * stride + (k // few) // stride
        column = i * stride + (k // few) % stride
        source = column + extents[2] * stride * (row + extents[1] * stride * (k % few))
        out[:, at] = flat[:, source]
    return out.reshape(shape)


@pytest.mark.parametrize("reread", [True, False])
@pytest.mark.parametrize(("channels", "height", "width", "stride"), [(8, 4, 6, 2), (4, 2, 2, 2), (9, 3, 6, 3)])
def test_reorg_moves_values_as_darknet_does(channels: int, height: int, width: int, stride: int, reread: bool) -> None:
    x = random(2, channels, height, width)
    found = Reorg(stride, reread=reread)(x)
    np.testing.assert_array_equal(found.numpy(), reference_reorg(x.numpy(), stride, reread=reread))


def test_route_joins_the_same_part_of_each_input() -> None:
    x, y = random(2, 4, 3, 3), random(2, 8, 3, 3)
    route = Route((4, 8), groups=2, group_id=1)
    np.testing.assert_array_equal(route(x, y).numpy(), np.concatenate([x[:, 2:4], y[:, 4:8]], axis=1))
    np.testing.assert_array_equal(Route((4, 8), 1, 0)(x, y).numpy(), np.concatenate([x, y], axis=1))
    assert Route((4,), 1, 0)(x) is x


def test_a_route_cuts_where_its_attributes_say() -> None:
    route = Route((4,), groups=2, group_id=1)
    route.slices[0].start, route.slices[0].stop = 1, 2
    x = random(1, 4, 2, 2)
    assert torch.equal(route(x), x[:, 1:2])


def reference_shortcut(x: Array, other: Array) -> Array:
    """Adds single values where both maps have a channel; of a larger map every n-th cell."""
    out, step = x.copy(), other.shape[2] // x.shape[2]
    for b, c, i, j in np.ndindex(*x.shape):
        if c < other.shape[1]:
            out[b, c, i, j] += other[b, c, i * step, j * step]
    return out


@pytest.mark.parametrize(("channels", "others", "step"), [(4, 4, 1), (4, 7, 1), (7, 4, 1), (6, 3, 2), (3, 6, 2)])
def test_shortcut_of_unequal_shapes(channels: int, others: int, step: int) -> None:
    x, other = random(2, channels, 3, 5), random(2, others, 3 * step, 5 * step)
    shortcut = Shortcut([PartialAdd(min(channels, others), step)], nn.Identity())
    np.testing.assert_array_equal(shortcut(x, other).numpy(), reference_shortcut(x.numpy(), other.numpy()))


def test_shortcut_of_several_layers_adds_all_then_activates() -> None:
    x, y, z = random(1, 2, 2, 2), random(1, 2, 2, 2), random(1, 3, 2, 2)
    shortcut = Shortcut([PartialAdd(2, 1), PartialAdd(2, 1)], nn.ReLU())
    np.testing.assert_array_equal(shortcut(x, y, z).numpy(), np.maximum((x + y + z[:, :2]).numpy(), 0))


@pytest.mark.parametrize("normalization", ["none", "relu", "softmax"])
@pytest.mark.parametrize("channels", [1, 3])
def test_weighted_shortcut(channels: int, normalization: str) -> None:
    maps = [random(2, 3, 4, 5).double() for _ in range(3)]
    shortcut = WeightedShortcut(2, channels, normalization, nn.ReLU()).double()
    with torch.no_grad():
        shortcut.weight.copy_(random(3, channels, 1, 1))
        found = shortcut(*maps).numpy()
    expected = np.empty((2, 3, 4, 5))
    for b, c, i, j in np.ndindex(*expected.shape):
        weights = shortcut.weight[:, c % channels, 0, 0].tolist()
        if normalization == "relu":
            weights = [max(value, 0) / (1e-4 + sum(max(other, 0) for other in weights)) for value in weights]
        elif normalization == "softmax":
            largest = max(weights)
            total = 1e-4 + sum(math.exp(value - largest) for value in weights)
            weights = [math.exp(value - largest) / total for value in weights]
        expected[b, c, i, j] = max(sum(w * float(x[b, c, i, j]) for w, x in zip(weights, maps, strict=True)), 0)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 3, 1, 1), (2, 1, 4, 5), (2, 3, 4, 5)])
def test_scale_multiplies_channels_positions_or_values(shape: tuple[int, ...]) -> None:
    factors, x = random(*shape), random(2, 3, 4, 5)
    expected = np.empty((2, 3, 4, 5), np.float32)
    for b, c, i, j in np.ndindex(*expected.shape):
        at = tuple(index % extent for index, extent in zip((b, c, i, j), shape, strict=True))
        expected[b, c, i, j] = max(x[b, c, i, j] * factors[at], 0)
    np.testing.assert_array_equal(Scale(nn.ReLU())(factors, x).numpy(), expected)


@pytest.mark.parametrize("padding", [0, 1])
def test_xnor_convolves_signs(padding: int) -> None:
    conv = BinaryConv2d(4, 3, 3, padding=padding, bias=False)
    x = random(2, 4, 5, 5)
    x[0, 0, 0, 0] = 0.0  # zero counts as below zero
    weight = conv.weight.detach().numpy()
    binary = np.where(weight > 0, 1, -1) * np.abs(weight).reshape(3, -1).mean(axis=1).reshape(3, 1, 1, 1)
    signs = torch.from_numpy(np.where(x.numpy() > 0, 1.0, -1.0))
    expected = F.conv2d(signs, torch.from_numpy(binary.astype(np.float64)), padding=padding)
    # sums of 36 products in float32: rounding stays below 36 * 2^-24 * 36 * the largest scale
    np.testing.assert_allclose(conv(x).detach().numpy(), expected.numpy(), atol=36 * 36 * 2**-24)


def test_xnor_lets_gradients_through() -> None:
    conv = BinaryConv2d(2, 2, 1, bias=False)
    x = torch.tensor([0.5, -3.0]).view(1, 2, 1, 1).requires_grad_()
    conv(x).sum().backward()
    assert conv.weight.grad is not None
    assert x.grad is not None
    assert bool((conv.weight.grad != 0).all())
    assert float(x.grad[0, 0]) != 0
    assert float(x.grad[0, 1]) == 0  # beyond [-1, 1]


def test_crop_takes_the_centre() -> None:
    x = random(1, 2, 7, 8)
    assert torch.equal(Crop((4, 4), adjust=False)(x), x[:, :, 1:5, 2:6])
    assert torch.equal(Crop((4, 4), adjust=True)(x), x[:, :, 1:5, 2:6] * 2 - 1)
    with pytest.raises(ShapeError, match=r"\[crop\] got a map of 7x8; expected at least 9x4"):
        Crop((9, 4), adjust=True)(x)


def test_upsample_repeats_cells() -> None:
    x = random(1, 2, 2, 3)
    expected = np.repeat(np.repeat(x.numpy(), 2, axis=2), 2, axis=3)
    np.testing.assert_array_equal(DarknetUpsample(2, 1.0)(x).numpy(), expected)
    np.testing.assert_array_equal(DarknetUpsample(2, 0.5)(x).numpy(), expected * 0.5)


def test_softmax_of_groups() -> None:
    x = random(2, 6, 1, 1)
    scaled = np.exp(x.numpy().reshape(2, 2, 3) / 2)
    expected = (scaled / scaled.sum(axis=2, keepdims=True)).reshape(2, 6)
    np.testing.assert_allclose(Softmax(2, 2.0)(x).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("linear", lambda x: x),
        ("leaky", lambda x: x if x > 0 else 0.1 * x),
        ("relu", lambda x: max(x, 0)),
        ("relu6", lambda x: min(max(x, 0), 6)),
        ("ramp", lambda x: x * (x > 0) + 0.1 * x),
        ("logistic", lambda x: 1 / (1 + np.exp(-x))),
        ("tanh", lambda x: 2 / (1 + np.exp(-2 * x)) - 1),
        ("elu", lambda x: x if x >= 0 else np.exp(x) - 1),
        ("selu", lambda x: 1.0507 * (x if x >= 0 else 1.6732 * (np.exp(x) - 1))),
        ("relie", lambda x: x if x > 0 else 0.01 * x),
        ("loggy", lambda x: 2 / (1 + np.exp(-x)) - 1),
        ("hardtan", lambda x: min(max(x, -1), 1)),
        ("lhtan", lambda x: 0.001 * x if x < 0 else 0.001 * (x - 1) + 1 if x > 1 else x),
        ("plse", lambda x: 0.01 * (x + 4) if x < -4 else 0.01 * (x - 4) + 1 if x > 4 else 0.125 * x + 0.5),
        ("stair", lambda x: np.floor(x / 2) + (x - np.floor(x) if np.floor(x) % 2 else 0)),
        ("gelu", lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
        ("hard_mish", lambda x: x if x > 0 else x * x / 2 + x if x > -2 else 0),
        ("mish", lambda x: x * np.tanh(np.log(1 + np.exp(x)))),
        ("swish", lambda x: x / (1 + np.exp(-x))),
    ],
)
def test_activations(name: str, formula: Callable[[float], float]) -> None:
    x = torch.linspace(-8, 8, 33, dtype=torch.float64)
    expected = [formula(float(value)) for value in x]
    np.testing.assert_allclose(ACTIVATIONS[name]()(x).numpy(), expected, rtol=1e-12, atol=1e-14)


def test_every_activation_has_a_formula_above() -> None:
    marks = [mark for mark in test_activations.pytestmark if mark.name == "parametrize"]  # type: ignore[attr-defined]
    assert {case[0] for case in marks[0].args[1]} == set(ACTIVATIONS)
