"""The record of `sapwood detect`: what was found on which picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import AliasChoices, Field, FiniteFloat

from sapwood.report.records.made import MadeBy
from sapwood.report.records.parts import Amount, Count, Fraction, RecordPart, VerbRecord, named_schema, read_part

DETECT_SCHEMA = "sapwood.detect/1"


class DrawnBox(RecordPart):
    """Something that was found: left, top, right and bottom edge, in pixels of the picture."""

    class_name: str = Field(validation_alias=AliasChoices("class", "class_name"), serialization_alias="class")
    score: Fraction
    box: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]


class DetectedPicture(RecordPart):
    """A picture: where it was, where it is with its boxes, and what was found."""

    image: str
    drawn: str
    detections: tuple[DrawnBox, ...]


class Detecting(VerbRecord):
    """What `sapwood detect` found.

    Attributes:
        model: As it was named.
        score_threshold: Detections below were left out.
        iou_threshold: Overlap from which on the weaker box of a class was dropped.
        images: What was found, picture by picture.
        seconds: Of all pictures, read and drawn not counted; none in records of 0.2.
        input_size: Height and width that pictures are brought to.
        made: By what command, and where.
    """

    sections: ClassVar[tuple[str, ...]] = ("made", "seconds", "input_size")

    schema_id: Literal["sapwood.detect/1"] = named_schema("sapwood.detect/1")
    model: str
    score_threshold: Fraction
    iou_threshold: Fraction
    images: tuple[DetectedPicture, ...]
    seconds: Amount | None = None
    input_size: tuple[Count, Count] | None = None
    made: MadeBy | None = None


def read_detecting(record: Detecting | Mapping[str, Any]) -> Detecting:
    """Returns the record of detections as its type.

    Raises:
        DataError: If it is not such a record.

    Examples:
        >>> read_detecting({"schema": "sapwood.run/1"})
        Traceback (most recent call last):
        ...
        sapwood.errors.DataError: record: schema is 'sapwood.run/1'; expected 'sapwood.detect/1'
    """
    return read_part(record, DETECT_SCHEMA, Detecting)
