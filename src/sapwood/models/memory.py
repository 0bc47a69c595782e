"""Memory for many tensors at once: what is taken from the system page by page costs more than what is written to it."""

from __future__ import annotations

import mmap
from collections.abc import Iterable

import torch
from torch import Tensor

PAGES = 2 << 20
"""Bytes of a huge page; less than one is left to PyTorch's own allocator."""

LEAST = 1 << 15
"""Bytes of a tensor; smaller ones are not worth a place."""

LINE = 64
"""Bytes that places begin at multiples of, as PyTorch's own do."""


class HugePages:
    """Places for tensors of one type, one behind the other, in huge pages where the system has them.

    A network that is copied is fetched from the system in thousands of pages, each of which it clears at a cost several
    times that of the copy. Each tensor that is made here is of memory of its own to PyTorch; all of it is given back
    when the last one is gone.

    Args:
        counts: How many elements each tensor will have.
        dtype: The type of all.
    """

    def __init__(self, counts: Iterable[int], dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._next = 0
        size = sum(self._room(count) for count in counts if self._suits(count))
        self._memory = _fresh(size) if size >= PAGES else None

    def like(self, tensor: Tensor) -> Tensor:
        """A tensor of the shape of ``tensor``, whose values are whatever is there."""
        count = tensor.numel()
        stop = self._next + self._room(count)
        if self._memory is None or not self._suits(count) or not _is_plain(tensor) or stop > len(self._memory):
            return torch.empty_like(tensor, dtype=self._dtype)
        begin, self._next = self._next, stop
        return torch.frombuffer(self._memory, dtype=self._dtype, count=count, offset=begin).view(tensor.shape)

    def _suits(self, count: int) -> bool:
        return count * self._dtype.itemsize >= LEAST

    def _room(self, count: int) -> int:
        return -(-count * self._dtype.itemsize // LINE) * LINE


def _fresh(size: int) -> mmap.mmap | None:
    """Memory of this process alone; None where the system has no such."""
    private = getattr(mmap, "MAP_PRIVATE", None)
    huge = getattr(mmap, "MADV_HUGEPAGE", None)
    if private is None or huge is None:
        return None
    try:
        memory = mmap.mmap(-1, size + PAGES, flags=private | mmap.MAP_ANONYMOUS)
        memory.madvise(huge)
    except OSError:  # none is left, or a kernel without huge pages
        return None
    return memory


def _is_plain(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.layout is torch.strided and tensor.is_contiguous()
