"""How far a pruned network's layers are from the dense one's while both run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from sapwood.recovery.kept_outputs import KeptOutputs

PLACES = 256
"""Places of a map that are compared, about."""


@dataclass
class FeatureMatch:
    r"""The mean relative squared error over some modules' outputs,

    .. math:: \frac{1}{L} \sum_l \frac{\lVert s_l - t_l \rVert^2}{\lVert t_l - \bar t_l \rVert^2}

    with :math:`t_l` the dense network's output, the channels that stay. Of a map with more than :data:`PLACES` places,
    those on a grid are compared, another one each time.

    Attributes:
        dense: The dense network.
        pruned: The pruned one.
        kept: For each module, which of its outputs stay, and the dimension that they are in.
    """

    dense: nn.Module
    pruned: nn.Module
    kept: Mapping[str, tuple[KeptOutputs, int]]
    _turn: int = 0
    _targets: dict[str, Tensor] = field(default_factory=dict)
    _losses: list[Tensor] = field(default_factory=list)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Both are watched inside; run the dense one first."""
        handles = []
        try:
            for model, hook in ((self.dense, self._remember), (self.pruned, self._compare)):
                modules = dict(model.named_modules())
                handles += [modules[name].register_forward_hook(hook(name)) for name in self.kept]
            yield
        finally:
            for handle in handles:
                handle.remove()

    def take(self) -> Tensor:
        """The error of the runs since it was last taken."""
        losses, self._losses = self._losses, []
        self._turn += 1
        self._targets.clear()
        return torch.stack(losses).mean() if losses else torch.zeros(())

    def _places(self, values: Tensor) -> Tensor:
        """The values that are compared: a view."""
        if values.dim() != 4 or values.shape[2] * values.shape[3] <= PLACES:
            return values
        step = math.ceil(math.sqrt(values.shape[2] * values.shape[3] / PLACES))
        down, right = divmod(self._turn % step**2, step)
        return values[:, :, down::step, right::step]

    def _remember(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            del module, inputs
            kept, dim = self.kept[name]
            self._targets[name] = kept(self._places(output.detach()), dim).float()

        return hook

    def _compare(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            del module, inputs
            target = self._targets[name]
            channels = self.kept[name][1] % target.dim()
            dims = [dim for dim in range(target.dim()) if dim != channels]
            spread = (target - target.mean(dim=dims, keepdim=True)).square().mean()
            if float(spread) > torch.finfo(torch.float32).tiny:  # below, what is divided by it is not finite
                self._losses.append((self._places(output).clone().float() - target).square().mean() / spread)

        return hook


def channel_dim(module: nn.Module) -> int | None:
    """Where a module's output, a tensor, has the channels of its weight; None where that is not known.

    Recurrent layers and attention return several tensors, and a module of one's own whatever it likes.

    Examples:
        >>> channel_dim(nn.Linear(2, 3)), channel_dim(nn.Conv3d(2, 3, 1)), channel_dim(nn.LSTM(2, 3))
        (-1, -4, None)
    """
    if isinstance(module, nn.Linear):
        return -1
    if isinstance(module, _ConvNd):
        return -1 - len(module.kernel_size)
    return 1 if isinstance(module, _BatchNorm) else None
