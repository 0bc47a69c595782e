"""The norm of all weights that go with a channel."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sapwood.graph import ChannelGroup


def norm_scores(group: ChannelGroup, parameters: Mapping[str, Tensor], *, n: float = 2.0) -> Tensor:
    r"""Scores each channel of a group by the norm of every weight that goes with it.

    .. math:: s_c = \Big(\sum_{i \in c} |w_i|^n\Big)^{1/n}

    Args:
        group: The channels and their slices.
        parameters: The model's parameters by name; members that are buffers count for nothing.
        n: Which norm.

    Returns:
        One non-negative score a channel, float64, shape (C,); larger is more important.

    References:
        Li et al., Pruning Filters for Efficient ConvNets, 2017, arXiv:1608.08710; over groups: Fang et al., DepGraph,
        2023, arXiv:2301.12900, eq. 5.
    """
    totals = torch.zeros(group.num_channels, dtype=torch.float64)
    for member in group.members:
        tensor = parameters.get(member.tensor)
        if tensor is None:
            continue
        others = [dim for dim in range(tensor.dim()) if dim != member.dim]
        weights = tensor.detach().cpu()
        rows = torch.linalg.vector_norm(weights, n, dim=others) if others else weights.abs()
        rows = rows.to(torch.float64).pow(n)
        column = torch.from_numpy(member.column)
        inside = column >= 0
        totals.index_add_(0, column[inside], rows[inside])
    return totals.pow(1.0 / n)
