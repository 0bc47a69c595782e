"""The records of `sapwood eval`, `export` and `report`: what they print with ``--json``."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import AliasChoices, Field, FiniteFloat

from sapwood.report.records.agreement import Estimated
from sapwood.report.records.made import MadeBy
from sapwood.report.records.parts import Amount, Count, RecordPart, VerbRecord, named_schema


class EvaluationRecord(VerbRecord):
    """The accuracy of a model on a data set: the fields of :class:`sapwood.types.Evaluation`, and what was measured.

    Attributes:
        model: As it was named.
        data: The data set.
        split: Which part of it.
        runtime: What ran the network.
        unit: What was measured on, ``pictures`` or ``texts``; ``num_images`` counts them.
        interval: The primary figure, and between which values 95 of 100 samples of the pictures have it; None where
            nothing is known of single pictures.
        stage_seconds: How long reading, the network, boxes with NMS, and scoring took, over all pictures.
        made: By what command, and where.
    """

    sections: ClassVar[tuple[str, ...]] = ("interval", "made")

    schema_id: Literal["sapwood.eval/1"] = named_schema("sapwood.eval/1")
    model: str
    data: str
    split: str
    runtime: str
    unit: Literal["pictures", "texts"] = "pictures"
    interval: Estimated | None = None
    primary: str
    metrics: dict[str, FiniteFloat]
    per_class: dict[str, FiniteFloat]
    num_images: Count
    stage_seconds: dict[str, Amount] = Field(validation_alias=AliasChoices("stage_seconds", "seconds"))
    skipped: tuple[str, ...] = ()
    made: MadeBy | None = None

    @property
    def seconds(self) -> dict[str, float]:
        """The stages' seconds, as :class:`sapwood.types.Evaluation` calls them."""
        return self.stage_seconds


class WrittenFile(RecordPart):
    """One file of an exported model."""

    path: str
    size_bytes: Count


class ReadBack(RecordPart):
    """How far a file is from the model, as a fraction of the largest output, and how far it may be."""

    max_relative_error: Amount
    tolerance: Amount


class ExportRecord(VerbRecord):
    """A model as files that other programs run.

    Attributes:
        model: As it was named.
        format: The exporter's name.
        written: The files, the one to open first.
        size_bytes: Of all files together.
        inputs: Their names.
        outputs: Likewise.
        check: What reading it back gave.
        details: What else the exporter says; beside the others in the JSON.
        made: By what command, and where.
    """

    sections: ClassVar[tuple[str, ...]] = ("made",)

    schema_id: Literal["sapwood.export/1"] = named_schema("sapwood.export/1")
    model: str
    format: str
    written: tuple[WrittenFile, ...] = Field(validation_alias=AliasChoices("written", "files"))
    size_bytes: Count
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    check: ReadBack
    details: dict[str, Any] = Field(default_factory=dict)
    made: MadeBy | None = None

    def plain(self) -> dict[str, Any]:
        """Returns the record as JSON can hold it, its details at the top."""
        told = super().plain()
        details: dict[str, Any] = told.pop("details")
        return {**told, **details}


class PageRecord(VerbRecord):
    """A page that was built again.

    Attributes:
        report: The page.
        record: What it was built of.
    """

    schema_id: Literal["sapwood.report/1"] = named_schema("sapwood.report/1")
    report: str
    record: str
