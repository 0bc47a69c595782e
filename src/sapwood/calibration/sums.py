"""Running sums of several statistics that are fed with the same values."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sapwood.calibration.statistic import AddsInPlace, Statistic
from sapwood.errors import ConfigError


class Sums:
    """Adds up the terms of some statistics, by parameter or module.

    Args:
        statistics: By name; all of the same source.
    """

    def __init__(self, statistics: Mapping[str, Statistic]) -> None:
        self._statistics = statistics
        self._sums: dict[str, dict[str, tuple[Tensor, float]]] = {name: {} for name in statistics}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the statistics."""
        return tuple(self._statistics)

    def add(self, owner: str, values: Tensor, num_samples: int) -> None:
        """Adds a batch's values of one parameter or module; sums are at least float32."""
        for name, statistic in self._statistics.items():
            known = self._sums[name].get(owner)
            if known is not None and isinstance(statistic, AddsInPlace):
                self._sums[name][owner] = (known[0], known[1] + statistic.add_(known[0], values.detach()))
                continue
            term, weight = statistic.term(values.detach(), num_samples)
            short = torch.float32 if statistic.source in {"gradient", "step"} else torch.float64
            term = term.to(torch.promote_types(term.dtype, short))
            total, count = known or (None, 0.0)
            self._sums[name][owner] = (term if total is None else total.add_(term), count + weight)

    def finished(self) -> dict[str, dict[str, Tensor]]:
        """The statistics, by name and then by parameter or module.

        Raises:
            ConfigError: If one is not finite.
        """
        found = {
            name: {owner: self._statistics[name].finish(*entry) for owner, entry in owners.items()}
            for name, owners in self._sums.items()
        }
        for name, owners in found.items():
            bad = [owner for owner, value in owners.items() if not bool(torch.isfinite(value).all())]
            if bad:
                raise ConfigError(f"the statistic {name!r} of {bad[0]!r} is NaN or infinite; expected finite numbers")
        return found
