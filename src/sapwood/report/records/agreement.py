"""The record of `sapwood eval --against`: what it prints with ``--json``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import FiniteFloat

from sapwood.report.records.made import MadeBy
from sapwood.report.records.parts import Count, RecordPart, VerbRecord, named_schema


class Estimated(RecordPart):
    """A figure, and between which values 95 of 100 samples of the pictures have it."""

    value: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat

    @property
    def half(self) -> float:
        """Half of what is between them."""
        return (self.high - self.low) / 2.0


COVERED = 0.95
"""Fraction of the samples that an interval covers."""


def estimated(value: float, samples: Sequence[float]) -> Estimated | None:
    """A figure with the middle 95 % of what samples of the pictures gave; None without samples.

    Examples:
        >>> estimated(0.5, [number / 100 for number in range(101)])
        Estimated(value=0.5, low=0.025, high=0.975)
    """
    if not samples:
        return None
    low, high = middle(samples)
    return Estimated(value=value, low=low, high=high)


def middle(samples: Sequence[float]) -> tuple[float, float]:
    """Between which values the middle 95 % of samples are.

    Examples:
        >>> middle([float(number) for number in range(101)])
        (2.5, 97.5)
    """
    ordered = sorted(samples)
    low, high = (_quantile(ordered, part) for part in ((1.0 - COVERED) / 2.0, (1.0 + COVERED) / 2.0))
    return round(low, 6), round(high, 6)


def _quantile(ordered: Sequence[float], part: float) -> float:
    place = part * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


class EstimatedDifference(RecordPart):
    """How far one network's figure is above another's on the same pictures."""

    network: str
    other: str
    estimate: Estimated


class MeasuredAgreement(RecordPart):
    """How far networks agree with a dense one: the fields of :class:`sapwood.tasks.Agreement`, and what was looked at.

    Attributes:
        against: The dense network, as it was named.
        data: The data set.
        networks: By their names, as they were given.
    """

    against: str
    data: str
    figure: str
    networks: dict[str, Estimated]
    differences: tuple[EstimatedDifference, ...] = ()
    num_images: Count
    num_found: Count
    skipped: tuple[str, ...] = ()

    def over(self, other: str) -> dict[str, Estimated]:
        """How far each network is above another one, by its name."""
        found = {pair.network: pair.estimate for pair in self.differences if pair.other == other}
        turned = {pair.other: pair.estimate for pair in self.differences if pair.network == other}
        return found | {name: Estimated(value=-one.value, low=-one.high, high=-one.low) for name, one in turned.items()}


class AgreementRecord(MeasuredAgreement, VerbRecord):
    """What ``sapwood eval --against`` tells.

    Attributes:
        split: Which part of the data set.
        made: By what command, and where.
    """

    sections: ClassVar[tuple[str, ...]] = ("made",)

    schema_id: Literal["sapwood.agreement/1"] = named_schema("sapwood.agreement/1")
    split: str
    made: MadeBy | None = None
