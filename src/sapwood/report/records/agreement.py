"""The record of `sapwood eval --against`: what it prints with ``--json``."""

from __future__ import annotations

from pydantic import FiniteFloat

from sapwood.report.records.parts import Count, RecordPart, VerbRecord


class Estimated(RecordPart):
    """A figure, and between which values 95 of 100 samples of the pictures have it."""

    value: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat


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
    """

    split: str
