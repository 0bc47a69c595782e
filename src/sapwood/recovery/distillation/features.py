"""How far a pruned network's layers are from the dense one's while both run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sapwood.models import Plan


@dataclass
class FeatureMatch:
    r"""The mean relative squared error over some modules' outputs,

    .. math:: \frac{1}{L} \sum_l \frac{\lVert s_l - t_l \rVert^2}{\lVert t_l - \bar t_l \rVert^2}

    with :math:`t_l` the dense network's output, the channels that stay.

    Attributes:
        dense: The dense network.
        pruned: The pruned one.
        kept: For each module, the channels of its output that stay; None for all.
    """

    dense: nn.Module
    pruned: nn.Module
    kept: Mapping[str, Tensor | None]
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
        self._targets.clear()
        return torch.stack(losses).mean() if losses else torch.zeros(())

    def _remember(self, name: str) -> Any:
        rows = self.kept[name]

        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            del inputs
            channels = _channel_dim(module)
            whole = output.detach()
            self._targets[name] = whole.clone() if rows is None else whole.index_select(channels, rows)

        return hook

    def _compare(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            del inputs
            target = self._targets[name]
            dims = [dim for dim in range(target.dim()) if dim != _channel_dim(module) % target.dim()]
            spread = (target - target.mean(dim=dims, keepdim=True)).square().mean()
            if float(spread) > 0.0:
                self._losses.append((output.clone() - target).square().mean() / spread)

        return hook


def feature_modules(plan: Plan, pruned: nn.Module, modules: Sequence[str], weights: Sequence[str]) -> dict[str, Any]:
    """What :class:`FeatureMatch` takes: for each module the channels that stay, those of a weight's dimension 0."""
    found: dict[str, Tensor | None] = {}
    own = dict(pruned.named_modules())
    for module, weight in zip(modules, weights, strict=True):
        if module in own:
            kept = next((cut.kept for cut in plan.cuts if cut.tensor == weight and cut.dim == 0), None)
            found[module] = None if kept is None else torch.tensor(kept, dtype=torch.int64)
    return found


def _channel_dim(module: nn.Module) -> int:
    return -1 if isinstance(module, nn.Linear) else 1
