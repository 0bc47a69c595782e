"""Darknet's activations as torch modules.

Source: ``src/activations.h`` of https://github.com/AlexeyAB/darknet. What normalises over channels
(``normalize_channels``, ``normalize_channels_softmax``) is no function of one value, and is not here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Elementwise(nn.Module):
    """A function of each value.

    Args:
        function: From a tensor of any shape to one of the same.

    Examples:
        >>> Elementwise(ramp)(torch.tensor([-1.0, 2.0]))
        tensor([-0.1000,  2.2000])
    """

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Returns the function of ``x``, any shape."""
        return self.function(x)

    def extra_repr(self) -> str:
        """Its name, for ``print``."""
        return self.function.__name__


def ramp(x: Tensor) -> Tensor:
    r""":math:`x \cdot [x > 0] + 0.1 x`."""
    return torch.relu(x) + 0.1 * x


def hard_mish(x: Tensor) -> Tensor:
    r""":math:`x` above 0, :math:`x^2 / 2 + x` down to -2, 0 below."""
    low = x.clamp(-2, 0)
    return torch.relu(x) + low * low / 2 + low


def selu(x: Tensor) -> Tensor:
    """SELU with the constants that Darknet rounds to five digits."""
    return 1.0507 * F.elu(x, alpha=1.6732)


def loggy(x: Tensor) -> Tensor:
    r""":math:`2 \sigma(x) - 1`."""
    return 2 * torch.sigmoid(x) - 1


def plse(x: Tensor) -> Tensor:
    r""":math:`x / 8 + 1 / 2` from -4 to 4, of slope 0.01 beyond."""
    inner = x.clamp(-4, 4)
    return inner / 8 + 0.5 + 0.01 * (x - inner)


def lhtan(x: Tensor) -> Tensor:
    r""":math:`x` from 0 to 1, of slope 0.001 beyond."""
    inner = x.clamp(0, 1)
    return inner + 0.001 * (x - inner)


def stair(x: Tensor) -> Tensor:
    """Rises from each odd whole number to the next one, and is level in between."""
    half = torch.floor(x / 2)
    return half + torch.relu(x - 2 * half - 1)


ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity,
    "leaky": lambda: nn.LeakyReLU(0.1),
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "relie": lambda: nn.LeakyReLU(0.01),
    "ramp": lambda: Elementwise(ramp),
    "logistic": nn.Sigmoid,
    "loggy": lambda: Elementwise(loggy),
    "tanh": nn.Tanh,
    "hardtan": nn.Hardtanh,
    "lhtan": lambda: Elementwise(lhtan),
    "plse": lambda: Elementwise(plse),
    "stair": lambda: Elementwise(stair),
    "elu": nn.ELU,
    "selu": lambda: Elementwise(selu),
    "gelu": lambda: nn.GELU(approximate="tanh"),
    "mish": nn.Mish,
    "hard_mish": lambda: Elementwise(hard_mish),
    "swish": nn.SiLU,
}
"""Makes the module of an activation, by the name a ``.cfg`` gives it."""
