"""What a gain has to make up for where the direction that it scales loses indices: a part of its norm."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sapwood.models.plan import Cut


def gain_factors(direction: Tensor, dim: int, cuts: Sequence[Cut]) -> Tensor:
    r"""Returns the norm of what is kept over the norm of all, for each index of a dimension.

    .. math:: f_i = \lVert v_i^{kept} \rVert / \lVert v_i \rVert

    Args:
        direction: The parameter that weight normalisation divides by its norm.
        dim: The dimension that the norm is not taken over.
        cuts: What stays of the parameter.

    Returns:
        Shape (1, ..., n, ..., 1) with the size of ``dim`` before any cut, float64; 1 where there was nothing.

    Examples:
        >>> gain_factors(torch.tensor([[3.0, 4.0], [0.0, 2.0]]), 0, [Cut("v", 1, 2, (0,))]).tolist()
        [[0.6], [0.0]]

    References:
        Salimans and Kingma, Weight Normalization, 2016, arXiv:1602.07868, eq. 2.
    """
    whole = kept = direction.to(torch.float64)
    for cut in cuts:
        if cut.dim != dim:
            kept = kept.index_select(cut.dim, torch.tensor(cut.kept, device=kept.device))
    others = [other for other in range(direction.dim()) if other != dim]
    norms = [torch.linalg.vector_norm(part, dim=others, keepdim=True) for part in (kept, whole)]
    return torch.where(norms[1] > 0, norms[0] / norms[1], 1.0)
