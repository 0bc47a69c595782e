"""The processes that train one model together: one on a laptop, many where a launcher started them."""

from __future__ import annotations

import atexit
import gc
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, distributed, nn

from sapwood.errors import MissingDependencyError, SapwoodError, TrainingError
from sapwood.training.shared_batchnorm import share_batchnorms

T = TypeVar("T")

LAUNCHED_BY_ACCELERATE = "ACCELERATE_MIXED_PRECISION"
"""``accelerate launch`` says this to what it starts, be it one process."""

LONGEST_WAIT = timedelta(days=2)
"""How long processes wait for the first, which measures while they have nothing to do."""


class Processes(Protocol):
    """What a training loop needs to know of the processes that run it side by side.

    All of them call the same methods in the same order. Each holds the whole model and makes its share of every batch;
    gradients and the statistics of BatchNorms are those of the whole batch.

    Attributes:
        count: How many there are.
        index: Which one this is, from 0. The first writes the files.
        device: Where this one computes; None leaves the model where it is.
    """

    count: int
    index: int
    device: torch.device | None

    def placed(self, model: nn.Module) -> nn.Module:
        """Returns the model on this process's device, with BatchNorms that see the whole batch."""

    def joined(self, model: nn.Module) -> nn.Module:
        """Returns what to call instead of the model, so that a backward pass averages gradients over all processes."""

    def mean(self, value: float) -> float:
        """The mean of a number over all processes."""

    def gathered(self, value: T) -> list[T]:
        """What every process gave, in their order."""

    def from_first(self, make: Callable[[], T]) -> T:
        """What ``make`` returns in the first process, the only one that runs it; its error is raised in all."""


class Alone:
    """One process."""

    count, index = 1, 0
    device: torch.device | None = None

    def placed(self, model: nn.Module) -> nn.Module:
        """The model itself."""
        return model

    def joined(self, model: nn.Module) -> nn.Module:
        """The model itself."""
        return model

    def mean(self, value: float) -> float:
        """The number itself."""
        return value

    def gathered(self, value: T) -> list[T]:
        """The one value."""
        return [value]

    def from_first(self, make: Callable[[], T]) -> T:
        """What ``make`` returns."""
        return make()


class Together:
    """The processes that ``accelerate launch`` or ``torchrun`` started, on one machine or several."""

    def __init__(self) -> None:
        try:
            from accelerate import Accelerator
            from accelerate.utils import InitProcessGroupKwargs
        except ImportError as error:
            raise MissingDependencyError(
                "training in several processes needs accelerate; install sapwood[distributed]"
            ) from error
        asked = os.environ.get(LAUNCHED_BY_ACCELERATE, "no")
        if asked not in ("no", "bf16"):
            raise TrainingError(
                f"--mixed_precision {asked}: expected no or bf16; `precision` of the training configuration says what "
                "is computed in bfloat16"
            )
        if not distributed.is_initialized():
            atexit.register(_leave)
        patient = InitProcessGroupKwargs(timeout=LONGEST_WAIT)
        self._accelerator = Accelerator(mixed_precision="no", kwargs_handlers=[patient])
        self.count: int = self._accelerator.num_processes
        self.index: int = self._accelerator.process_index
        self.device: torch.device | None = self._accelerator.device

    def placed(self, model: nn.Module) -> nn.Module:
        """The model on this process's device, its BatchNorms over the whole batch."""
        model = model.to(self.device)
        return share_batchnorms(model) if self.count > 1 else model

    def joined(self, model: nn.Module) -> nn.Module:
        """The model as ``DistributedDataParallel``."""
        prepared: nn.Module = self._accelerator.prepare_model(model)
        return prepared

    def mean(self, value: float) -> float:
        """The mean over all processes, exact to float64 (float32 where the device has no other)."""
        dtype = torch.float32 if self.device is not None and self.device.type == "mps" else torch.float64
        total: Tensor = self._accelerator.reduce(torch.tensor(value, dtype=dtype, device=self.device), "mean")
        return float(total)

    def gathered(self, value: T) -> list[T]:
        """What every process gave."""
        from accelerate.utils import gather_object

        found: list[T] = gather_object([value])
        return found

    def from_first(self, make: Callable[[], T]) -> T:
        """What ``make`` returns in the first process."""
        from accelerate.utils import broadcast_object_list

        carried: list[Any] = [None, None]
        if self.index == 0:
            try:
                carried = [make(), None]
            except SapwoodError as error:
                carried = [None, error]
        value, failure = broadcast_object_list(carried) if self.count > 1 else carried
        if failure is not None:
            raise failure
        result: T = value
        return result


def _leave() -> None:
    """Ends the group and, with the last reference, its threads: one that outlives Python aborts the process."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
        gc.collect()


def find_processes() -> Processes:
    """Returns the processes that a launcher started, or this one alone.

    Raises:
        MissingDependencyError: If there are several and accelerate is not installed.
        TrainingError: If the launcher asks for a mixed precision that training does not have.
    """
    launched = int(os.environ.get("WORLD_SIZE", "1")) > 1 or LAUNCHED_BY_ACCELERATE in os.environ
    return Together() if launched else Alone()


def share_of(indices: list[int], processes: Processes) -> list[int]:
    """Returns the part of a batch that is this process's.

    Examples:
        >>> share_of([4, 1, 3, 2], Alone())
        [4, 1, 3, 2]
    """
    size = len(indices) // processes.count
    return indices[processes.index * size : (processes.index + 1) * size]


def check_batch(batch_size: int, processes: Processes) -> None:
    """Raises TrainingError unless a batch can be shared out evenly."""
    if batch_size % processes.count:
        raise TrainingError(
            f"batch_size: {batch_size} pictures for {processes.count} processes; expected a multiple of their number"
        )
