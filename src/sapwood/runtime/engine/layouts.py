"""How a tensor of the run lies over the values of a map: views are another layout, and copy nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

Factor: TypeAlias = tuple[int, int]
"""A size, and how many values further each step of it leads."""


@dataclass(frozen=True)
class TensorLayout:
    """Where the elements of a tensor are among the values of a map, counted channel by channel and row by row.

    Attributes:
        dims: For each dimension its factors, the slowest first. A dimension that was made by joining others has several
            where one stride does not say it.
        offset: The value that the first element is.

    Examples:
        >>> tokens = TensorLayout.contiguous((1, 6, 4)).permuted((0, 2, 1))
        >>> tokens.shape, tokens.strides
        ((1, 4, 6), (0, 1, 4))
        >>> heads = tokens.reshaped((1, 4, 2, 3)).permuted((0, 2, 1, 3))
        >>> heads.dims
        ((), ((2, 12),), ((4, 1),), ((3, 4),))
        >>> heads.permuted((0, 2, 1, 3)).reshaped((4, 6)) == tokens.reshaped((4, 6))
        True
    """

    dims: tuple[tuple[Factor, ...], ...]
    offset: int = 0

    @staticmethod
    def contiguous(shape: Sequence[int]) -> TensorLayout:
        """Of a tensor whose elements are the values in order."""
        strides = [math.prod(shape[at + 1 :]) for at in range(len(shape))]
        return TensorLayout(tuple(_joined([pair]) for pair in zip(shape, strides, strict=True)))

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the dimensions."""
        return tuple(math.prod(size for size, _ in factors) for factors in self.dims)

    @property
    def strides(self) -> tuple[int | None, ...]:
        """Of each dimension; None where it has several, 0 where it has one element."""
        return tuple(0 if not factors else factors[0][1] if len(factors) == 1 else None for factors in self.dims)

    @property
    def factors(self) -> tuple[Factor, ...]:
        """Of all dimensions in a row, the slowest first."""
        return _joined([factor for dim in self.dims for factor in dim])

    def is_contiguous(self) -> bool:
        """Whether the elements are the first values in order."""
        count = math.prod(self.shape)
        return self.offset == 0 and self.factors == _joined([(count, 1)])

    def permuted(self, order: Sequence[int]) -> TensorLayout:
        """Dimensions in another order."""
        return TensorLayout(tuple(self.dims[dim] for dim in order), self.offset)

    def selected(self, dim: int, index: int) -> TensorLayout:
        """One element of a dimension, which goes."""
        offset = self.offset
        for size, stride in reversed(self.dims[dim]):
            offset += index % size * stride
            index //= size
        return TensorLayout(self.dims[:dim] + self.dims[dim + 1 :], offset)

    def narrowed(self, dim: int, first: int, count: int, step: int = 1) -> TensorLayout | None:
        """Some elements of a dimension; None where no strides say it."""
        if (first, count, step) == (0, self.shape[dim], 1):
            return self
        if count < 1 or len(self.dims[dim]) > 1:
            return None
        stride = self.strides[dim] or 0
        dims = (*self.dims[:dim], _joined([(count, stride * step)]), *self.dims[dim + 1 :])
        return TensorLayout(dims, self.offset + first * stride)

    def expanded(self, shape: Sequence[int]) -> TensorLayout:
        """Dimensions in front, and those of one element, repeated."""
        dims = ((),) * (len(shape) - len(self.dims)) + self.dims
        kept = [dim or _joined([(size, 0)]) for dim, size in zip(dims, shape, strict=True)]
        return TensorLayout(tuple(kept), self.offset)

    def reshaped(self, shape: Sequence[int]) -> TensorLayout | None:
        """The same elements in order in another shape; None where it cuts through factors."""
        left = list(self.factors)
        dims: list[tuple[Factor, ...]] = []
        for side in shape:
            own: list[Factor] = []
            wanted = side
            while wanted > 1:
                if not left:
                    return None
                size, stride = left.pop(0)
                if size > wanted:
                    if size % wanted:
                        return None
                    left.insert(0, (size // wanted, stride))
                    size, stride = wanted, stride * (size // wanted)
                elif wanted % size:
                    return None
                own.append((size, stride))
                wanted //= size
            dims.append(_joined(own))
        return None if left else TensorLayout(tuple(dims), self.offset)

    def covers(self, count: int) -> bool:
        """Whether its elements are all of ``count`` values, each once."""
        return self.offset == 0 and is_cover(self.factors, count)


def is_cover(factors: Sequence[Factor], count: int) -> bool:
    """Whether factors reach each of the numbers below ``count`` once.

    Examples:
        >>> is_cover([(3, 1), (4, 3)], 12), is_cover([(3, 4), (4, 1)], 12), is_cover([(3, 2)], 6)
        (True, True, False)
    """
    reached = 1
    for size, stride in sorted(factors, key=lambda factor: factor[1]):
        if stride != reached:
            return False
        reached *= size
    return reached == count


def _joined(factors: Sequence[Factor]) -> tuple[Factor, ...]:
    """Neighbours that one stride says become one; sizes of 1 go."""
    found: list[Factor] = []
    for size, stride in factors:
        if size == 1:
            continue
        if found and found[-1][1] == size * stride:
            found[-1] = (found[-1][0] * size, stride)
        else:
            found.append((size, stride))
    return tuple(found)
