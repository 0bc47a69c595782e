"""Choices that a model's code makes on values: which boxes stay, which score is the largest.

Where two scores are equal but for rounding, two equal models choose differently, and everything after that differs. So
runs that are compared take the choices of the first one, as long as what they choose from is the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from sapwood.graph.draws import Draws
from sapwood.ops import FACTS, UNKNOWN, leaves, mapped

CLOSE = 1e-9
"""How far apart the values of two equal models are at most, relative to the largest, in float64."""


class Decisions:
    """What was chosen in one run, by the index of the call, and what was drawn at random (``draws``)."""

    def __init__(self) -> None:
        self.draws = Draws()
        self._taken: dict[int, tuple[list[Tensor], Any]] = {}

    def keep(self, index: int, name: str, inputs: Any, result: Any) -> None:
        """Remembers a call, if it is a choice or a draw."""
        if FACTS.get(name, UNKNOWN).random:
            self.draws.keep(index, result)
        converted = isinstance(result, Tensor) and result.is_floating_point() and FACTS.get(name, UNKNOWN).in_place
        if FACTS.get(name, UNKNOWN).chooses and not converted:
            copies = [leaf.detach().clone() for leaf in leaves(inputs) if isinstance(leaf, Tensor)]
            self._taken[index] = (copies, _cloned(result))

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
