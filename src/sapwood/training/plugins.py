"""What joins in after each step of training: sparse training, and masks that grow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, nn

from sapwood.config import SparseConfig
from sapwood.training.regularizers import Regularizer


class Plugin(Protocol):
    """Something that changes a model after each step of its optimizer."""

    @property
    def name(self) -> str:
        """Of what it logs and saves."""

    def after_step_(self, model: nn.Module, *, step: int, total_steps: int, lr: float) -> Mapping[str, float]:
        """Changes the model in place; returns what is logged.

        Args:
            model: As the optimizer left it.
            step: Steps done, from 1.
            total_steps: Of the whole run.
            lr: The learning rate of this step.
        """

    def is_done(self, *, step: int, total_steps: int) -> bool:
        """Whether what is measured now may count as the run's best: nothing more will be taken away."""

    def settle_(self, state: Mapping[str, Tensor]) -> None:
        """Makes averaged weights what the model's are: zero where those have to be."""

    def state(self) -> dict[str, Tensor]:
        """What a run that goes on later needs."""

    def restore(self, state: dict[str, Tensor]) -> None:
        """Goes on from :meth:`state`."""


class SparseTraining:
    """A regularizer over a part of a run.

    Args:
        regularizer: What pulls.
        config: When.
    """

    name = "sparse"

    def __init__(self, regularizer: Regularizer, config: SparseConfig) -> None:
        self._regularizer = regularizer
        self._config = config

    def after_step_(self, model: nn.Module, *, step: int, total_steps: int, lr: float) -> Mapping[str, float]:
        """Pulls, between the first and the last step of its part."""
        if not self._config.start * total_steps < step <= self._config.end * total_steps:
            return {}
        return {"penalty": self._regularizer.step_(model, lr)}

    def is_done(self, *, step: int, total_steps: int) -> bool:
        """When its part is over."""
        return step >= self._config.end * total_steps

    def settle_(self, state: Mapping[str, Tensor]) -> None:
        """Nothing has to be zero."""

    def state(self) -> dict[str, Tensor]:
        """The regularizer's."""
        return self._regularizer.state()

    def restore(self, state: dict[str, Tensor]) -> None:
        """Goes on from :meth:`state`."""
        self._regularizer.restore(state)
