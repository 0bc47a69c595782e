"""One pass over some batches collects every statistic that was asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sized
from typing import Any, get_args

import torch
from torch import nn

from sapwood.calibration.passes import DensePass, Loss, Pass, TrainingPass
from sapwood.calibration.statistic import STATISTICS, Source
from sapwood.calibration.statistics import Statistics
from sapwood.calibration.sums import Sums
from sapwood.errors import ConfigError
from sapwood.graph import output_tensors
from sapwood.tasks import Progress


def collect(
    model: nn.Module,
    batches: Iterable[Any],
    loss: Loss,
    needs: Collection[str],
    *,
    learning_rate: float = 1e-3,
    progress: Progress | None = None,
) -> Statistics:
    """Collects statistics of ``model`` in one pass forward and backward over ``batches``.

    A copy runs in eval mode, so that BatchNorm uses its running statistics, and parameters that do not require
    gradients have statistics, too. ``movement`` trains a second copy at the same time, by plain gradient descent, one
    step a batch, and so adds a pass of its own. Where nothing asked for needs gradients, there is no backward pass.

    Of a model with live masks the statistics are those of the weights it uses, weight times mask, and stand under the
    name of its parameter (``conv.weight_orig``).

    Args:
        model: Any module; it is not touched.
        batches: Gone through once. The samples of a batch are counted by the first tensor in it, be it in a tuple, dict
            or dataclass.
        loss: Given the model and a batch, returns the mean loss, a scalar.
        needs: Names out of :data:`sapwood.calibration.STATISTICS`.
        learning_rate: Of the steps for ``movement``, in (0, inf).
        progress: Told the batches done and those in all, where ``batches`` has a length.

    Returns:
        Statistics of each parameter, or of each convolution and linear module that ran, on the model's device.

    Raises:
        ConfigError: If there is no batch, a name is unknown, or the loss is no finite scalar, or does not follow from
            the model.

    Examples:
        >>> model = nn.Linear(2, 1, bias=False)
        >>> batches = [torch.tensor([[1.0, 0.0], [3.0, 2.0]])]
        >>> found = collect(model, batches, lambda model, batch: model(batch).mean(), {"grad", "input_zeros"})
        >>> found["grad"]["weight"]
        tensor([[2., 1.]])
        >>> found["input_zeros"][""]
        tensor([0.0000, 0.5000], dtype=torch.float64)
    """
    wanted = {name: STATISTICS[name] for name in sorted(needs)}
    if not learning_rate > 0 or learning_rate == float("inf"):
        raise ConfigError(f"learning_rate {learning_rate}; expected a number in (0, inf)")
    sums: dict[Source, Sums] = {
        source: Sums({name: statistic for name, statistic in wanted.items() if statistic.source == source})
        for source in get_args(Source)
    }
    left_out: dict[str, str] = {}
    passes: list[Pass] = []
    if any(sums[source].names for source in get_args(Source) if source != "step"):
        passes.append(DensePass(model, loss, sums, left_out))
    if sums["step"].names:
        passes.append(TrainingPass(model, loss, sums["step"], learning_rate))
    with torch.random.fork_rng():
        num_samples = _run(batches, passes, progress)
    values = {name: found for entry in sums.values() for name, found in entry.finished().items()}
    return Statistics(values, num_samples, left_out)


def _run(batches: Iterable[Any], passes: Collection[Pass], progress: Progress | None) -> int:
    """Gives each batch to each pass, and counts samples."""
    num_samples = 0
    count = len(batches) if isinstance(batches, Sized) else None
    for number, batch in enumerate(batches):
        size = _size(batch, number)
        for one in passes:
            one.run(batch, number, size)
        num_samples += size
        if progress is not None and count is not None:
            progress(number + 1, count)
    if not num_samples:
        raise ConfigError("no batch to collect statistics from; expected at least one")
    return num_samples


def _size(batch: Any, number: int) -> int:
    tensors = output_tensors(batch)
    if not tensors or not tensors[0].dim() or not len(tensors[0]):
        came = f"one of shape {tuple(tensors[0].shape)}" if tensors else f"a {type(batch).__name__} without tensors"
        raise ConfigError(f"batch {number} is {came}; its first tensor should count its samples in dimension 0")
    return len(tensors[0])
