"""Which single weights go together: each by itself, in blocks, or n of every m."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sapwood.errors import ConfigError
from sapwood.masks.select import keep_largest

Shape = Sequence[int]


class Pattern(Protocol):
    """Cuts a parameter into units that stay or go whole; every unit of a pattern holds as many weights.

    A parameter is seen as a matrix of ``shape[0]`` rows, the other dimensions flattened in torch's order: a row of a
    convolution is one output channel and runs over ``(C_in/G, *K)``, the kernel's positions fastest. A row of a
    transposed convolution is one input channel.
    """

    @property
    def sparsity(self) -> float | None:
        """The fraction that goes where the pattern alone says it; None where that is free."""
        ...

    def refusal(self, shape: Shape) -> str | None:
        """Why a parameter of this shape cannot have the pattern, or None where it can."""
        ...

    def unit_scores(self, scores: Tensor) -> Tensor:  # scores shape: (*); result shape: (U,)
        """One score a unit: the sum of its weights'."""
        ...

    def mask(self, scores: Tensor, num_kept: int) -> Tensor:  # scores shape: (*); result shape: (*)
        """Marks the ``num_kept`` units of largest score, True = keep; of equal ones those of lower index.

        Args:
            scores: One finite score a weight.
            num_kept: How many units stay; no pattern of fixed sparsity looks at it.
        """
        ...


@dataclass(frozen=True)
class Unstructured:
    """Each weight by itself.

    Examples:
        >>> Unstructured().mask(torch.tensor([[1.0, 4.0], [3.0, 2.0]]), 2).tolist()
        [[False, True], [True, False]]
    """

    @property
    def sparsity(self) -> None:
        """Free."""

    def refusal(self, shape: Shape) -> str | None:
        """Any shape will do."""
        del shape
        return None

    def unit_scores(self, scores: Tensor) -> Tensor:  # scores shape: (*); result shape: (U,)
        """The scores themselves, in a row."""
        return scores.reshape(-1)

    def mask(self, scores: Tensor, num_kept: int) -> Tensor:  # scores shape: (*); result shape: (*)
        """Keeps the weights of largest score."""
        return keep_largest(scores.reshape(-1).cpu(), num_kept).reshape(scores.shape)


@dataclass(frozen=True)
class Block:
    """Blocks of ``rows`` x ``columns`` weights of the matrix; they tile it from its first row and column on.

    Attributes:
        rows: Weights down, over output channels.
        columns: Weights across, over the flattened input dimensions.

    Raises:
        ConfigError: If a side is below 1, or both are 1.

    Examples:
        >>> Block(1, 2).mask(torch.tensor([[1.0, 4.0, 3.0, 3.0], [0.0, 9.0, 0.0, 0.0]]), 2).tolist()
        [[False, False, True, True], [True, True, False, False]]
    """

    rows: int
    columns: int

    def __post_init__(self) -> None:
        if min(self.rows, self.columns) < 1 or self.rows * self.columns == 1:
            raise ConfigError(f"blocks: got {self.rows}x{self.columns}; expected at least two weights a block")

    @property
    def sparsity(self) -> None:
        """Free."""

    def refusal(self, shape: Shape) -> str | None:
        """The matrix must be a whole number of blocks high and wide."""
        if len(shape) < 2:
            return f"its shape is {tuple(shape)}; blocks need at least 2 dimensions"
        height, width = shape[0], math.prod(shape[1:])
        if height % self.rows or width % self.columns:
            return f"as a matrix it is {height} x {width}, no whole number of {self.rows}x{self.columns} blocks"
        return None

    def unit_scores(self, scores: Tensor) -> Tensor:  # scores shape: (*); result shape: (U,)
        """The sum over each block, row of blocks by row of blocks."""
        matrix = scores.flatten(1)
        tiles = matrix.reshape(len(matrix) // self.rows, self.rows, -1, self.columns)
        return tiles.sum(dim=(1, 3)).reshape(-1)

    def mask(self, scores: Tensor, num_kept: int) -> Tensor:  # scores shape: (*); result shape: (*)
        """Keeps the blocks of largest sum."""
        kept = keep_largest(self.unit_scores(scores).cpu(), num_kept).reshape(len(scores) // self.rows, -1)
        matrix = kept.repeat_interleave(self.rows, dim=0).repeat_interleave(self.columns, dim=1)
        return matrix.reshape(scores.shape)


@dataclass(frozen=True)
class NOfM:
    """Keeps the ``n`` largest of every ``m`` consecutive weights of a row; windows start at multiples of ``m``.

    Attributes:
        n: Weights that stay in each window.
        m: Weights in a window.

    Raises:
        ConfigError: If not 1 <= n < m.

    Examples:
        >>> NOfM(2, 4).mask(torch.tensor([[1.0, 4.0, 3.0, 3.0], [0.0, 0.0, 0.0, 0.0]]), 4).tolist()
        [[False, True, True, False], [True, True, False, False]]
        >>> NOfM(2, 4).refusal((8, 3, 3, 3))
        'a row has 27 weights, no multiple of 4'
    """

    n: int
    m: int

    def __post_init__(self) -> None:
        if not 1 <= self.n < self.m:
            raise ConfigError(f"blocks: got {self.n}:{self.m}; expected n:m with 1 <= n < m")

    @property
    def sparsity(self) -> float:
        """1 - n/m."""
        return 1.0 - self.n / self.m

    def refusal(self, shape: Shape) -> str | None:
        """A row must be a whole number of windows long."""
        if len(shape) < 2:
            return f"its shape is {tuple(shape)}; {self.n}:{self.m} needs at least 2 dimensions"
        width = math.prod(shape[1:])
        return f"a row has {width} weights, no multiple of {self.m}" if width % self.m else None

    def unit_scores(self, scores: Tensor) -> Tensor:  # scores shape: (*); result shape: (U,)
        """The scores themselves, in a row."""
        return scores.reshape(-1)

    def mask(self, scores: Tensor, num_kept: int) -> Tensor:  # scores shape: (*); result shape: (*)
        """Keeps n of every m, whatever ``num_kept``."""
        del num_kept
        windows = scores.reshape(-1, self.m).cpu()
        ranks = windows.argsort(dim=1, descending=True, stable=True)
        kept = torch.zeros(windows.shape, dtype=torch.bool)
        return kept.scatter_(1, ranks[:, : self.n], True).reshape(scores.shape)


def parse_pattern(text: str) -> Pattern:
    """Reads ``"unstructured"``, ``"n:m"`` or ``"RxC"``.

    Raises:
        ConfigError: If the text is none of them, or the numbers make no pattern.

    Examples:
        >>> parse_pattern("2:4"), parse_pattern("1x2")
        (NOfM(n=2, m=4), Block(rows=1, columns=2))
    """
    if text == "unstructured":
        return Unstructured()
    found = re.fullmatch(r"(\d+)([:x])(\d+)", text) if isinstance(text, str) else None
    if found is None:
        raise ConfigError(f"blocks: got {text!r}; expected unstructured, n:m as 2:4, or rows x columns as 2x1")
    first, second = int(found[1]), int(found[3])
    return NOfM(first, second) if found[2] == ":" else Block(first, second)
