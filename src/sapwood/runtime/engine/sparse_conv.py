"""A convolution on the engine, as a module that takes the place of a :class:`torch.nn.Conv2d`."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from sapwood.errors import EngineError
from sapwood.runtime.engine import library as lib
from sapwood.runtime.engine.convolution import Convolution
from sapwood.runtime.engine.maps import row_pitch
from sapwood.runtime.engine.packing import ConvSpec, Geometry
from sapwood.runtime.engine.program import Builder, Program


def conv_spec(conv: nn.Conv2d) -> ConvSpec:
    """What the engine needs of a module.

    Raises:
        EngineError: If the engine has no such convolution, or weights are NaN or infinite.
    """
    if isinstance(conv.padding, str) or conv.padding_mode != "zeros":
        raise EngineError(f"padding {conv.padding!r} of mode {conv.padding_mode!r}; expected numbers of zeros")
    weight = conv.weight.detach().cpu().float().numpy()
    bias = np.zeros(len(weight), np.float32) if conv.bias is None else conv.bias.detach().cpu().float().numpy()
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise EngineError("weights are NaN or infinite; expected finite numbers")
    sizes: list[tuple[int, int]] = [
        (int(pair[0]), int(pair[1])) for pair in (conv.kernel_size, conv.stride, conv.padding, conv.dilation)
    ]
    return ConvSpec(weight, bias, Geometry(*sizes), conv.groups)


class SparseConv2d(nn.Module):
    """A convolution that skips zeros: the weights of a trained :class:`torch.nn.Conv2d`, on the engine.

    It is for evaluation: weights are packed once, and no gradient flows. Each call packs the picture into the engine's
    layout and back; a whole network keeps that layout (:func:`sapwood.runtime.compile`).

    Args:
        conv: Read once; masks of ``torch.nn.utils.prune`` count.
        threads: Of a call.

    Raises:
        EngineError: If the engine is not built, or has no such convolution.
    """

    def __init__(self, conv: nn.Conv2d, *, threads: int = 1) -> None:
        super().__init__()
        self.threads = threads
        self._spec = conv_spec(conv)
        self._programs: dict[tuple[int, ...], Program] = {}

    def forward(self, inputs: Tensor) -> Tensor:  # shapes: (B, C, H, W) -> (B, O, H', W')
        """Runs the pictures of a batch one after the other.

        Raises:
            EngineError: If the shape does not fit.
        """
        spec = self._spec
        channels = spec.weight.shape[1] * spec.groups
        if inputs.dim() != 4 or inputs.shape[1] != channels:
            raise EngineError(f"an input of shape {tuple(inputs.shape)}; expected (B, {channels}, H, W)")
        size = spec.geometry.output_size(*inputs.shape[2:])
        if min(size) < 1:
            raise EngineError(f"an input of shape {tuple(inputs.shape)} is smaller than the kernel")
        given = inputs.detach().to("cpu", torch.float32).contiguous()
        found = torch.empty(len(given), len(spec.weight), *size)
        key = tuple(given.shape[1:])
        if key not in self._programs:
            self._programs[key] = conv_program(spec, *key[1:])
        program = self._programs[key]
        for picture, result in zip(given, found, strict=True):
            program.run([picture.data_ptr()], [result.data_ptr()], self.threads)
        return found.to(inputs.device, inputs.dtype)


def conv_program(spec: ConvSpec, height: int, width: int) -> Program:
    """A program of one convolution, from a dense picture to a dense picture."""
    builder = Builder()
    geometry = spec.geometry
    rows, columns = geometry.output_size(height, width)
    strides = geometry.stride
    phased = strides != (1, 1)
    size = (-(-height // strides[0]), -(-width // strides[1]))
    pitch = row_pitch([size[1], columns], geometry.side(width), builder.lanes)
    channels = spec.weight.shape[1] * spec.groups
    margin = geometry.margin(height)
    if phased:
        dense = builder.map(channels, height, width, margin=0, pitch=row_pitch([width], 0, builder.lanes))
        builder.add(lib.PACK, out=dense)
        source = builder.map(channels * strides[0] * strides[1], *size, margin=margin, pitch=pitch)
        builder.add(lib.PHASES, dense, source, step=strides)
    else:
        source = builder.map(channels, height, width, margin=margin, pitch=pitch)
        builder.add(lib.PACK, out=source)
    out = builder.map(len(spec.weight), rows, columns, margin=0, pitch=pitch)
    Convolution(spec, source, out, (rows, columns)).add(builder)
    builder.add(lib.UNPACK, out)
    return builder.build()
