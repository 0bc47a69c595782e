"""Group lasso over coupled channels."""

from __future__ import annotations

import torch
from torch import nn

from sapwood.graph import Analysis
from sapwood.training.regularizers.base import REGULARIZERS, Regularizer


@REGULARIZERS.register("group_lasso")
class GroupLasso(Regularizer):
    r"""Pulls all slices of a channel towards zero together.

    .. math:: \lambda \sum_c \sqrt{n_c} \, \lVert w_c \rVert, \qquad
        w_c \leftarrow w_c \max\Big(0, 1 - \frac{\eta \lambda \sqrt{n_c}}{\lVert w_c \rVert}\Big)

    with :math:`w_c` all numbers that go with channel c, of every layer, and :math:`n_c` how many there are.

    References:
        Wen et al., Learning Structured Sparsity in Deep Neural Networks, 2016, arXiv:1608.03665, for single layers.
    """

    name = "group_lasso"

    def __init__(self, analysis: Analysis, model: nn.Module, *, strength: float = 1e-3) -> None:
        super().__init__(analysis, model, strength=strength)
        parameters = dict(model.named_parameters())
        self._roots = [group.sizes(parameters).sqrt() for group in self.groups]

    def _pull_(self, parameters: dict[str, nn.Parameter], lr: float) -> float:
        total = 0.0
        for group, roots in zip(self.groups, self._roots, strict=True):
            norms = group.squares(parameters).sqrt()
            total += float((roots * norms).sum())
            tiny = torch.finfo(norms.dtype).tiny
            group.scale_(parameters, (1.0 - lr * self.strength * roots / norms.clamp(min=tiny)).clamp(min=0.0))
        return self.strength * total
