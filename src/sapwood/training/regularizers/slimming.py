"""Network slimming: an L1 pull on the scales of BatchNorms."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sapwood.errors import TrainingError
from sapwood.graph import Analysis
from sapwood.training.regularizers.base import REGULARIZERS, Regularizer


@REGULARIZERS.register("slimming")
class Slimming(Regularizer):
    r"""Pulls the scale of each channel's BatchNorm towards zero.

    .. math:: \lambda \sum_c |\gamma_c|, \qquad
        \gamma \leftarrow \operatorname{sign}(\gamma) \max(|\gamma| - \eta \lambda, 0)

    Only scales of channels that can go are pulled.

    References:
        Liu et al., Learning Efficient Convolutional Networks through Network Slimming, 2017, arXiv:1708.06519.
    """

    name = "slimming"

    def __init__(self, analysis: Analysis, model: nn.Module, *, strength: float = 1e-2) -> None:
        super().__init__(analysis, model, strength=strength)
        scales = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, _BatchNorm)}
        found: dict[str, np.ndarray[Any, Any]] = {}
        for one in (member for group in self.groups for member in group.members if member.tensor in scales):
            found[one.tensor] = found.get(one.tensor, np.array(False)) | (one.column >= 0)
        self._indices = {name: torch.from_numpy(np.flatnonzero(inside)) for name, inside in found.items()}
        if not found:
            raise TrainingError("slimming: no channel that can go has a BatchNorm; expected group_lasso or group_norm")

    def _pull_(self, parameters: dict[str, nn.Parameter], lr: float) -> float:
        total = 0.0
        for name, indices in self._indices.items():
            scale = parameters[name]
            own = scale[indices]
            total += float(own.abs().sum())
            scale[indices] = own.sign() * (own.abs() - lr * self.strength).clamp(min=0.0)
        return self.strength * total
