"""No criterion at all: the baseline that every other has to beat."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sapwood.criteria.criterion import CRITERIA, Checked
from sapwood.criteria.view import ModelView
from sapwood.graph import ChannelGroup


@CRITERIA.register("random")
@dataclass(frozen=True)
class Random(Checked):
    """Scores by random numbers in [0, 1), which follow from the seed and the name of the group or parameter alone.

    Attributes:
        seed: Chooses the numbers.
    """

    name: ClassVar[str] = "random"
    needs: ClassVar[frozenset[str]] = frozenset()
    scores_weights: ClassVar[bool] = True
    loss_units: ClassVar[bool] = False

    seed: int = 0

    def group_scores(self, group: ChannelGroup, view: ModelView) -> Tensor:
        """Draws a number a channel."""
        del view
        return self._numbers(group.name, (group.num_channels,))

    def weight_scores(self, name: str, view: ModelView) -> Tensor:
        """Draws a number a weight."""
        values = view.parameter(name)
        return self._numbers(name, tuple(values.shape)).to(values.device)

    def _numbers(self, name: str, shape: tuple[int, ...]) -> Tensor:
        generator = torch.Generator().manual_seed(zlib.crc32(f"{self.seed} {name}".encode()))
        return torch.rand(shape, generator=generator, dtype=torch.float64)
