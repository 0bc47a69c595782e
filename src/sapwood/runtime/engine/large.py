"""Arrays of megabytes, on large pages where the system has them: they are made sooner, and read sooner."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

PAGE = 1 << 21
"""Bytes of a large page."""

WORTH = 2 * PAGE
"""Bytes from which an array has pages of its own."""


def large_array(count: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """An array that holds anything.

    Examples:
        >>> large_array(3, np.float32).shape, is_large(large_array(1 << 21, np.float32))
        ((3,), True)
    """
    size = count * np.dtype(dtype).itemsize
    if size < WORTH or not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.empty(count, dtype)
    pages = mmap.mmap(-1, -(-size // PAGE) * PAGE + PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    pages.madvise(mmap.MADV_HUGEPAGE)
    whole = np.frombuffer(pages, np.uint8)
    first = -whole.ctypes.data % PAGE
    return whole[first : first + size].view(dtype)


def is_large(array: npt.NDArray[Any]) -> bool:
    """Whether it is not worth being copied to where small ones stand together."""
    return array.nbytes >= WORTH
