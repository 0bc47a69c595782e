"""Blocks of YOLO that split a convolution's result, with a convolution for each half: Torch-Pruning takes these.

Of the blocks as they are its indices run out of bounds (1.6.1, Ultralytics 8.4.190); its own example for YOLOv8 makes
the same change, for blocks of an earlier release.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


class Halves(nn.Module):
    """C2f, C3k2 and C2PSA: both halves go on, and what the blocks make of the second."""

    def __init__(self, block: Any, chained: bool) -> None:
        super().__init__()
        for name in ("i", "f", "type", "np"):
            setattr(self, name, getattr(block, name))
        self.chained = chained  # C2PSA hands on the last result only
        width = block.cv1.conv.out_channels // 2
        self.first, self.second = half(block.cv1, slice(None, width)), half(block.cv1, slice(width, None))
        self.m, self.cv2 = block.m, block.cv2

    def forward(self, x: Tensor) -> Tensor:
        found = [self.first(x), self.second(x)]
        for block in self.m:
            made = block(found[-1])
            if self.chained:
                found[-1] = made
            else:
                found.append(made)
        joined: Tensor = self.cv2(torch.cat(found, 1))
        return joined


def half(layer: Any, part: slice) -> Any:
    """A convolution with its norm, of some of its output channels."""
    made = copy.deepcopy(layer)
    made.conv.weight = nn.Parameter(layer.conv.weight.data[part].clone())
    made.conv.out_channels = made.bn.num_features = len(made.conv.weight)
    for name in ("weight", "bias"):
        setattr(made.bn, name, nn.Parameter(getattr(layer.bn, name).data[part].clone()))
    for name in ("running_mean", "running_var"):
        setattr(made.bn, name, getattr(layer.bn, name)[part].clone())
    return made


def halve_(network: Any) -> None:
    """Gives a YOLO network such blocks; it computes what it did."""
    from ultralytics.nn.modules.block import C2PSA, C2f

    for name, block in list(network.model.named_children()):
        if isinstance(block, C2f | C2PSA):
            setattr(network.model, name, Halves(block, isinstance(block, C2PSA)))
