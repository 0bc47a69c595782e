"""What was collected: tensors by the name of the statistic, then by parameter or module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from sapwood.errors import ConfigError


@dataclass(frozen=True)
class Statistics:
    """Statistics of a model over some samples.

    Attributes:
        values: Name of a statistic -> name of a parameter or module -> tensor.
        num_samples: Over how many samples.
        left_out: Name of a module -> why it has no ``gate_grad_squared``.

    Examples:
        >>> Statistics({"grad": {}}, 8)["grad"]
        {}
        >>> Statistics({"grad": {}}, 8)["movement"]
        Traceback (most recent call last):
        ...
        sapwood.errors.ConfigError: the statistic 'movement' was not collected; collected were: grad
    """

    values: Mapping[str, Mapping[str, Tensor]]
    num_samples: int
    left_out: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Mapping[str, Tensor]:
        if name not in self.values:
            held = ", ".join(sorted(self.values)) or "none"
            raise ConfigError(f"the statistic {name!r} was not collected; collected were: {held}")
        return self.values[name]
