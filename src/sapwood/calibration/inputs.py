"""Statistics of what convolutions and linear modules read, one value an input channel; a forward pass suffices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sapwood.calibration.statistic import STATISTICS, Source


@dataclass(frozen=True)
class _InputMean:
    source: ClassVar[Source] = "input"

    def finish(self, total: Tensor, weight: float) -> Tensor:
        """The mean over samples and positions."""
        return total / weight


@dataclass(frozen=True)
class InputAbsMean(_InputMean):
    """The mean of the absolute value over samples and positions, shape (C,)."""

    def term(self, values: Tensor, num_samples: int) -> tuple[Tensor, float]:
        """The sum over the batch, and how many values that are."""
        del num_samples
        return torch.linalg.vector_norm(values, 1, dim=_all_but_last(values)), _per_channel(values)


@dataclass(frozen=True)
class InputZeros(_InputMean):
    """The fraction of values over samples and positions that are exactly zero, in [0, 1], shape (C,).

    References:
        Hu et al., Network Trimming, 2016, arXiv:1607.03250, eq. 1 (APoZ).
    """

    def term(self, values: Tensor, num_samples: int) -> tuple[Tensor, float]:
        """How many zeros of how many values."""
        del num_samples
        return (values == 0).sum(dim=_all_but_last(values)).double(), _per_channel(values)


@dataclass(frozen=True)
class InputNorm:
    """The Euclidean norm over all samples and positions, shape (C,).

    References:
        Sun et al., A Simple and Effective Pruning Approach for Large Language Models, 2023, arXiv:2306.11695, eq. 1.
    """

    source: ClassVar[Source] = "input"

    def term(self, values: Tensor, num_samples: int) -> tuple[Tensor, float]:
        """The sum of squares over the batch."""
        del num_samples
        return torch.linalg.vector_norm(values, 2, dim=_all_but_last(values)).double().square(), 1.0

    def finish(self, total: Tensor, weight: float) -> Tensor:
        """The root of the sum of squares."""
        del weight
        return total.sqrt()


def _all_but_last(values: Tensor) -> list[int]:
    return list(range(values.dim() - 1))


def _per_channel(values: Tensor) -> float:
    return values.numel() / values.shape[-1]


STATISTICS.register("input_abs_mean")(InputAbsMean())
STATISTICS.register("input_norm")(InputNorm())
STATISTICS.register("input_zeros")(InputZeros())
