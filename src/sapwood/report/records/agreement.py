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


class AgreementRecord(VerbRecord):
    """How far networks agree with a dense one: the fields of :class:`sapwood.tasks.Agreement`, and what was measured.

    Attributes:
        against: The dense network, as it was named.
        data: The data set.
        split: Which part of it.
        networks: By their names, as they were given.
    """

    against: str
    data: str
    split: str
    figure: str
    networks: dict[str, Estimated]
    differences: tuple[EstimatedDifference, ...] = ()
    num_images: Count
    num_found: Count
    skipped: tuple[str, ...] = ()
