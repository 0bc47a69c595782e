"""BatchNorms brought to what those of the dense network give: recovery by two passes, without solving anything."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sapwood.arguments import checked_batches
from sapwood.errors import CheckFailedError, ConfigError
from sapwood.graph import call_model, explaining_batches
from sapwood.models import Plan, copy_model, named_as_left, same_modes_
from sapwood.recovery.batchnorm import Reestimated
from sapwood.recovery.kept_outputs import KeptOutputs
from sapwood.types import ExampleInputs

FLAT = 1e-5
"""A channel whose deviation is at most this fraction of its mean does not vary: what is left is rounding."""


@dataclass(frozen=True)
class Moments:
    """Of the values of each channel: how many there are, their mean and their (biased) variance."""

    count: int
    mean: Tensor
    var: Tensor

    @staticmethod
    def of(values: Tensor) -> Moments:  # shape: (N, C, *)
        """Those of some values, at least one a channel."""
        exact = values.detach() if values.dtype == torch.float64 else values.detach().float()
        var, mean = torch.var_mean(exact, dim=[dim for dim in range(exact.dim()) if dim != 1], correction=0)
        return Moments(exact.numel() // exact.shape[1], mean.double(), var.double())

    def joined(self, other: Moments) -> Moments:
        """Those of both together.

        Examples:
            >>> one, two = Moments.of(torch.tensor([[1.0], [3.0]])), Moments.of(torch.tensor([[8.0]]))
            >>> both = one.joined(two)
            >>> both.count, both.mean.tolist(), [round(value, 3) for value in both.var.tolist()]
            (3, [4.0], [8.667])
        """
        count = self.count + other.count
        share = other.count / count
        apart = other.mean - self.mean
        var = self.var + share * (other.var - self.var) + share * (1.0 - share) * apart.square()
        return Moments(count, self.mean + share * apart, var)


def repair_batchnorm(
    dense: nn.Module,
    pruned: nn.Module,
    plan: Plan,
    batches: Iterable[ExampleInputs],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Reestimated:
    r"""Gives every BatchNorm of a pruned network the outputs' mean and deviation that the dense network has there.

    Channel by channel, with :math:`m, v` the mean and variance of what the pruned network's BatchNorm reads, and
    :math:`\mu, \sigma` the mean and deviation of what the dense network's gives:

    .. math:: y = \mathrm{sign}(\gamma) \, \sigma \, \frac{x - m}{\sqrt{v}} + \mu

    so that what pruning took from a channel's variance comes back, which statistics measured anew alone leave lost in
    :math:`\gamma, \beta` of the dense network's inputs. A channel that no longer varies gives :math:`\mu`.

    Both networks run once. While a batch runs, each BatchNorm is brought to what the dense one gives on that batch,
    so that those behind it read what they will read at the end; then the moments over all batches are written. Of one
    batch they are exact.

    Args:
        dense: The network before pruning; not touched.
        pruned: What ``plan`` makes of it, or, with a plan that cuts nothing, the masked one; not touched.
        plan: Which channels stay.
        batches: Inputs, as the model takes them; gone through once.
        progress: Called with (done, total) batches.

    Raises:
        ConfigError: If there is no batch, or no BatchNorm with running statistics that ran.
        CheckFailedError: If a BatchNorm of the pruned network has no partner that runs as often in the dense one, or
            another width than the plan says.
    """
    start = time.perf_counter()
    kept = checked_batches(batches)
    if not kept:
        raise ConfigError("no batch to repair BatchNorms on; expected at least one")
    copied = copy_model(pruned).eval()
    run = _Repair(named_as_left(dense, plan), copied, plan)
    with torch.no_grad(), explaining_batches(dense, kept):
        for number, batch in enumerate(kept, start=1):
            run.see(batch)
            if progress is not None:
                progress(number, len(kept))
        norms = run.finish()
    if not norms:
        raise ConfigError("the model has no BatchNorm with running statistics that ran; there is none to repair")
    same_modes_(pruned, copied)
    return Reestimated(copied, norms, time.perf_counter() - start)


class _Repair:
    """Both networks, and what their BatchNorms saw so far."""

    def __init__(self, dense: nn.Module, model: nn.Module, plan: Plan) -> None:
        self._dense, self._model = dense, model
        self._partners, self._norms = running_norms(dense), running_norms(model)
        self._targets = {
            name: _outputs_kept(plan, name, self._partners[name], norm)
            for name, norm in self._norms.items()
            if name in self._partners
        }
        self._shared = shared_parameters(model)
        self._seen: dict[str, Moments] = {}
        self._wanted: dict[str, Moments] = {}

    def see(self, batch: ExampleInputs) -> None:
        """Runs one batch through both."""
        given: dict[str, list[Moments]] = defaultdict(list)
        with watched(self._partners, lambda name, values: given[name].append(self._wanted_of(name, values))):
            call_model(self._dense, batch)
        times: dict[str, int] = defaultdict(int)

        def bring(name: str, values: Tensor) -> None:
            if times[name] < len(given[name]):
                seen = Moments.of(values)
                self._seen[name] = seen.joined(self._seen[name]) if name in self._seen else seen
                self._write(name, seen, given[name][times[name]])
            times[name] += 1

        with watched(self._norms, bring):
            call_model(self._model, batch)
        for name, count in times.items():
            if count != len(given[name]):
                raise CheckFailedError(
                    f"BatchNorm {name} runs {count} times in the pruned network and {len(given[name])} times in the "
                    "dense one; expected the same network before pruning"
                )
            for wanted in given[name]:
                self._wanted[name] = wanted.joined(self._wanted[name]) if name in self._wanted else wanted

    def finish(self) -> tuple[str, ...]:
        """Writes what all batches together ask for: the names of the BatchNorms."""
        for name, seen in self._seen.items():
            self._write(name, seen, self._wanted[name])
        return tuple(self._seen)

    def _wanted_of(self, name: str, values: Tensor) -> Moments:
        """The moments of what a BatchNorm of the dense network gives, of the channels that stay."""
        read, norm = Moments.of(values), self._partners[name]
        gain, shift = gain_of(norm), shift_of(norm)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        factor = gain / (norm.running_var.double() + norm.eps).sqrt()
        mean = factor * (read.mean - norm.running_mean.double()) + shift
        if name not in self._targets:
            return Moments(read.count, mean, factor.square() * read.var)
        target = self._targets[name]
        deviation = target(factor.abs() * read.var.sqrt(), 0)
        return Moments(read.count, target(mean, 0), deviation.square())

    def _write(self, name: str, seen: Moments, wanted: Moments) -> None:
        """Sets a BatchNorm so that what has the moments ``seen`` gets those that are wanted."""
        norm = self._norms[name]
        assert norm.running_mean is not None
        assert norm.running_var is not None
        gain = gain_of(norm)
        deviation = seen.var.sqrt()
        flat = (deviation <= FLAT * seen.mean.abs()) | (gain == 0.0)
        mean, var = seen.mean, seen.var
        own = {id(one) for one in (norm.weight, norm.bias) if one is not None}
        if len(own) == 2 and not own & self._shared:
            rising = wanted.var.sqrt() * (var + norm.eps).sqrt() / deviation
            norm.weight.copy_(torch.where(flat, gain, gain.sign() * rising))
            norm.bias.copy_(wanted.mean)
        else:
            var, mean = _through_statistics(norm, seen, wanted, flat)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(var)


def _through_statistics(norm: _BatchNorm, seen: Moments, wanted: Moments, flat: Tensor) -> tuple[Tensor, Tensor]:
    """The running variance and mean that do it where gain and shift cannot move; no variance is below 0."""
    gain, shift, eps = gain_of(norm), shift_of(norm), norm.eps
    fixed = flat | (wanted.var == 0.0)
    var = torch.where(fixed, seen.var, gain.square() * seen.var / wanted.var - eps).clamp(min=0.0)
    moved = (wanted.mean - shift) * (var + eps).sqrt() / gain
    return var, seen.mean - torch.where(gain == 0.0, 0.0, moved)


def running_norms(model: nn.Module) -> dict[str, _BatchNorm]:
    """The BatchNorms with running statistics."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }


