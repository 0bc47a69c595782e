"""What random networks are made of: blocks that read one map (B, C, S, S) and make another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

T = TypeVar("T")
WIDTHS = (4, 6, 8, 12, 16)
WIDEST, LARGEST = 48, 16


@dataclass(frozen=True)
class Shape:
    """A map's channels and its height, which is its width, too."""

    channels: int
    size: int


class Choices:
    """Numbers that any list of options can be picked by; when they run out, the first option is picked."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._left = list(numbers)

    def of(self, *options: T) -> T:
        number = self._left.pop(0) if self._left else 0
        return options[number % len(options)]

    def divisor(self, *widths: int) -> int:
        return self.of(*(n for n in (2, 1, 4, 3) if all(width % n == 0 for width in widths)))


Made = tuple[nn.Module, Shape]
BLOCKS: dict[str, Callable[[Shape, Choices], Made]] = {}


def block(make: Callable[[Shape, Choices], Made]) -> Callable[[Shape, Choices], Made]:
    """Adds a kind of block, under the function's name."""
    BLOCKS[make.__name__] = make
    return make


class LayerNorm2d(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def norm(shape: Shape, choices: Choices) -> nn.Module:
    width = shape.channels
    kinds: list[Callable[[], nn.Module]] = [nn.Identity, lambda: nn.BatchNorm2d(width), lambda: LayerNorm2d(width)]
    kinds += [lambda: nn.GroupNorm(choices.divisor(width), width), lambda: nn.BatchNorm2d(width, affine=False)]
    if shape.size > 1:
        kinds += [lambda: nn.InstanceNorm2d(width, affine=True, track_running_stats=True)]
        kinds += [lambda: nn.InstanceNorm2d(width)]
    return choices.of(*kinds)()


def activation(width: int, choices: Choices) -> nn.Module:
    plain = (nn.Identity, nn.ReLU, nn.SiLU, nn.GELU, nn.Sigmoid, nn.Hardswish, nn.PReLU, nn.Softplus)
    return choices.of(*plain, lambda: nn.PReLU(width))()


def conv(inputs: int, outputs: int, size: int = 3, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, padding=options.get("dilation", 1) * (size // 2), **options)


@block
def convolution(shape: Shape, choices: Choices) -> Made:
    outputs, size = choices.of(*WIDTHS), choices.of(3, 1, 5)
    stride = choices.of(1, 2) if shape.size > 2 else 1
    groups = choices.of(1, choices.divisor(shape.channels, outputs))
    options = {"groups": groups, "stride": stride, "bias": choices.of(True, False), "dilation": choices.of(1, 2)}
    made = Shape(outputs, (shape.size + stride - 1) // stride)
    layer = conv(shape.channels, outputs, size, **options)
    return nn.Sequential(layer, norm(made, choices), activation(outputs, choices)), made


@block
def depthwise(shape: Shape, choices: Choices) -> Made:
    made = Shape(shape.channels * (choices.of(1, 2) if shape.channels <= WIDEST // 2 else 1), shape.size)
    layer = conv(shape.channels, made.channels, choices.of(3, 5), groups=shape.channels, bias=choices.of(True, False))
    return nn.Sequential(layer, norm(made, choices), activation(made.channels, choices)), made


@block
def transposed(shape: Shape, choices: Choices) -> Made:
    outputs = choices.of(shape.channels, *WIDTHS)
    stride = 2 if shape.size * 2 <= LARGEST else 1
    groups = choices.of(1, choices.divisor(shape.channels, outputs), shape.channels if outputs == shape.channels else 1)
    made = Shape(outputs, shape.size * stride)
    layer = nn.ConvTranspose2d(shape.channels, outputs, stride, stride=stride, groups=groups)
    return nn.Sequential(layer, norm(made, choices), activation(outputs, choices)), made


@block
def resized(shape: Shape, choices: Choices) -> Made:
    kinds = [nn.AdaptiveAvgPool2d(2), nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1)]
    sizes = [2, shape.size, shape.size]
    if shape.size > 2:
        kinds, sizes = [*kinds, nn.MaxPool2d(2), nn.AvgPool2d(2)], [*sizes, shape.size // 2, shape.size // 2]
    if shape.size * 2 <= LARGEST:
        kinds += [nn.Upsample(scale_factor=2), nn.Upsample(scale_factor=2, mode="bilinear")]
        sizes += [shape.size * 2, shape.size * 2]
    kind, size = choices.of(*zip(kinds, sizes, strict=True))
    return kind, Shape(shape.channels, size)


class SqueezeExcite(nn.Module):
    def __init__(self, width: int, inner: int, *, linear: bool) -> None:
        super().__init__()
        self.width = width
        self.linear = linear
        self.down = nn.Linear(width, inner) if linear else conv(width, inner, 1)
        self.up = nn.Linear(inner, width) if linear else conv(inner, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean((2, 3)) if self.linear else x.mean((2, 3), keepdim=True)
        gate = self.up(F.relu(self.down(pooled))).sigmoid()
        return x * gate.view(-1, self.width, 1, 1)


@block
def squeeze_excite(shape: Shape, choices: Choices) -> Made:
    return SqueezeExcite(shape.channels, choices.of(*WIDTHS), linear=choices.of(True, False)), shape


class Parts(nn.Module):
    """Cuts its map into parts, gives each a convolution of its own and puts the results together."""

    def __init__(self, widths: list[int], outputs: int, cut: str, *, add: bool) -> None:
        super().__init__()
        self.cut, self.add = cut, add
        self.widths = widths
        self.first = widths[0]
        self.convs = nn.ModuleList(conv(width, outputs) for width in widths)

    def forward(self, x: Tensor) -> Tensor:
        if self.cut == "chunk":
            parts = x.chunk(len(self.convs), 1)
        elif self.cut == "split":
            parts = x.split(self.widths, 1)
        else:
            parts = (x[:, : self.first], x[:, self.first :])
        made = [layer(part) for layer, part in zip(self.convs, parts, strict=True)]
        return torch.stack(made).sum(0) if self.add else torch.cat(made, 1)


@block
def parts(shape: Shape, choices: Choices) -> Made:
    width = shape.channels
    if width < 2:
        return nn.Identity(), shape
    cut, add, outputs = choices.of("chunk", "split", "slice"), choices.of(True, False), choices.of(*WIDTHS[:3])
    widths = [width - width // 2, width // 2]
    if cut == "chunk" and width % 3 == 0 and choices.of(True, False):
        widths = [width // 3] * 3
    elif cut != "chunk":
        first = choices.of(width // 2, width // 4, width - 1, 1) or 1
        widths = [first, width - first]
    return Parts(widths, outputs, cut, add=add), Shape(outputs if add else outputs * len(widths), shape.size)


class Half(nn.Module):
    """Goes on with one half (a Darknet route with ``groups=2``), or with the product of both."""

    def __init__(self, which: str) -> None:
        super().__init__()
        self.which = which

    def forward(self, x: Tensor) -> Tensor:
        if self.which == "glu":
            return F.glu(x, 1)
        first, second = x.chunk(2, 1)
        return second if self.which == "second" else first * second.sigmoid()


@block
def half(shape: Shape, choices: Choices) -> Made:
    if shape.channels % 2:
        return nn.Identity(), shape
    return Half(choices.of("second", "glu", "gate")), Shape(shape.channels // 2, shape.size)


class C2f(nn.Module):
    """A YOLO stage: halves, a block on the second one, and everything there was concatenated."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.half = width // 2
        self.inner = nn.Sequential(conv(width // 2, width // 2), nn.SiLU(), conv(width // 2, width // 2))
        self.out = conv(3 * (width // 2), outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.split((self.half, self.half), 1)
        return self.out(torch.cat([first, second, second + self.inner(second)], 1))


@block
def c2f(shape: Shape, choices: Choices) -> Made:
    if shape.channels % 2:
        return nn.Identity(), shape
    outputs = choices.of(*WIDTHS)
    return C2f(shape.channels, outputs), Shape(outputs, shape.size)


class Shuffle(nn.Module):
    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        return x.view(b, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(b, c, h, w)


@block
def channel_shuffle(shape: Shape, choices: Choices) -> Made:
    return Shuffle(choices.divisor(shape.channels)), shape


@block
def pixel_shuffle(shape: Shape, choices: Choices) -> Made:
    if choices.of(True, False) and shape.channels % 4 == 0 and shape.size * 2 <= LARGEST:
        return nn.PixelShuffle(2), Shape(shape.channels // 4, shape.size * 2)
    if shape.size % 2 == 0 and shape.size > 2 and shape.channels * 4 <= WIDEST:
        return nn.PixelUnshuffle(2), Shape(shape.channels * 4, shape.size // 2)
    return nn.Identity(), shape


class PadChannels(nn.Module):
    """Zeros beside the channels, added to a wider map: the shortcut of the first ResNets."""

    def __init__(self, width: int, before: int, after: int) -> None:
        super().__init__()
        self.before, self.after = before, after
        self.conv = conv(width, width + before + after)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(F.pad(x, (0, 0, 0, 0, self.before, self.after)) + self.conv(x))


@block
def pad_channels(shape: Shape, choices: Choices) -> Made:
    before, after = choices.of((4, 4), (0, 4), (0, shape.channels), (2, 5))
    return PadChannels(shape.channels, before, after), Shape(shape.channels + before + after, shape.size)


class Twice(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.relu(self.conv(x)))


@block
def shared(shape: Shape, choices: Choices) -> Made:
    del choices
    return Twice(shape.channels), shape


class Scaled(nn.Module):
    """A weight of its own and a scale a channel, neither in a layer's module."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, width, 3, 3))
        self.scale = nn.Parameter(torch.empty(outputs, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, padding=1) * self.scale


@block
def bare_parameters(shape: Shape, choices: Choices) -> Made:
    outputs = choices.of(*WIDTHS)
    return Scaled(shape.channels, outputs), Shape(outputs, shape.size)
