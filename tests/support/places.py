"""Functions of a file of their own, as models call them from another one."""

from __future__ import annotations

import functools

import torch
from torch import Tensor


@functools.lru_cache
def _remembered(count: int) -> Tensor:
    return torch.arange(count) / count


def angles_of_places(count: int) -> Tensor:
    """What another function of the file remembers."""
    return _remembered(count)
