"""What a statistic is: what it watches, what a batch adds to it, and what the sum becomes."""

from __future__ import annotations

from typing import ClassVar, Literal, Protocol, runtime_checkable

from torch import Tensor

from sapwood.registry import Registry

Source = Literal["gradient", "input", "gate", "step", "patches", "output"]
"""What a statistic is fed with.

- ``"gradient"``: of each parameter, the gradient of a batch's mean loss; the parameter's shape.
- ``"input"``: of each convolution and linear module, what it reads, channels last; shape (rows, ..., C).
- ``"gate"``: of each such module, for each sample the derivative of that sample's loss by a factor on each input
  channel of this module alone; shape (samples, C).
- ``"patches"``: of each such module, what it multiplies its weights with at drawn places; shape (rows, groups, n).
- ``"output"``: of each such module, the gradient of a batch's mean loss by its output, channels last.
- ``"step"``: of each parameter, minus weight times gradient before a step of training; the parameter's shape.
"""


class Statistic(Protocol):
    """A mean or sum over all batches: ``finish(sum of terms, sum of weights)``."""

    source: ClassVar[Source]

    def term(self, values: Tensor, num_samples: int) -> tuple[Tensor, float]:
        """What a batch of ``num_samples`` samples adds to the sum, and to the weight of the sum."""

    def finish(self, total: Tensor, weight: float) -> Tensor:
        """The statistic, of the sums over all batches."""


@runtime_checkable
class AddsInPlace(Protocol):
    """A statistic whose terms are large: adds to the sum without making the term first."""

    def add_(self, total: Tensor, values: Tensor) -> float:
        """Adds what :meth:`Statistic.term` would give; the weight."""


STATISTICS: Registry[Statistic] = Registry("statistic")
"""Every statistic that can be collected, by name."""
