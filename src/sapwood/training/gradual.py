"""Gradual pruning: masks, or silenced channels, that grow along a cubic schedule while the network learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sapwood.config import GradualConfig
from sapwood.errors import ConfigError, TrainingError
from sapwood.graph import Analysis
from sapwood.masks import BUDGETS, NOfM, Pattern, Slot, keep_largest, num_kept, parse_pattern, select_targets
from sapwood.training.regularizers import Coupled

CHANNELS = "channels"
"""The value of ``GradualConfig.blocks`` that means whole channels, with everything that goes with them."""


def cubic_sparsity(progress: float, final: float) -> float:
    r"""The sparsity at a point of the schedule.

    .. math:: s_t = s_f \big(1 - (1 - p)^3\big)

    Examples:
        >>> [round(cubic_sparsity(p, 0.8), 3) for p in (-1.0, 0.0, 0.5, 1.0, 2.0)]
        [0.0, 0.0, 0.7, 0.8, 0.8]

    References:
        Zhu and Gupta, To prune, or not to prune, 2017, arXiv:1710.01878, eq. 1.
    """
    return final * (1.0 - (1.0 - min(1.0, max(0.0, progress))) ** 3)


@dataclass
class Gradual:
    """Zeros that grow: every ``config.every`` steps the least weights of now are chosen, and all zeros are kept.

    Args:
        model: Without live masks on what is chosen.
        config: What goes, how far, when.
        analysis: The channel groups of the model, for ``blocks: channels``.

    Raises:
        ConfigError: If a pattern or budget is not known, or ``channels`` come without an analysis.
        TrainingError: If nothing can be masked.
    """

    model: nn.Module
    config: GradualConfig
    analysis: Analysis | None = None

    name = "gradual"

    def __post_init__(self) -> None:
        self._masks: dict[str, Tensor] = {}
        self._groups: tuple[Coupled, ...] = ()
        self._pattern: Pattern | None = None
        if self.config.blocks == CHANNELS:
            if self.analysis is None:
                raise ConfigError("gradual: channels need to be known; expected an analysis of the model")
            names = {name for name, _ in self.model.named_parameters()}
            self._groups = tuple(Coupled.of(group, names) for group in self.analysis.groups)
            if not self._groups:
                raise TrainingError("gradual: the model has no channels that can go")
            return
        self._pattern = parse_pattern(self.config.blocks)
        self._budget = BUDGETS[self.config.budget]
        self._check(self._slots(self.model))

    def after_step_(self, model: nn.Module, *, step: int, total_steps: int, lr: float) -> Mapping[str, float]:
        """Grows the masks where it is time to, and puts zeros back."""
        del lr
        first, last = self.config.start * total_steps, self.config.end * total_steps
        if step < first:
            return {}
        progress = (step - first) / max(1.0, last - first)
        before = (step - 1 - first) / max(1.0, last - first)
        sparsity = cubic_sparsity(progress, self.config.sparsity)
        if not self._masks or (before < 1.0 and (step % self.config.every == 0 or progress >= 1.0)):
            self._masks = self._chosen(model, sparsity, progress)
        parameters = dict(model.named_parameters())
        with torch.no_grad():
            for name, mask in self._masks.items():
                parameters[name].mul_(mask.to(parameters[name].device))
        total = sum(mask.numel() for mask in self._masks.values())
        return {"zeros": sum(int((~mask).sum()) for mask in self._masks.values()) / max(1, total)}

    def is_done(self, *, step: int, total_steps: int) -> bool:
        """When all that goes has gone."""
        return step >= self.config.end * total_steps

    def settle_(self, state: Mapping[str, Tensor]) -> None:
        """Zeros of the model are zeros of its average."""
        for name, mask in self._masks.items():
            state[name].mul_(mask.to(state[name].device))

    def state(self) -> dict[str, Tensor]:
        """The masks of now."""
        return dict(self._masks)

    def restore(self, state: dict[str, Tensor]) -> None:
        """Goes on from :meth:`state`.

        Raises:
            ValueError: If a mask is of no parameter of the model, or of another shape.
        """
        shapes = {name: parameter.shape for name, parameter in self.model.named_parameters()}
        for name, mask in state.items():
            if mask.shape != shapes.get(name):
                raise ValueError(f"a mask of shape {tuple(mask.shape)} for {name}")
        self._masks = {name: mask.bool() for name, mask in state.items()}

    def _chosen(self, model: nn.Module, sparsity: float, progress: float) -> dict[str, Tensor]:
        if self._groups:
            return self._silenced(model, sparsity)
        slots = self._slots(model)
        scores = [slot.tensor.detach().abs().cpu() for slot in slots]
        pattern = self._pattern
        assert pattern is not None
        if isinstance(pattern, NOfM):
            gone = round((pattern.m - pattern.n) * cubic_sparsity(progress, 1.0))
            pattern = NOfM(pattern.m - gone, pattern.m)
            if not gone:
                return {slot.name: torch.ones(slot.tensor.shape, dtype=torch.bool) for slot in slots}
            return {slot.name: pattern.mask(own, 0).bool() for slot, own in zip(slots, scores, strict=True)}
        units = [pattern.unit_scores(own) for own in scores]
        kept = num_kept(sum(map(len, units)), min(sparsity, 1.0 - 1e-9))
        counts = self._budget(units, [tuple(slot.tensor.shape) for slot in slots], kept)
        return {
            slot.name: pattern.mask(own, count).bool() for slot, own, count in zip(slots, scores, counts, strict=True)
        }

    def _silenced(self, model: nn.Module, sparsity: float) -> dict[str, Tensor]:
        """Masks of all slices of the channels of least norm, a fraction of each group."""
        parameters = dict(model.named_parameters())
        masks: dict[str, Tensor] = {}
        for group in self._groups:
            stays = keep_largest(group.squares(parameters), num_kept(group.num_channels, sparsity)).numpy()
            for one in group.members:
                own = masks.setdefault(one.tensor, torch.ones(parameters[one.tensor].shape, dtype=torch.bool))
                gone = np.flatnonzero((one.column >= 0) & ~stays[one.column])
                own.index_fill_(one.dim, torch.from_numpy(gone), False)
        return masks

    def _slots(self, model: nn.Module) -> list[Slot]:
        targets = select_targets(model, self.config.layers, self.config.pattern).targets
        ignored = set(self.config.ignore)
        return [target.slot for target in targets if target.slot.name not in ignored]

    def _check(self, slots: Sequence[Slot]) -> None:
        known = {name for name, _ in self.model.named_parameters()}
        for name in self.config.ignore:
            if name not in known:
                raise ConfigError(f"gradual: ignore {name!r}; expected the name of a parameter")
        assert self._pattern is not None
        for slot in slots:
            reason = self._pattern.refusal(tuple(slot.tensor.shape))
            if slot.mask is not None:
                reason = "it has a live mask; make that permanent first (remove)"
            if reason is not None:
                raise TrainingError(f"gradual: {slot.name}: {reason}; leave it out with `ignore`")
        if not slots:
            raise TrainingError("gradual: nothing is selected; expected layers or a pattern that fit the model")
