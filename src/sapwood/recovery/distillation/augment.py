"""Other views of unlabelled pictures, made in batches: whatever they show, the dense network tells what it sees."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def augmented(
    inputs: Tensor,  # shape: (B, C, H, W)
    generator: torch.Generator,
    *,
    max_scale: float = 1.25,
    max_shift: float = 0.125,
    max_contrast: float = 0.2,
) -> Tensor:  # shape: (B, C, H, W)
    """Mirrors half of the pictures, scales, shifts and brightens each at random; what comes from outside is 0.

    Args:
        inputs: Network inputs.
        generator: Decides.
        max_scale: Largest zoom, in or out, at least 1.
        max_shift: Largest shift, as a fraction of the size.
        max_contrast: How far the factor on all values may be from 1.
    """
    count = len(inputs)

    def uniform(bound: float) -> Tensor:
        return (torch.rand(count, generator=generator) * 2.0 - 1.0) * bound

    mirrored = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    scale = (uniform(math.log(max_scale))).exp()
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = mirrored * scale, scale
    theta[:, 0, 2], theta[:, 1, 2] = 2.0 * uniform(max_shift), 2.0 * uniform(max_shift)
    theta = theta.to(inputs.device, inputs.dtype)
    moved = F.grid_sample(inputs, F.affine_grid(theta, list(inputs.shape), align_corners=False), align_corners=False)
    factor = 1.0 + uniform(max_contrast)
    return moved * factor.to(inputs.device, inputs.dtype)[:, None, None, None]
