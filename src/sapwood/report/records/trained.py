"""The record of `sapwood train`: figures, epoch by epoch, and what was written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, FiniteFloat

from sapwood.report.records.agreement import Estimated
from sapwood.report.records.made import MadeBy
from sapwood.report.records.parts import Count, VerbRecord, named_schema, read_part

TRAIN_SCHEMA = "sapwood.train/1"


class TrainingRecord(VerbRecord):
    """What training gave.

    Attributes:
        metrics: Figures of the model that was kept; None where nothing was measured.
        epochs: How many were run.
        files: What was written, and where.
        skipped: Pictures that could not be read, a sentence each.
        model: As it was named.
        data: The data set, as it was named.
        train_split: Which part of it was learnt from.
        split: Which part was measured on; ``none`` where nothing was.
        teacher: Of distillation, as it was named.
        primary: Which of the figures models are compared by.
        num_images: Pictures that were measured.
        interval: The primary figure of the model that was kept, and between which values 95 of 100 samples of the
            pictures have it.
        per_class: The primary figure of each class.
        history: What ``metrics.jsonl`` has, a mapping an epoch.
        config: How it was trained.
        made: By what command, and where.
    """

    sections: ClassVar[tuple[str, ...]] = ("interval", "teacher", "primary", "made")

    schema_id: Literal["sapwood.train/1"] = named_schema("sapwood.train/1")
    metrics: dict[str, FiniteFloat] | None
    epochs: Count
    files: dict[str, str]
    skipped: tuple[str, ...] = ()
    model: str = ""
    data: str = ""
    train_split: str = ""
    split: str = ""
    teacher: str | None = None
    primary: str | None = None
    num_images: Count = 0
    interval: Estimated | None = None
    per_class: dict[str, FiniteFloat] = Field(default_factory=dict)
    history: tuple[dict[str, Any], ...] = ()
    config: dict[str, Any] = Field(default_factory=dict)
    made: MadeBy | None = None


def read_training(record: TrainingRecord | Mapping[str, Any]) -> TrainingRecord:
    """Returns the record of training as its type.

    Raises:
        DataError: If it is not such a record.

    Examples:
        >>> read_training({"schema": "sapwood.run/1"})
        Traceback (most recent call last):
        ...
        sapwood.errors.DataError: record: schema is 'sapwood.run/1'; expected 'sapwood.train/1'
    """
    return read_part(record, TRAIN_SCHEMA, TrainingRecord)
