"""Batches in a fixed order, prepared between steps, or by background threads while the model computes."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import torch

from sapwood.errors import TrainingError

B = TypeVar("B")


def background_threads(wanted: int | Literal["auto"], device: torch.device) -> int:
    """Returns how many threads prepare batches beside one that trains on ``device``.

    On a CPU of which PyTorch takes every core, a thread in the background is paid for twice: with its own time, and
    because PyTorch's threads no longer wait for each other awake as soon as there are more of them than cores.

    Args:
        wanted: A number is taken as it is.
        device: Where the model is.
    """
    if wanted != "auto":
        return wanted
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 0 if device.type == "cpu" and torch.get_num_threads() >= cores else 1


class BatchLoader(Generic[B]):
    """Yields the batches of an epoch.

    The order of an epoch depends on (seed, epoch) alone and ``make`` on its arguments alone, so neither threads nor
    what ran before change a batch. Decoding and resizing let go of Python's lock, so threads serve as well as processes
    and share one cache of pictures.

    Args:
        make: Makes the batch of (epoch, indices).
        count: Number of pictures.
        batch_size: Pictures a batch. The last, incomplete batch of an epoch is left out unless it is the only one.
        seed: Of the order.
        num_threads: Background threads that prepare batches; with 0 the caller's thread does.
        multiple_of: A batch's size is one of this number's, where there are fewer pictures than a batch.

    Examples:
        >>> loader = BatchLoader(lambda epoch, indices: sorted(indices), count=4, batch_size=4, seed=0, num_threads=1)
        >>> list(loader.epoch(0))
        [[0, 1, 2, 3]]
    """

    def __init__(
        self,
        make: Callable[[int, list[int]], B],
        *,
        count: int,
        batch_size: int,
        seed: int,
        num_threads: int,
        multiple_of: int = 1,
    ) -> None:
        self._make = make
        self._count = count
        self.batch_size = min(batch_size, count // multiple_of * multiple_of)
        if not self.batch_size:
            raise TrainingError(f"{count} examples for {multiple_of} processes; expected one for each at least")
        self._seed = seed
        self._num_threads = num_threads

    def __len__(self) -> int:
        return self._count // self.batch_size

    def indices(self, epoch: int) -> list[list[int]]:
        """Returns which pictures make up each batch of an epoch."""
        order = np.random.default_rng([self._seed, epoch]).permutation(self._count).tolist()
        return [order[start * self.batch_size : (start + 1) * self.batch_size] for start in range(len(self))]

    def epoch(self, epoch: int) -> Iterator[B]:
        """Yields the batches of an epoch; an error in a thread is raised where its batch would have come."""
        if self._num_threads == 0:
            yield from (self._make(epoch, indices) for indices in self.indices(epoch))
            return
        pool = ThreadPoolExecutor(self._num_threads, thread_name_prefix="sapwood-loader")
        waiting: deque[Future[Any]] = deque()
        try:
            for indices in self.indices(epoch):
                waiting.append(pool.submit(self._make, epoch, indices))
                if len(waiting) > self._num_threads + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
