"""Where in a weight the zeros are, small enough for a page."""

from __future__ import annotations

import torch
from torch import Tensor

SIDE = 16
"""Parts of a side of the map, at most."""


def density_map(
    weight: Tensor,  # shape: (outputs, inputs, *kernel)
) -> str | None:
    """Returns the share of non-zeros in each part of a weight: a digit a part, ``/`` between rows; 9 is all, 0 none.

    A part with some non-zeros is at least 1, one with some zeros at most 8. None of a vector.

    Examples:
        >>> density_map(torch.tensor([[1.0, 0.0], [2.0, 3.0]]))
        '90/99'
    """
    if weight.dim() < 2 or not weight.numel():
        return None
    shares = (weight.float() != 0).float().reshape(len(weight), weight.shape[1], -1).mean(dim=2)
    rows, columns = (min(SIDE, side) for side in shares.shape)
    cells = torch.nn.functional.adaptive_avg_pool2d(shares[None], (rows, columns))[0]
    digits = torch.where((cells > 0) & (cells < 1), (cells * 9).round().clamp(1, 8), cells * 9).int()
    return "/".join("".join(map(str, row)) for row in digits.tolist())
