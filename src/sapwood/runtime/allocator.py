"""The C library's allocator, where it bends times: memory that is given back must be fetched again, page by page."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
"""glibc's numbers, ``malloc.h``."""

KEEP: dict[int, int] = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1}
"""No allocation is mapped on its own, and what is freed stays with the process."""

AFTERWARDS: dict[int, int] = {M_MMAP_MAX: 65536, M_MMAP_THRESHOLD: 32 << 20, M_TRIM_THRESHOLD: 64 << 20}
"""Where glibc's own rule ends in a process that has freed 32 MiB at once, as any that ran a network has."""

_users: list[int] = []
"""One entry for each context that is open."""


@contextmanager
def kept_memory() -> Iterator[bool]:
    """Memory that is freed stays with the process inside, to be used again.

    glibc maps large allocations one by one and unmaps them when freed, up to a size that depends on what the process
    freed before. Eager PyTorch allocates each layer's output, so that in one process a call of a network takes
    thousands of page faults and in another none: a fifth of its time, and not the same fifth for a smaller network.
    Inside, no call takes any once it has run twice. Contexts may nest; freed memory goes back to the system
    after the last.

    Yields:
        Whether the C library can do so (glibc; elsewhere nothing happens).
    """
    mallopt = _function("mallopt")
    able = mallopt is not None and all(mallopt(name, value) for name, value in KEEP.items())
    _users.append(len(_users))
    try:
        yield able
    finally:
        _users.pop()
        if mallopt is not None and not _users:
            for name, value in AFTERWARDS.items():
                mallopt(name, value)
            give_back()


def give_back() -> None:
    """Returns freed memory to the system, where the C library can."""
    trim = _function("malloc_trim")
    if trim is not None:
        trim(0)


def _function(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None)
