"""BatchNorm statistics of what a pruned network really computes: the cheapest recovery there is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sapwood.arguments import checked_batches
from sapwood.errors import ConfigError
from sapwood.graph import call_model, explaining_batches
from sapwood.models import copy_model, same_modes_
from sapwood.types import ExampleInputs


@dataclass(frozen=True)
class Reestimated:
    """A model with other statistics.

    Attributes:
        model: A copy of the model that was given.
        norms: The BatchNorms whose running mean and variance are new.
        seconds: How long it took.
    """

    model: nn.Module
    norms: tuple[str, ...]
    seconds: float


def reestimate_batchnorm(
    model: nn.Module,
    batches: Iterable[ExampleInputs],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Reestimated:
    """Measures the running mean and variance of every BatchNorm anew; needs no labels and no dense network.

    Each BatchNorm normalises with the statistics of its batch while they are measured, so that one pass does for all
    of them; the means over the batches are kept. A batch should be as large as one of training.

    Args:
        model: Pruned or masked; not touched.
        batches: Inputs, as the model takes them; gone through once.
        progress: Called with (done, total) batches.

    Raises:
        ConfigError: If there is no batch, or no BatchNorm with running statistics that ran.

    References:
        Li et al., EagleEye: Fast Sub-net Evaluation for Efficient Neural Network Pruning, 2020, arXiv:2007.02491.

    Examples:
        >>> _ = torch.manual_seed(0)
        >>> model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)).eval()
        >>> found = reestimate_batchnorm(model, [torch.randn(64, 1, 4, 4)])
        >>> found.norms, model[1].running_mean.tolist()
        (('1',), [0.0, 0.0])
    """
    start = time.perf_counter()
    kept = checked_batches(batches)
    if not kept:
        raise ConfigError("no batch to measure BatchNorm statistics on; expected at least one")
    copied = copy_model(model).eval()
    norms = {
        name: module
        for name, module in copied.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }
    momenta = {name: module.momentum for name, module in norms.items()}
    for module in norms.values():
        module.reset_running_stats()
        module.momentum = None  # the mean over all batches
        module.train()
    with torch.no_grad(), explaining_batches(model, kept):
        for number, batch in enumerate(kept, start=1):
            call_model(copied, batch)
            if progress is not None:
                progress(number, len(kept))
    ran = {name: module for name, module in norms.items() if int(module.num_batches_tracked or 0) > 0}
    if not ran:
        raise ConfigError("the model has no BatchNorm with running statistics that ran; nothing can be measured anew")
    _take_back(model, copied, norms.keys() - ran.keys())
    for name, module in norms.items():
        module.momentum = momenta[name]
    same_modes_(model, copied)
    return Reestimated(copied, tuple(ran), time.perf_counter() - start)


def _take_back(model: nn.Module, copied: nn.Module, names: Iterable[str]) -> None:
    """Gives BatchNorms that did not run their own statistics again."""
    modules, copies = dict(model.named_modules()), dict(copied.named_modules())
    for name in names:
        copies[name].load_state_dict(modules[name].state_dict())
