"""The layers of a Darknet network, as small modules of plain torch parts.

Each takes its inputs as separate tensors, in the order the ``.cfg`` names them. Where a module cuts channels, the
places stand in integer attributes, so that a network whose channels were removed can be told where to cut now.

Source: the ``*_layer.c`` files of https://github.com/AlexeyAB/darknet.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapwood.errors import ShapeError

BATCH_NORM_EPS = 1e-5
"""Added to the variance, as AlexeyAB's Darknet does when it folds BatchNorm for inference (``sqrt(var + .00001)``).

The first Darknet divides by ``sqrt(var) + .000001`` instead; for variances of ordinary size the two agree closely.
"""


class ConvolutionalLayer(nn.Sequential):
    """``[convolutional]``: ``conv``, then ``bn`` where the section says so, then ``act``."""

    conv: nn.Conv2d
    act: nn.Module

    def __init__(self, conv: nn.Conv2d, bn: nn.BatchNorm2d | None, act: nn.Module) -> None:
        parts: list[tuple[str, nn.Module]] = [("conv", conv)]
        if bn is not None:
            parts.append(("bn", bn))
        super().__init__(OrderedDict([*parts, ("act", act)]))


class BinaryConv2d(nn.Conv2d):
    r"""A convolution with ``xnor=1``: signs of the input times signs of the weights, scaled per filter.

    .. math:: y = \mathrm{sign}(x) * \big(\overline{|w_f|}\, \mathrm{sign}(w_f)\big), \qquad \mathrm{sign}(0) = -1

    Padding counts as 0, as in Darknet's training and GPU code; its bit-packed CPU kernel reads padding as -1. Signs
    have no slope: gradients pass them straight through, and stop at inputs beyond [-1, 1].
    ``bin_output=1`` only tells Darknet how to store the result for the next such layer; the values are the same.

    References:
        Rastegari et al., XNOR-Net, 2016, arXiv:1603.05279.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Convolves ``input``, shape (B, C_in, H, W)."""
        scale = self.weight.abs().mean(dim=(1, 2, 3), keepdim=True)
        weight = _straight_through(_signs(self.weight) * scale, self.weight)
        return self._conv_forward(_straight_through(_signs(input), input.clamp(-1, 1)), weight, self.bias)  # type: ignore[no-any-return]


def _signs(x: Tensor) -> Tensor:
    return torch.where(x > 0, 1.0, -1.0).to(x.dtype)


def _straight_through(value: Tensor, slope_of: Tensor) -> Tensor:
    """``value``, with the gradient of ``slope_of``."""
    return value.detach() + (slope_of - slope_of.detach()) if slope_of.requires_grad else value


class ConnectedLayer(nn.Sequential):
    """``[connected]``: flattens, then ``linear``, ``bn`` where the section says so, ``act``."""

    linear: nn.Linear
    act: nn.Module

    def __init__(self, linear: nn.Linear, bn: nn.BatchNorm1d | None, act: nn.Module) -> None:
        parts: list[tuple[str, nn.Module]] = [("flatten", nn.Flatten()), ("linear", linear)]
        if bn is not None:
            parts.append(("bn", bn))
        super().__init__(OrderedDict([*parts, ("act", act)]))


class MaxPool(nn.Sequential):
    """``[maxpool]`` with Darknet's padding: ``padding`` cells in all, the smaller half on the left and top.

    The result has ``(size_in + padding - size) // stride + 1`` cells a side, and padding never wins. Three ways lead
    there: symmetric padding, torch's ``ceil_mode``, or a padding of minus infinity in front.
    """

    def __init__(self, size: int, stride: tuple[int, int], padding: int) -> None:
        before, after = padding // 2, padding - padding // 2
        parts: list[nn.Module] = []
        if before == after and before <= size // 2:
            parts.append(nn.MaxPool2d(size, stride, padding=before))
        elif padding == 1 and stride == (2, 2):
            parts.append(nn.MaxPool2d(size, stride, ceil_mode=True))
        else:
            parts.append(nn.ConstantPad2d((before, after, before, after), float("-inf")))
            parts.append(nn.MaxPool2d(size, stride))
        super().__init__(*parts)


class DarknetUpsample(nn.Upsample):
    """``[upsample]``: each cell ``stride`` times in both directions, times ``gain`` (the section's ``scale``)."""

    def __init__(self, stride: int, gain: float) -> None:
        super().__init__(scale_factor=stride, mode="nearest")
        self.gain = gain

    def forward(self, input: Tensor) -> Tensor:
        """Enlarges ``input``, shape (B, C, H, W), to (B, C, stride * H, stride * W)."""
        enlarged = super().forward(input)
        return enlarged if self.gain == 1.0 else enlarged * self.gain


class ChannelSlice(nn.Module):
    """The channels from ``start`` up to ``stop``."""

    def __init__(self, start: int, stop: int) -> None:
        super().__init__()
        self.start = start
        self.stop = stop

    def forward(self, x: Tensor) -> Tensor:
        """Cuts ``x``, shape (B, C, ...), to (B, stop - start, ...)."""
        return x[:, self.start : self.stop]

    def extra_repr(self) -> str:
        """The two places, for ``print``."""
        return f"{self.start}, {self.stop}"


class Route(nn.Module):
    """``[route]``: its inputs one behind the other; with ``groups``, only part ``group_id`` of each.

    Attributes:
        slices: One :class:`ChannelSlice` an input where the section has ``groups``; empty otherwise.
    """

    def __init__(self, widths: tuple[int, ...], groups: int, group_id: int) -> None:
        super().__init__()
        parts = [width // groups for width in widths] if groups > 1 else []
        self.slices = nn.ModuleList(ChannelSlice(part * group_id, part * (group_id + 1)) for part in parts)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Joins ``inputs``, shapes (B, C_i, H, W), along the channels."""
        if len(self.slices):
            inputs = tuple(cut(x) for cut, x in zip(self.slices, inputs, strict=True))
        return inputs[0] if len(inputs) == 1 else torch.cat(inputs, dim=1)


class PartialAdd(nn.Module):
    """Adds the first ``shared`` channels of another map, which may be wider or narrower, at every ``step``-th cell.

    Attributes:
        shared: Channels that are added.
        step: How many cells of the other map, in both directions, fall on one of this.
    """

    def __init__(self, shared: int, step: int) -> None:
        super().__init__()
        self.shared = shared
        self.step = step

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Adds to ``x``, shape (B, C, H, W), the map ``other``, shape (B, C', step * H, step * W).

        Returns:
            The sum, of the shape of ``x``.
        """
        if self.step > 1:
            other = other[:, :, :: self.step, :: self.step]
        if other.shape[1] > self.shared:
            other = other[:, : self.shared]
        if x.shape[1] == self.shared:
            return x + other
        return torch.cat((x[:, : self.shared] + other, x[:, self.shared :]), dim=1)

    def extra_repr(self) -> str:
        """The attributes, for ``print``."""
        return f"shared={self.shared}, step={self.step}"


class Shortcut(nn.Module):
    """``[shortcut]``: the layer before plus the layers ``from``, then an activation.

    The shape of the layer before stays. Of a layer with more channels the first ones are added, one with fewer is
    added to the first ones. Of a layer with ``step`` times the height and width every ``step``-th cell is added, as the
    first Darknet does (``shortcut_cpu``) and its ResNets need; AlexeyAB's adds values in order of memory there.
    """

    def __init__(self, adds: Iterable[PartialAdd], act: nn.Module) -> None:
        super().__init__()
        self.adds = nn.ModuleList(adds)
        self.act = act

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        """Adds ``others``, shapes (B, C_i, H_i, W_i), to ``x``, shape (B, C, H, W)."""
        for add, other in zip(self.adds, others, strict=True):
            x = add(x, other)
        return self.act(x)  # type: ignore[no-any-return]


class WeightedShortcut(nn.Module):
    """``[shortcut]`` with ``weights_type=``: the weighted sum of the layer before and the layers ``from``, activated.

    Args:
        layers: How many layers are added to the layer before.
        channels: Of a weight a channel, how many; 1 where there is one weight a layer.
        normalization: ``"none"``; ``"relu"``: negative weights count as 0, and all are divided by their sum;
            ``"softmax"``. To each sum 1e-4 is added.
        act: What follows.

    Attributes:
        weight: Shape (1 + layers, channels, 1, 1), those of the layer before first.

    Source: ``shortcut_multilayer_cpu`` in ``src/blas.c`` of https://github.com/AlexeyAB/darknet.
    """

    def __init__(self, layers: int, channels: int, normalization: str, act: nn.Module) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1 + layers, channels, 1, 1))
        self.normalization = normalization
        self.act = act

    def reset_parameters(self) -> None:
        """Makes the plain sum of it."""
        nn.init.ones_(self.weight)

    def forward(self, *maps: Tensor) -> Tensor:
        """Adds the maps, shapes (B, C, H, W)."""
        weights = self._normalized().unbind()
        total = weights[0] * maps[0]
        for weight, other in zip(weights[1:], maps[1:], strict=True):
            total = total + weight * other
        return self.act(total)  # type: ignore[no-any-return]

    def _normalized(self) -> Tensor:
        if self.normalization == "none":
            return self.weight
        positive = torch.relu(self.weight)
        if self.normalization == "softmax":
            positive = torch.exp(self.weight - self.weight.amax(dim=0, keepdim=True))
        return positive / (positive.sum(dim=0, keepdim=True) + 1e-4)

    def extra_repr(self) -> str:
        """The attributes, for ``print``."""
        return f"weights={tuple(self.weight.shape[:2])}, normalization={self.normalization}"


