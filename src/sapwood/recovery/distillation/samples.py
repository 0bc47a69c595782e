"""Samples that are drawn again and again: pictures, or what a model reads by the name of its argument."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sapwood.recovery.views import augmented, varied
from sapwood.tasks import Inputs

ONLY = ""
"""The name of what a model reads that reads one tensor."""


@dataclass(frozen=True)
class Samples:
    """Some samples.

    Attributes:
        rows: One tensor a sample, by the name of the argument; under :data:`ONLY` where there is one. They are views
            of the batches that they came in, and take no memory.
    """

    rows: Mapping[str, Sequence[Tensor]]

    @staticmethod
    def of(batches: Sequence[Inputs]) -> Samples:
        """Those of some batches, at least one.

        Examples:
            >>> len(Samples.of([{"ids": torch.zeros(2, 4)}, {"ids": torch.zeros(1, 4)}]))
            3
        """
        named = [batch if isinstance(batch, dict) else {ONLY: batch} for batch in batches]
        return Samples({name: [row for batch in named for row in batch[name]] for name in named[0]})

    def __len__(self) -> int:
        return len(next(iter(self.rows.values())))

    def take(self, chosen: Sequence[int]) -> Samples:
        """Those of some numbers."""
        return Samples({name: [rows[number] for number in chosen] for name, rows in self.rows.items()})

    def inputs(self) -> Inputs:
        """As a network reads them: one batch, a copy."""
        batch = {name: torch.stack(list(rows)) for name, rows in self.rows.items()}
        return batch.get(ONLY, batch)

    def joined(self, other: Samples) -> Samples:
        """These, then the other's."""
        return Samples({name: [*rows, *other.rows[name]] for name, rows in self.rows.items()})

    def split(self, size: int) -> list[Inputs]:
        """In batches."""
        count = len(self)
        return [self.take(range(start, min(start + size, count))).inputs() for start in range(0, count, size)]


@dataclass
class Drawn:
    """Samples in a random order, each once before any comes again.

    Attributes:
        samples: What is drawn from.
        generator: Decides.
    """

    samples: Samples
    generator: torch.Generator
    _order: list[int] = field(default_factory=list)

    def take(self, count: int) -> Samples:
        """The next ones, at most as many as there are."""
        if len(self._order) < count:
            self._order += torch.randperm(len(self.samples), generator=self.generator).tolist()
        chosen, self._order = self._order[:count], self._order[count:]
        return self.samples.take(chosen)


def channels_last(inputs: Inputs) -> Inputs:
    """Pictures with their channels last in memory; everything else as it is."""
    if isinstance(inputs, Tensor) and inputs.dim() == 4:
        return inputs.contiguous(memory_format=torch.channels_last)
    return inputs


def looked_at(inputs: Inputs, generator: torch.Generator, *, mosaics: bool = False) -> Inputs:
    """Pictures as :func:`augmented` or, with ``mosaics``, :func:`varied` shows them; everything else as it is."""
    if not isinstance(inputs, Tensor) or inputs.dim() != 4:
        return inputs
    return channels_last((varied if mosaics else augmented)(inputs, generator))
