"""What PyTorch does in place of a node of the engine: the same numbers, by its own kernels, any number of pictures.

A kind of node without a function here never leaves the engine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from sapwood.runtime.engine import nodes
from sapwood.runtime.engine.nodes import Activation, Node, Size
from sapwood.runtime.engine.packing import Array, ConvSpec, PlaneGeometry

Twin: TypeAlias = Callable[..., Tensor]
"""Given the maps that a node reads, shape (B, C, H, W) each, what it makes, of that form as well."""


@dataclass(frozen=True)
class Around:
    """What a node's twin may look at beside the node.

    Attributes:
        sizes: Of all maps.
        channels_last: Whether PyTorch is to keep the channels of a place together.
    """

    sizes: Mapping[int, Size]
    channels_last: bool = False


Maker: TypeAlias = Callable[[Any, Around], Twin | None]

MAKERS: dict[type[Node], Maker] = {}
"""What makes the twin of each kind of node, or says that there is none."""


def twin(node: Node, around: Around) -> Twin | None:
    """What PyTorch does in place of a node; None where it has nothing of the kind.

    Examples:
        >>> node = nodes.Pointwise(1, (0,), "", Activation("leaky", 0.5))
        >>> twin(node, Around({0: (1, 1, 2), 1: (1, 1, 2)}))(torch.tensor([[[[-2.0, 3.0]]]]))
        tensor([[[[-1.,  3.]]]])
    """
    make = MAKERS.get(type(node))
    return None if make is None else make(node, around)


def twin_of(kind: type[Node]) -> Callable[[Maker], Maker]:
    """Registers what makes the twins of a kind of node."""

    def register(make: Maker) -> Maker:
        MAKERS[kind] = make
        return make

    return register


OTHER_NAME: Mapping[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda x: x,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
}
"""Activations that ``torch.nn.functional`` does not know by the engine's name, or warns of."""


def _activation(activation: Activation) -> Callable[[Tensor], Tensor] | None:
    name = activation.name
    if name == "leaky":
        slope = activation.slope
        return F.relu if slope == 0.0 else lambda x: F.leaky_relu(x, slope)
    found: Callable[[Tensor], Tensor] | None = OTHER_NAME.get(name) or getattr(F, name, None)
    return found


