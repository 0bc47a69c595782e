"""DepGraph's sparse training: the weaker a channel is in its group, the stronger it is pulled."""

from __future__ import annotations

import torch
from torch import nn

from sapwood.errors import ConfigError
from sapwood.graph import Analysis
from sapwood.training.regularizers.base import REGULARIZERS, Regularizer


@REGULARIZERS.register("group_norm")
class GroupNorm(Regularizer):
    r"""Decays all slices of a channel, up to :math:`2^\alpha` times as fast where its norm is the least of its group.

    .. math:: w_c \leftarrow w_c \max(0, 1 - \eta \lambda \gamma_c), \qquad
        \gamma_c = 2^{\alpha (I_{max} - I_c) / (I_{max} - I_{min})}, \qquad I_c = \lVert w_c \rVert^2

    References:
        Fang et al., DepGraph: Towards Any Structural Pruning, 2023, arXiv:2301.12900, section 3.3.
    """

    name = "group_norm"

    def __init__(self, analysis: Analysis, model: nn.Module, *, strength: float = 5e-3, alpha: float = 4.0) -> None:
        super().__init__(analysis, model, strength=strength)
        if not 0.0 <= alpha < float("inf"):
            raise ConfigError(f"alpha: got {alpha}; expected a number of at least 0")
        self._alpha = alpha

    def _pull_(self, parameters: dict[str, nn.Parameter], lr: float) -> float:
        total = 0.0
        for group in self.groups:
            squares = group.squares(parameters)
            span = (squares.max() - squares.min()).clamp(min=torch.finfo(squares.dtype).tiny)
            factors = torch.exp2(self._alpha * (squares.max() - squares) / span)
            total += 0.5 * float((factors * squares).sum())
            group.scale_(parameters, (1.0 - lr * self.strength * factors).clamp(min=0.0))
        return self.strength * total