class Scale(nn.Module):
    """``[scale_channels]`` and ``[sam]``: the product of the layer before and the layer ``from``, then an activation.

    ``scale_channels`` multiplies each channel, shape (B, C, 1, 1), or with ``scale_wh=1`` each position,
    shape (B, 1, H, W), of the layer ``from``; ``sam`` multiplies maps of equal shape.
    """

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.act = act

    def forward(self, factors: Tensor, x: Tensor) -> Tensor:
        """Multiplies ``x``, shape (B, C, H, W), by ``factors``."""
        return self.act(x * factors)  # type: ignore[no-any-return]


class Reorg(nn.Module):
    """``[reorg]`` and ``[reorg3d]``: turns ``stride`` x ``stride`` cells into channels.

    ``[reorg3d]`` is what one expects: block (dy, dx) of each cell becomes channels ``(dy * stride + dx) * C`` and on.
    ``[reorg]``, which the YOLOv2 files use, is that same step on another reading of memory: the input's values in order
    are first taken as a map of C / stride^2 channels and stride times the height and width.

    Source: ``reorg_cpu`` in ``src/blas.c``, called with the shape of the input by ``[reorg]`` and with the shape of the
    output by ``[reorg3d]``.
    """

    def __init__(self, stride: int, *, reread: bool) -> None:
        super().__init__()
        self.stride = stride
        self.reread = reread

    def forward(self, x: Tensor) -> Tensor:
        """Turns ``x``, shape (B, C, H, W), into (B, C * stride^2, H / stride, W / stride)."""
        batch, channels, height, width = x.shape
        s = self.stride
        shape = (batch, channels * s * s, height // s, width // s)
        if self.reread:
            channels, height, width = channels // (s * s), height * s, width * s
            x = x.reshape(batch, channels, height, width)
        blocks = x.reshape(batch, channels, height // s, s, width // s, s)
        return blocks.permute(0, 3, 5, 1, 2, 4).reshape(shape)

    def extra_repr(self) -> str:
        """The attributes, for ``print``."""
        return f"stride={self.stride}, reread={self.reread}"


class Crop(nn.Module):
    """``[crop]`` at inference: the centre of the picture, brought from [0, 1] to [-1, 1] unless ``noadjust=1``."""

    def __init__(self, size: tuple[int, int], *, adjust: bool) -> None:
        super().__init__()
        self.size = size
        self.adjust = adjust

    def forward(self, x: Tensor) -> Tensor:
        """Cuts ``x``, shape (B, C, H, W), to (B, C, *size).

        Raises:
            ShapeError: If ``x`` is smaller than ``size``.
        """
        height, width = self.size
        top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
        if top < 0 or left < 0:
            raise ShapeError(f"[crop] got a map of {x.shape[2]}x{x.shape[3]}; expected at least {height}x{width}")
        x = x[:, :, top : top + height, left : left + width]
        return x * 2 - 1 if self.adjust else x

    def extra_repr(self) -> str:
        """The attributes, for ``print``."""
        return f"size={self.size}, adjust={self.adjust}"


class Softmax(nn.Module):
    """``[softmax]``: flattens, and normalises each of ``groups`` equal parts apart."""

    def __init__(self, groups: int, temperature: float) -> None:
        super().__init__()
        self.groups = groups
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        """Turns ``x``, shape (B, ...) of N values a picture, into probabilities, shape (B, N)."""
        x = x.flatten(1)
        if self.temperature != 1.0:
            x = x / self.temperature
        if self.groups == 1:
            return F.softmax(x, dim=1)
        return F.softmax(x.reshape(x.shape[0], self.groups, -1), dim=2).flatten(1)

    def extra_repr(self) -> str:
        """The attributes, for ``print``."""
        return f"groups={self.groups}, temperature={self.temperature}"
