"""What regularizers of coupled channels share: the slices of every channel, their norms, and shrinking them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sapwood.criteria import slice_sums
from sapwood.errors import ConfigError, TrainingError
from sapwood.graph import Analysis, ChannelGroup, Member
from sapwood.registry import Registry


@dataclass(frozen=True)
class Coupled:
    """A group of channels with all their slices.

    Attributes:
        num_channels: Channels.
        members: Dimensions of parameters that lose indices with them; buffers have no gradient.
    """

    num_channels: int
    members: tuple[Member, ...]

    @staticmethod
    def of(group: ChannelGroup, parameters: Collection[str]) -> Coupled:
        """The slices of a group that are of these parameters."""
        return Coupled(group.num_channels, tuple(one for one in group.members if one.tensor in parameters))

    def squares(self, parameters: Mapping[str, Tensor]) -> Tensor:  # shape: (C,)
        """The squared norm of each channel over all its slices, float64."""
        return self._sums({one.tensor: parameters[one.tensor].detach().square() for one in self.members})

    def sizes(self, parameters: Mapping[str, Tensor]) -> Tensor:  # shape: (C,)
        """How many numbers the slices of each channel hold, float64."""
        return self._sums({one.tensor: torch.ones_like(parameters[one.tensor]) for one in self.members})

    def scale_(self, parameters: Mapping[str, Tensor], factors: Tensor) -> None:
        """Multiplies all slices of each channel, once for each dimension that holds them."""
        for one in self.members:
            parameter = parameters[one.tensor]
            column = torch.from_numpy(one.column)
            own = torch.where(column >= 0, factors[column.clamp(min=0)], 1.0).to(parameter.device, parameter.dtype)
            parameter.mul_(own.reshape([-1 if dim == one.dim else 1 for dim in range(parameter.dim())]))

    def _sums(self, values: Mapping[str, Tensor]) -> Tensor:
        sums = torch.zeros(self.num_channels, dtype=torch.float64)
        for one in self.members:
            sums += slice_sums(values[one.tensor], one.dim, one.column, self.num_channels)
        return sums


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
        names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        coupled = [Coupled.of(group, names) for group in analysis.groups]
        self.groups = tuple(group for group in coupled if group.members)
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
