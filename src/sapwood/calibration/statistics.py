"""What was collected: tensors by the name of the statistic, then by parameter or module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from torch import Tensor

from sapwood.calibration.statistic import STATISTICS
from sapwood.errors import ConfigError

T = TypeVar("T")


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

    def renamed(self, reads: Callable[[str], str | None], gives: Callable[[str], str | None]) -> Statistics | None:
        """The same of a network that computes the same, whose modules have other names.

        Args:
            reads: Given a module's name, what the one there is called that reads the same; None where there is none.
            gives: Likewise, the one that gives the same.

        Returns:
            None where a statistic is one of parameters, which say other things there.

        Examples:
            >>> Statistics({"input_zeros": {"a": "of a"}}, 8).renamed({"a": "b"}.get, {}.get)["input_zeros"]
            {'b': 'of a'}
            >>> Statistics({"grad": {"a.weight": "of a"}}, 8).renamed({"a": "b"}.get, {}.get) is None
            True
        """
        sources = {name: STATISTICS[name].source for name in self.values}
        if not set(sources.values()) <= {"input", "gate", "patches", "output"}:
            return None
        values = {
            name: _renamed(owners, gives if sources[name] == "output" else reads)
            for name, owners in self.values.items()
        }
        return Statistics(values, self.num_samples, _renamed(self.left_out, reads))


def _renamed(entries: Mapping[str, T], names: Callable[[str], str | None]) -> dict[str, T]:
    return {name: entry for old, entry in entries.items() if (name := names(old)) is not None}
