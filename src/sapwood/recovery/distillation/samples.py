"""Samples that are drawn again and again: pictures, or whatever a model reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from sapwood.nested import mapped
from sapwood.recovery.views import augmented, varied
from sapwood.tasks import Inputs, num_samples


@dataclass(frozen=True)
class Samples:
    """Some samples: rows of batches, or batches that stay whole where rows of several do not make another.

    Attributes:
        rows: Of each sample its tensors, in the order of the batch's form: views of the batches that they came in,
            which take no memory. Of a batch that stays whole, the batch.
        form: What a batch looks like around its tensors; None where batches stay whole.
    """

    rows: Sequence[tuple[Tensor, ...] | Inputs]
    form: TreeSpec | None

    @staticmethod
    def of(batches: Sequence[Inputs], runs: Callable[[Inputs], bool] = lambda inputs: True) -> Samples:
        """Those of some batches, at least one.

        Rows are drawn where all tensors of all batches have one sample a row, all of the same sizes, and a batch of
        one sample runs: of graphs, or of texts of several lengths, batches stay whole.

        Args:
            batches: As the model reads them.
            runs: Whether the model takes a batch.

        Examples:
            >>> len(Samples.of([{"ids": torch.zeros(2, 4)}, {"ids": torch.zeros(1, 4)}]))
            3
            >>> len(Samples.of([{"ids": torch.zeros(2, 4)}, {"ids": torch.zeros(1, 5)}]))
            2
        """
        flat = [tree_flatten(batch) for batch in batches]
        if _same_rows(flat):
            rows = [row for tensors, _ in flat for row in zip(*tensors, strict=True)]
            found = Samples(rows, flat[0][1])
            if runs(found.take([0]).inputs()):
                return found
        return Samples(list(batches), None)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def num_samples(self) -> int:
        """Pictures or whatever else, those in whole batches counted."""
        return len(self) if self.form is not None else sum(num_samples(batch) for batch in self.rows)

    def take(self, chosen: Sequence[int]) -> Samples:
        """Those of some numbers."""
        return Samples([self.rows[number] for number in chosen], self.form)

    def inputs(self) -> Inputs:
        """As a network reads them: one batch, a copy. Of batches that stay whole, the first."""
        if self.form is None:
            whole: Inputs = mapped(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, self.rows[0])
            return whole
        batch: Inputs = tree_unflatten([torch.stack(same) for same in zip(*self.rows, strict=True)], self.form)
        return batch

    def joined(self, other: Samples) -> Samples:
        """These, then the other's."""
        return Samples([*self.rows, *other.rows], self.form)

    def split(self, size: int) -> list[Inputs]:
        """In batches."""
        size, count = self.per_batch(size), len(self)
        return [self.take(range(start, min(start + size, count))).inputs() for start in range(0, count, size)]

    def per_batch(self, size: int) -> int:
        """How many of them make a batch of a size."""
        return size if self.form is not None else 1


def _same_rows(flat: Sequence[tuple[Sequence[object], TreeSpec]]) -> bool:
    """Whether the rows of all tensors are samples, of the same form, sizes and type throughout."""
    kinds = set()
    for leaves, form in flat:
        if not leaves or not all(isinstance(leaf, Tensor) and leaf.dim() for leaf in leaves):
            return False
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        if len({len(tensor) for tensor in tensors}) > 1:
            return False
        kinds.add((str(form), *((tensor.shape[1:], tensor.dtype) for tensor in tensors)))
    return len(kinds) == 1


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
    if not isinstance(inputs, Tensor) or inputs.dim() != 4 or not inputs.is_floating_point():
        return inputs
    return channels_last((varied if mosaics else augmented)(inputs, generator))
