"""Depthwise convolutions, which go through a kernel of their own: windows are kept whole, and strides read in place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sapwood.runtime.engine.interface import OpKind
from sapwood.runtime.engine.maps import GAP, Map
from sapwood.runtime.engine.nodes import LINEAR, Activation
from sapwood.runtime.engine.packing import ConvSpec, PlaneGeometry
from sapwood.runtime.engine.program import Builder


def is_depthwise(spec: ConvSpec) -> bool:
    """Whether each channel of the result reads one channel of the input, in a way that the kernel has.

    Examples:
        >>> spec = ConvSpec(np.ones((8, 1, 3, 3), np.float32), np.zeros(8, np.float32), PlaneGeometry((3, 3)), 4)
        >>> is_depthwise(spec)
        True
    """
    return spec.groups > 1 and spec.weight.shape[1] == 1 and spec.geometry.padding[1] <= GAP


def zeros_around(geometry: PlaneGeometry, height: int, width: int) -> tuple[int, int]:
    """Rows of zeros that a map needs above and below, and zeros behind each row, where windows are read in place.

    Examples:
        >>> zeros_around(PlaneGeometry((3, 3), (2, 2), (1, 1)), 8, 7), zeros_around(PlaneGeometry((1, 1)), 8, 7)
        ((1, 1), (0, 0))
    """
    rows, columns = (_zeros(geometry, dim, size) for dim, size in enumerate((height, width)))
    return max(rows, int(columns > 0)), columns


def _zeros(geometry: PlaneGeometry, dim: int, size: int) -> int:
    stride, reach = geometry.stride[dim], geometry.dilation[dim] * (geometry.kernel[dim] - 1)
    results = (size + 2 * geometry.padding[dim] - reach - 1) // stride + 1
    last = (results - 1) * stride + reach - geometry.padding[dim]
    return max(geometry.padding[dim], last - (size - 1), 0)


@dataclass(frozen=True)
class Depthwise:
    """A depthwise convolution between two maps of a program.

    Attributes:
        spec: Weights and geometry.
        source: What it reads.
        out: What it writes.
        other: What is added before the activation.
        activation: What is done to the sums.
        strip: Whether vectors go on from row to row.
    """

    spec: ConvSpec
    source: Map
    out: Map
    other: Map | None = None
    activation: Activation = LINEAR
    strip: bool = False

    def add(self, builder: Builder) -> None:
        """Adds it to a program."""
        geometry = self.spec.geometry
        weights, bias = (np.ascontiguousarray(one, np.float32) for one in (self.spec.weight, self.spec.bias))
        builder.keep(weights, bias)
        builder.add(
            OpKind.DEPTHWISE,
            self.source,
            self.out,
            other=self.other,
            activation=self.activation.name,
            slope=self.activation.slope,
            multiplier=len(weights) // self.spec.groups,
            kernel=geometry.kernel,
            step=geometry.stride,
            pad=geometry.padding,
            dilation=geometry.dilation,
            strip=int(self.strip),
            weights=weights.ctypes.data,
            bias=bias.ctypes.data,
            num_weights=weights.size,
            num_bias=bias.size,
        )
