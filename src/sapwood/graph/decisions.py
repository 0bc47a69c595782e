"""Choices that a model's code makes on values: which boxes stay, which score is the largest.

Where two scores are equal but for rounding, two equal models choose differently, and everything after that differs. So
runs that are compared take the choices of the first one, as long as what they choose from is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from sapwood.graph.draws import Draws
from sapwood.ops import FACTS, UNKNOWN, leaves, mapped

CLOSE = 1e-9
"""How far apart the values of two equal models are at most, relative to the largest, in float64."""


FEW = 8
"""How many boxes are enough to run what works on each."""


class Decisions:
    """What was chosen in one run, by the index of the call, and what was drawn at random (``draws``).

    Attributes:
        kept: How many boxes each call kept that thins them out.

    Args:
        most: How many these calls may keep, or :data:`FEW` where that is more; all where None. With values that are
            drawn at random, a hundred boxes reach heads that work for seconds on each.
    """

    def __init__(self, most: Sequence[int] | None = None) -> None:
        self.draws = Draws()
        self.kept: list[int] = []
        self._most = most
        self._taken: dict[int, tuple[list[Tensor], Any]] = {}

    def keep(self, index: int, name: str, inputs: Any, result: Any) -> None:
        """Remembers a call, if it is a choice or a draw."""
        if FACTS.get(name, UNKNOWN).random:
            self.draws.keep(index, result)
        converted = isinstance(result, Tensor) and result.is_floating_point() and FACTS.get(name, UNKNOWN).in_place
        if FACTS.get(name, UNKNOWN).chooses and not converted:
            copies = [leaf.detach().clone() for leaf in leaves(inputs) if isinstance(leaf, Tensor)]
            self._taken[index] = (copies, _cloned(result))

    def thinned(self, name: str, result: Any) -> Any:
        """What a call returns, cut to as many boxes as are wanted where it thins them out."""
        if not FACTS.get(name, UNKNOWN).thins:
            return result
        if self._most is not None:
            known = self._most[len(self.kept)] if len(self.kept) < len(self._most) else 0
            result = result[: max(known, FEW)].clone()
        self.kept.append(len(result))
        return result

    def again(self, index: int, inputs: Any) -> Any:
        """What was chosen at ``index`` if the choice was between the same values, else None."""
        if index not in self._taken:
            return None
        known, result = self._taken[index]
        now = [leaf for leaf in leaves(inputs) if isinstance(leaf, Tensor)]
        return _cloned(result) if len(known) == len(now) and _close(zip(now, known, strict=True)) else None

    def forced(self, index: int, inputs: Any) -> Any:
        """What was chosen at ``index`` if the choice was between as many values of whatever size, else None."""
        if index not in self._taken:
            return None
        known, result = self._taken[index]
        now = [leaf for leaf in leaves(inputs) if isinstance(leaf, Tensor)]
        return _cloned(result) if [one.shape for one in now] == [one.shape for one in known] else None


def _cloned(value: Any) -> Any:
    return mapped(lambda leaf: leaf.detach().clone() if isinstance(leaf, Tensor) else leaf, value)


def _close(pairs: Iterable[tuple[Tensor, Tensor]]) -> bool:
    for one, other in pairs:
        if one.shape != other.shape or one.dtype != other.dtype:
            return False
        if not one.is_floating_point():
            if not torch.equal(one, other):
                return False
        elif one.numel():
            finite = other[other.isfinite()].abs()
            scale = float(finite.max()) if finite.numel() else 0.0
            if not torch.allclose(one, other, rtol=0.0, atol=CLOSE * scale, equal_nan=True):
                return False
    return True
