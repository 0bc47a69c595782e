"""What regularizers of coupled channels share: the slices of every channel, their norms, and shrinking them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sapwood.errors import ConfigError, TrainingError
from sapwood.graph import Analysis, ChannelGroup
from sapwood.registry import Registry


@dataclass(frozen=True)
class Slices:
    """A dimension of a parameter that loses indices with a group.

    Attributes:
        tensor: The parameter's name.
        dim: The dimension.
        indices: Those that belong to a channel, shape (K,).
        channels: The channel of each, shape (K,).
    """

    tensor: str
    dim: int
    indices: Tensor
    channels: Tensor


@dataclass(frozen=True)
class Coupled:
    """A group of channels, each with all its slices.

    Attributes:
        name: Of the group.
        num_channels: Channels.
        slices: Of parameters; buffers have no gradient.
    """

    name: str
    num_channels: int
    slices: tuple[Slices, ...]

    @staticmethod
    def of(group: ChannelGroup, parameters: frozenset[str]) -> Coupled:
        """The slices of a group that are of these parameters."""
        found = []
        for member in group.members:
            if member.tensor in parameters:
                indices = np.flatnonzero(member.column >= 0)
                own = torch.from_numpy(indices), torch.from_numpy(member.column[indices])
                found.append(Slices(member.tensor, member.dim, *own))
        return Coupled(group.name, len(group.units), tuple(found))

    def squares(self, parameters: dict[str, nn.Parameter]) -> tuple[Tensor, Tensor]:
        """The squared norm of each channel over all its slices, and how many numbers they hold: shape (C,) each."""
        sums, sizes = torch.zeros(self.num_channels), torch.zeros(self.num_channels)
        for one in self.slices:
            rows = _rows(parameters[one.tensor], one).float().cpu()
            sums.index_add_(0, one.channels, rows.square().sum(1))
            sizes.index_add_(0, one.channels, torch.full((len(one.channels),), float(rows.shape[1])))
        return sums, sizes

    def shrink_(self, parameters: dict[str, nn.Parameter], factors: Tensor) -> None:
        """Multiplies all slices of each channel, once for each dimension that holds them."""
        for one in self.slices:
            parameter = parameters[one.tensor]
            whole = torch.ones(parameter.shape[one.dim], dtype=parameter.dtype)
            whole[one.indices] = factors[one.channels].to(parameter.dtype)
            shape = [1] * parameter.dim()
            shape[one.dim] = -1
            parameter.mul_(whole.reshape(shape).to(parameter.device))


def _rows(parameter: Tensor, one: Slices) -> Tensor:  # shape: (K, numbers of a slice)
    kept = parameter.detach().index_select(one.dim, one.indices.to(parameter.device))
    return kept.movedim(one.dim, 0).reshape(len(one.indices), -1)


class Regularizer:
    """Pulls channels towards zero: call :meth:`step_` after each step of the optimizer.

    The pull is a proximal step of its own, as AdamW's decay of weights is, so that it means the same whatever the
    optimizer makes of gradients: weights reach exact zeros and stay there while nothing pulls them back.

    Args:
        analysis: The channel groups of the model.
        model: Any module that they are of.
        strength: How strong the pull is.

    Raises:
        ConfigError: If the strength is not a finite number above 0.
        TrainingError: If the model has no channels that it could pull.
    """

    name: ClassVar[str] = ""

    def __init__(self, analysis: Analysis, model: nn.Module, *, strength: float) -> None:
        if not 0.0 < strength < float("inf"):
            raise ConfigError(f"strength: got {strength}; expected a number above 0")
        self.strength = strength
        names = frozenset(name for name, parameter in model.named_parameters() if parameter.requires_grad)
        self.groups = tuple(coupled for group in analysis.groups if (coupled := Coupled.of(group, names)).slices)
        if not self.groups:
            raise TrainingError(f"{self.name}: the model has no channels that can go; there is nothing to pull at")

    @torch.no_grad()
    def step_(self, model: nn.Module, lr: float) -> float:
        """Pulls once, in place.

        Args:
            model: The model as the optimizer left it.
            lr: The learning rate of that step: the pull is in proportion to it.

        Returns:
            The penalty that was pulled down.
        """
        return self._pull_(dict(model.named_parameters()), lr)

    def state(self) -> dict[str, Tensor]:
        """What a run that goes on later needs; see :meth:`restore`."""
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Goes on from :meth:`state`."""
        del state

    def _pull_(self, parameters: dict[str, nn.Parameter], lr: float) -> float:
        raise NotImplementedError(f"{type(self).__name__} pulls at nothing")

    def _measured(self, parameters: dict[str, nn.Parameter]) -> Iterator[tuple[Coupled, Tensor, Tensor]]:
        for group in self.groups:
            yield group, *group.squares(parameters)


REGULARIZERS: Registry[Callable[..., Regularizer]] = Registry("regularizer")
"""Every regularizer by its name."""


def make_regularizer(name: str, analysis: Analysis, model: nn.Module, **options: Any) -> Regularizer:
    """Makes a regularizer.

    Args:
        name: In :data:`REGULARIZERS`.
        analysis: The channel groups of ``model``.
        model: Any module.
        options: ``strength``, and those of the regularizer.

    Raises:
        ConfigError: If there is no such regularizer or option.
    """
    made = REGULARIZERS[name]
    try:
        return made(analysis, model, **options)
    except TypeError as error:
        raise ConfigError(f"regularizer {name!r}: {error}") from None