def _outputs_kept(plan: Plan, name: str, dense: _BatchNorm, pruned: _BatchNorm) -> KeptOutputs:
    tensor = "running_mean" if pruned.weight is None else "weight"
    return KeptOutputs(plan, f"{name}.{tensor}".lstrip("."), dense.num_features, len(gain_of(pruned)))


def shared_parameters(model: nn.Module) -> set[int]:
    """Parameters that stand at more than one module."""
    seen: set[int] = set()
    shared: set[int] = set()
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            (shared if id(parameter) in seen else seen).add(id(parameter))
    return shared


def gain_of(norm: _BatchNorm) -> Tensor:  # shape: (C,)
    """Its gain in float64, ones where it has none."""
    assert norm.running_mean is not None
    return torch.ones_like(norm.running_mean).double() if norm.weight is None else norm.weight.detach().double()


def shift_of(norm: _BatchNorm) -> Tensor:  # shape: (C,)
    """Its shift in float64, zeros where it has none."""
    return torch.zeros_like(gain_of(norm)) if norm.bias is None else norm.bias.detach().double()


@contextmanager
def watched(norms: Mapping[str, nn.Module], see: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Inside, ``see`` is shown what each BatchNorm reads, before it computes; calls on nothing are passed over."""

    def hook(name: str) -> Any:
        def shown(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            del module
            if inputs[0].numel():
                see(name, inputs[0])

        return shown

    handles = [norm.register_forward_pre_hook(hook(name)) for name, norm in norms.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