def _in_place(apply: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: apply(x, inplace=True)


IN_PLACE: Mapping[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid_,
    "tanh": torch.tanh_,
    **{name: _in_place(getattr(F, name)) for name in ("silu", "mish", "hardswish", "relu6", "hardsigmoid")},
}


def _activation_in_place(activation: Activation) -> Callable[[Tensor], Tensor] | None:
    """For what nobody else has: no memory for the result."""
    if activation.name == "leaky":
        slope = activation.slope
        return torch.relu_ if slope == 0.0 else lambda x: F.leaky_relu(x, slope, inplace=True)
    return IN_PLACE.get(activation.name) or _activation(activation)


@twin_of(nodes.Conv)
def _conv(node: nodes.Conv, around: Around) -> Twin | None:
    activate = _activation_in_place(node.activation)
    if activate is None:
        return None
    multiply = _product(node, around)

    def run(x: Tensor, *others: Tensor) -> Tensor:
        found = multiply(x)
        for other in others:
            found += other
        return activate(found)

    return run


def _product(node: nodes.Conv, around: Around) -> Twin:
    """The convolution without what follows: where it is a product of matrices, as that."""
    spec = node.spec
    weight, bias = tensor_of(spec.weight), tensor_of(spec.bias)
    if _is_factor(spec):
        factors, shifts = weight.view(-1, 1, 1), bias.view(-1, 1, 1)
        return lambda x: torch.addcmul(shifts, x, factors)
    if _is_rows_product(node, around):
        return _rows_product(weight.flatten(1), bias)
    geometry, groups = spec.geometry, spec.groups
    if not around.channels_last:
        return lambda x: F.conv2d(x, weight, bias, geometry.stride, geometry.padding, geometry.dilation, groups)
    last = torch.channels_last
    weight = weight.contiguous(memory_format=last)
    return lambda x: F.conv2d(
        x.contiguous(memory_format=last), weight, bias, geometry.stride, geometry.padding, geometry.dilation, groups
    )


def minds_order(node: nodes.Node, around: Around) -> bool:
    """Whether it matters to PyTorch in which order it keeps channels and places."""
    return isinstance(node, nodes.Conv) and not _is_factor(node.spec) and not _is_rows_product(node, around)


def _is_factor(spec: ConvSpec) -> bool:
    """One for each channel; something else may be added to it."""
    return spec.weight.shape == (spec.groups, 1, 1, 1) and spec.geometry == PlaneGeometry((1, 1))


def _is_rows_product(node: nodes.Conv, around: Around) -> bool:
    pointwise = node.spec.groups == 1 and node.spec.geometry == PlaneGeometry((1, 1))
    return pointwise and around.sizes[node.inputs[0]][1] == 1


def _rows_product(weight: Tensor, bias: Tensor) -> Twin:
    """A linear layer on maps of one row: its places are the rows of a matrix, in whichever order they lie."""

    def run(x: Tensor) -> Tensor:
        batch, channels, _, width = x.shape
        rows = x[:, :, 0].transpose(1, 2)  # shape: (B, W, C)
        if width == 1:
            return F.linear(rows.reshape(batch, channels), weight, bias).view(batch, -1, 1, 1)
        return F.linear(rows, weight, bias).transpose(1, 2).unsqueeze(2)

    return run


def tensor_of(array: Array) -> Tensor:
    """An array as a tensor: the same memory where it may be written: PyTorch warns of other."""
    return torch.from_numpy(array if array.flags.writeable else array.copy())


@twin_of(nodes.Pointwise)
def _pointwise(node: nodes.Pointwise, around: Around) -> Twin | None:
    del around
    return _activation(node.activation)


@twin_of(nodes.Combine)
def _combine(node: nodes.Combine, around: Around) -> Twin | None:
    del around
    activate = _activation_in_place(node.activation)
    combine = torch.add if node.kind == "add" else torch.mul
    return None if activate is None else lambda one, other: activate(combine(one, other))


@twin_of(nodes.Concat)
def _concat(node: nodes.Concat, around: Around) -> Twin:
    del node, around
    return lambda *parts: torch.cat(parts, 1)


@twin_of(nodes.Channels)
def _channels(node: nodes.Channels, around: Around) -> Twin:
    first, count = node.first, around.sizes[node.out][0]
    return lambda x: x[:, first : first + count]


@twin_of(nodes.Upsample)
def _upsample(node: nodes.Upsample, around: Around) -> Twin:
    size = around.sizes[node.out][1:]
    return lambda x: F.interpolate(x, size=size, mode="nearest")


@twin_of(nodes.Pool)
def _pool(node: nodes.Pool, around: Around) -> Twin:
    source, size = around.sizes[node.inputs[0]], around.sizes[node.out]
    geometry = node.geometry
    if node.kind == "average" and geometry == PlaneGeometry(source[1:]):
        return lambda x: x.mean((2, 3), keepdim=True)
    if node.kind == "max":
        return _max_pool(geometry, source, size)
    kernel, stride, padding, all_places = geometry.kernel, geometry.stride, geometry.padding, node.all_places
    return lambda x: F.avg_pool2d(x, kernel, stride, padding, count_include_pad=all_places)


def _max_pool(geometry: PlaneGeometry, source: Size, size: Size) -> Twin:
    """Windows may end outside, further on one side than on the other: PyTorch pads both alike, by half a window."""
    kernel, stride, before = geometry.kernel, geometry.stride, geometry.padding
    if geometry.output_size(*source[1:]) == size[1:] and all(2 * before[dim] <= kernel[dim] for dim in range(2)):
        return lambda x: F.max_pool2d(x, kernel, stride, before)
    behind = [
        stride[dim] * (size[dim + 1] - 1) + kernel[dim] - source[dim + 1] - before[dim] for dim in range(2)
    ]  # fmt: skip
    sides = [before[1], behind[1], before[0], behind[0]]
    return lambda x: F.max_pool2d(F.pad(x, sides, value=-math.inf), kernel, stride)
