"""What evaluating any task needs: reading batches, running the model, keeping the time of each part."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from sapwood.data import Findings, Placement, to_input
from sapwood.errors import ConfigError, DataError, ImageError, WeightsError
from sapwood.nested import mapped, named_tensors
from sapwood.types import ExampleInputs, Picture, TaskSpec

Progress = Callable[[int, int], None]
"""Called with the pictures done and those in all."""


Inputs: TypeAlias = ExampleInputs
"""A batch as a network reads it: one tensor, a tuple of positional arguments, or arguments by name."""


class Loadable(Protocol):
    """A sample of a data set."""

    @property
    def image_id(self) -> str:
        """Unique in its data set."""

    @property
    def load(self) -> Callable[[], Picture]:
        """Reads or makes the picture."""


S = TypeVar("S", bound=Loadable)
Batch = TypeVar("Batch")


@dataclass
class Stopwatch:
    """Adds up wall seconds by part."""

    seconds: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Counts the block's time to ``name``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start  # type: ignore[assignment]


@dataclass(frozen=True)
class ReadyBatch(Generic[S]):
    """Pictures ready for the network, shape of ``inputs``: (B, 3, H, W)."""

    samples: tuple[S, ...]
    inputs: Tensor
    placements: tuple[Placement, ...]


def read_batches(
    samples: Sequence[S], task: TaskSpec, batch_size: int, findings: Findings, progress: Progress | None
) -> Iterator[ReadyBatch[S]]:
    """Reads pictures and brings them to the network's input.

    A picture that cannot be read is reported to ``findings``. ``progress`` is told when the caller is through with a
    batch.

    Raises:
        ImageError: If a picture is bad and ``findings`` stops at bad input.
        DataError: If there is no sample, or all pictures were bad.
        ConfigError: If ``batch_size`` is below 1.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size is at least 1; got {batch_size}")
    if not samples:
        raise DataError("the data set is empty; expected at least one picture")
    readable = 0
    for start in range(0, len(samples), batch_size):
        loaded = [_load(sample, task, findings) for sample in samples[start : start + batch_size]]
        rows = [row for row in loaded if row is not None]
        if rows:
            readable += len(rows)
            kept, inputs, placements = zip(*rows, strict=True)
            yield ReadyBatch(kept, torch.stack(inputs), placements)
        if progress is not None:
            progress(min(start + batch_size, len(samples)), len(samples))
    if not readable:
        raise DataError(f"none of the {len(samples)} pictures can be read; the first reason: {findings.skipped[0]}")


def _load(sample: S, task: TaskSpec, findings: Findings) -> tuple[S, Tensor, Placement] | None:
    try:
        values, placement = to_input(sample.load(), task)
    except ImageError as error:
        findings.bad(str(error), ImageError)
        return None
    return sample, values, placement


def timed(batches: Iterator[Batch], watch: Stopwatch) -> Iterator[Batch]:
    """Passes batches on and counts the time of making them to the part ``"read"``."""
    while True:
        with watch.part("read"):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


@contextmanager
def evaluating(model: nn.Module) -> Iterator[Callable[[Inputs], Any]]:
    """Yields a function that runs the model on a batch as for inference; training modes are as before afterwards.

    Inputs go to the device and floating type of the model's first parameter. Gradients are off; inference mode is not
    used, since masks applied by ``torch.nn.utils.prune`` store what they compute in a forward pass.
    """
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            yield lambda inputs: called(model, inputs_for(model, inputs))
    finally:
        for module in training:
            module.training = True


def inputs_for(model: nn.Module, inputs: Inputs) -> Inputs:
    """A batch on the device of a model's first parameter; what has fractions, in its floating type."""
    first = next(model.parameters(), None)
    device = first.device if first is not None else torch.device("cpu")
    dtype = first.dtype if first is not None and first.is_floating_point() else torch.float32

    def moved(values: Any) -> Any:
        if not isinstance(values, Tensor):
            return values
        return values.to(device, dtype) if values.is_floating_point() else values.to(device)

    found: Inputs = mapped(moved, inputs)
    return found


def num_samples(inputs: Inputs) -> int:
    """How many pictures or texts a batch holds: the length of its first tensor.

    Examples:
        >>> num_samples(torch.zeros(2, 3, 8, 8)), num_samples({"input_ids": torch.zeros(4, 16)})
        (2, 4)
        >>> num_samples((torch.zeros(3, 5), torch.zeros(3)))
        3
    """
    return next(len(tensor) for _, tensor in named_tensors(inputs))


def called(model: nn.Module, inputs: Inputs) -> Any:
    """What a model returns for a batch: a tensor, a tuple of positional arguments, or a dict of them by name."""
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, (tuple, list)) else model(inputs)


def check_finite(outputs: Sequence[Tensor], model: nn.Module) -> None:
    """Refuses outputs with NaN: scores cannot be compared with it, so accuracy would be wrong without a word.

    Raises:
        WeightsError: If there is any; the message names the parameters and buffers that hold NaN or infinity.
    """
    for number, output in enumerate(outputs):
        count = int(output.isnan().sum())
        if count:
            tensors = [*model.named_parameters(), *model.named_buffers()]
            bad = [name for name, value in tensors if value.is_floating_point() and not bool(value.isfinite().all())]
            named = (
                f"NaN or infinity in {', '.join(bad[:5])}{', ...' if len(bad) > 5 else ''}" if bad else "finite weights"
            )
            raise WeightsError(
                f"output {number} of the model holds {count} NaN of {output.numel()} values; it has {named}"
            )
