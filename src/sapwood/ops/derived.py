"""How an axis was made of others: what code that is not changed will make of them when they are narrower."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from sapwood.ops.atoms import Axis


@dataclass(frozen=True)
class Joined:
    """One axis behind the other.

    Examples:
        >>> Joined().of([np.arange(2), np.arange(5, 7)]).tolist()
        [0, 1, 5, 6]
    """

    def of(self, parts: Sequence[Axis]) -> Axis | None:
        """What it makes of these."""
        return np.concatenate(list(parts))


@dataclass(frozen=True)
class Part:
    """The indices from one to another; code that cuts at a share of the width goes on doing so.

    Attributes:
        start: The first index.
        stop: The one behind the last.
        width: Indices of the whole.

    Examples:
        >>> Part(4, 8, 8).of([np.arange(6)]).tolist(), Part(4, 8, 8).of([np.arange(5)])
        ([3, 4, 5], None)
    """

    start: int
    stop: int
    width: int

    def of(self, parts: Sequence[Axis]) -> Axis | None:
        """What it makes of a narrower whole; None where that is not cut at the same share."""
        (whole,) = parts
        start, stop = self.start * len(whole), self.stop * len(whole)
        if start % self.width or stop % self.width:
            return None
        return whole[start // self.width : stop // self.width]


@dataclass(frozen=True)
class Turned:
    """A shuffle: the axis is cut into factors, these are permuted, and made one axis again.

    Attributes:
        factors: Sizes of the factors, outermost first.
        order: Which factor comes first, second, and so on.

    Examples:
        >>> shuffle = Turned((2, 3), (1, 0))
        >>> shuffle.places().tolist(), shuffle.of([np.arange(4)]).tolist(), shuffle.of([np.arange(5)])
        ([0, 3, 1, 4, 2, 5], [0, 2, 1, 3], None)
    """

    factors: tuple[int, ...]
    order: tuple[int, ...]

    @property
    def follows(self) -> int:
        """The factor that follows the width: the largest, for code that shuffles names how many groups there are."""
        return max(range(len(self.factors)), key=lambda number: (self.factors[number], number))

    def places(self, width: int | None = None) -> Axis:
        """For each index behind the shuffle the one before, at some width that the other factors divide."""
        factors = list(self.factors)
        if width is not None:
            factors[self.follows] = width // (math.prod(factors) // factors[self.follows])
        places: Axis = np.arange(math.prod(factors), dtype=np.int64).reshape(factors).transpose(self.order).reshape(-1)
        return places

    def of(self, parts: Sequence[Axis]) -> Axis | None:
        """What it makes of a narrower axis; None where the others do not divide that, or nothing is left to turn."""
        (whole,) = parts
        others = math.prod(self.factors) // self.factors[self.follows]
        if len(whole) % others or len(whole) == others:
            return None
        return whole[self.places(len(whole))]


@dataclass(frozen=True)
class Derived:
    """An axis, what it was made of, and how.

    Attributes:
        made: The axis.
        sources: Those that it was made of.
        way: How.
    """

    made: Axis
    sources: tuple[Axis, ...]
    way: Way


Way: TypeAlias = "Joined | Part | Turned"
