"""Darknet's activations as torch modules.

Source: ``src/activations.h`` of https://github.com/AlexeyAB/darknet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn


class Ramp(nn.Module):
    r"""Darknet's ``ramp``: :math:`x \cdot [x > 0] + 0.1 x`.

    Examples:
        >>> Ramp()(torch.tensor([-1.0, 2.0]))
        tensor([-0.1000,  2.2000])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Returns the ramp of ``x``, any shape."""
        return torch.relu(x) + 0.1 * x


ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity,
    "leaky": lambda: nn.LeakyReLU(0.1),
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "ramp": Ramp,
    "logistic": nn.Sigmoid,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "mish": nn.Mish,
    "swish": nn.SiLU,
}
"""Makes the module of an activation, by the name a ``.cfg`` gives it."""
