"""The tensors of a layer that is solved, with its BatchNorm folded in and taken apart again."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sapwood.recovery.reconstruction.sites import FollowingNorm, Site

SMALL_SCALE = 1e-6
"""A BatchNorm's scale below this fraction of its largest cannot be divided by: it is set to 1."""


class SolvedLayer:
    """One layer.

    Args:
        site: Which.
        tensors: Parameters and buffers of the model, by name; written to.
    """

    def __init__(self, site: Site, tensors: Mapping[str, Tensor]) -> None:
        self._weight = tensors[site.weight]
        self._groups = site.groups
        self._bias = None if site.bias is None else tensors[site.bias]
        self._norm = site.norm
        self._tensors = tensors
        self.has_intercept = self._bias is not None or self._norm is not None

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weights (g, n, o) and bias (g, o) that give the outputs behind the BatchNorm."""
        scale, shift = self._affine()
        weight = self._weight.double().flatten(1) * scale[:, None]
        return (
            weight.reshape(self._groups, -1, weight.shape[1]).transpose(1, 2).contiguous(),
            shift.reshape(self._groups, -1),
        )

    def _affine(self) -> tuple[Tensor, Tensor]:
        """What the outputs without bias are multiplied by, and what is added then."""
        bias = torch.zeros(len(self._weight), dtype=torch.float64) if self._bias is None else self._bias.double()
        if self._norm is None:
            return torch.ones_like(bias), bias
        scale, shift = self._norm_scale(self._norm)
        return scale, shift + scale * bias

    def _norm_scale(self, norm: FollowingNorm) -> tuple[Tensor, Tensor]:
        weight, beta, mean, var = (
            self._tensors[name].double() for name in (norm.weight, norm.bias, norm.mean, norm.var)
        )
        scale = weight / (var + norm.eps).sqrt()
        return scale, beta - scale * mean

    @torch.no_grad()
    def write(self, weight: Tensor, bias: Tensor) -> None:
        """Writes weights (g, n, o) and bias (g, o) such that :meth:`folded` gives them back."""
        rows = weight.transpose(1, 2).flatten(0, 1)  # (outputs, n)
        wanted = bias.flatten()
        if self._norm is None:
            if self._bias is not None:
                self._bias.copy_(wanted)
        else:
            rows = self._through_norm(self._norm, rows, wanted)
        self._weight.copy_(rows.reshape(self._weight.shape))

    def _through_norm(self, norm: FollowingNorm, rows: Tensor, wanted: Tensor) -> Tensor:
        scale, _ = self._norm_scale(norm)
        small = scale.abs() <= SMALL_SCALE * scale.abs().max()
        gamma, var = self._tensors[norm.weight], self._tensors[norm.var]
        gamma[small] = (var[small].double() + norm.eps).sqrt().to(gamma.dtype)
        scale, shift = self._norm_scale(norm)
        bias = torch.zeros_like(scale) if self._bias is None else self._bias.double()
        beta = self._tensors[norm.bias]
        beta += (wanted - shift - scale * bias).to(beta.dtype)
        return rows / scale[:, None]
