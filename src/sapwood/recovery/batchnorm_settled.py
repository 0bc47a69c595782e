"""BatchNorms whose statistics are those of what they read, in a network that computes what it did."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable

import torch
from torch import nn

from sapwood.arguments import checked_batches
from sapwood.graph import call_model, explaining_batches
from sapwood.models import copy_model, same_modes_
from sapwood.recovery.batchnorm import Reestimated
from sapwood.recovery.batchnorm_repair import Moments, gain_of, running_norms, shared_parameters, shift_of, watched
from sapwood.types import ExampleInputs


def settle_batchnorm(model: nn.Module, batches: Iterable[ExampleInputs], *, keep: Collection[str] = ()) -> Reestimated:
    r"""Gives BatchNorms the mean and variance of what they read; gain and shift follow, and no output changes.

    Layers that were solved anew hand other values to the BatchNorm behind them, whose gain and shift were solved for
    the statistics that it had. In evaluation mode that is all the same. A trainer normalises with the statistics of
    its batch, and would start from another network than the one that was recovered.

    .. math::
        \gamma' = \gamma \sqrt{\frac{v' + \epsilon}{v + \epsilon}}, \quad
        \beta' = \beta + \gamma \frac{m' - m}{\sqrt{v + \epsilon}}

    with mean m and variance v as they were, and m' and v' as they are found. BatchNorms without gain and shift of
    their own stay as they are.

    Args:
        model: In any mode, and given back in it; not touched.
        batches: Inputs, as the model takes them; gone through once.
        keep: Names of parameters that must not change: those under a mask.

    Returns:
        A copy, with the names of the BatchNorms that were changed.
    """
    start = time.perf_counter()
    copied = copy_model(model).eval()
    shared, fixed = shared_parameters(copied), set(keep)
    norms = {
        name: norm
        for name, norm in running_norms(copied).items()
        if norm.weight is not None
        and norm.bias is not None
        and not {id(norm.weight), id(norm.bias)} & shared
        and not {f"{name}.weight".lstrip("."), f"{name}.bias".lstrip(".")} & fixed
    }
    seen: dict[str, Moments] = {}

    def see(name: str, values: torch.Tensor) -> None:
        found = Moments.of(values)
        seen[name] = found.joined(seen[name]) if name in seen else found

    kept = checked_batches(batches)
    with torch.no_grad(), explaining_batches(model, kept), watched(norms, see):
        for batch in kept:
            call_model(copied, batch)
    with torch.no_grad():
        for name, found in seen.items():
            _write_(norms[name], found)
    same_modes_(model, copied)
    return Reestimated(copied, tuple(seen), time.perf_counter() - start)


def _write_(norm: nn.modules.batchnorm._BatchNorm, found: Moments) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain, shift = gain_of(norm), shift_of(norm)
    mean, deviation = norm.running_mean.double(), (norm.running_var.double() + norm.eps).sqrt()
    risen = gain * (found.var + norm.eps).sqrt() / deviation
    moved = shift + gain * (found.mean - mean) / deviation
    norm.weight.copy_(risen)
    norm.bias.copy_(moved)
    norm.running_mean.copy_(found.mean)
    norm.running_var.copy_(found.var)
