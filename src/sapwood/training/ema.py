"""A moving average of a model's weights, which measures better than the last step of a noisy descent."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class WeightAverage:
    r"""Keeps an exponential moving average of the parameters and buffers of a model.

    .. math:: a \leftarrow d \, a + (1 - d) \, w, \qquad d = \min\big(decay, (1 + n) / (10 + n)\big)

    at the n-th update, so that the first, poor weights are soon forgotten. Integer buffers are copied.

    Args:
        model: Whose weights are averaged; never changed.
        decay: The highest decay, in [0, 1). 0 keeps a plain copy of the last weights.

    Examples:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> average = WeightAverage(model, decay=0.5)
        >>> before = model.weight.item()
        >>> model.weight.data.fill_(1.0)
        tensor([[1.]])
        >>> average.update(model)
        >>> abs(average.state["weight"].item() - (0.9 + 0.1 * before)) < 1e-6  # d = 0.1 at the first update
        True

    References:
        The warm-up is that of TensorFlow's ``ExponentialMovingAverage(num_updates=...)``.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self.num_updates = 0
        self.state = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Takes the model's present weights in."""
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        self.num_updates += 1
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value, 1 - decay)
            else:
                self.state[name].copy_(value)

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor], num_updates: int) -> None:
        """Continues from a saved average, keeping each tensor's place and memory order."""
        for name, value in self.state.items():
            value.copy_(state[name])
        self.num_updates = num_updates
