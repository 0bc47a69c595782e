"""The record of a comparison: what `compare.json` holds, and all that the report is built from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AliasChoices, Field, FiniteFloat

from sapwood.report.records.agreement import MeasuredAgreement
from sapwood.report.records.parts import Count, Fraction, RecordPart, VerbRecord, named_schema, read_part

SCHEMA = "sapwood.compare/1"

JpegUri = Annotated[str, Field(pattern=r"^data:image/jpeg;base64,[A-Za-z0-9+/=]+$")]


class Found(RecordPart):
    """One object found in a picture, or one class given to it.

    Attributes:
        class_name: Under ``"class"`` in JSON.
        score: In [0, 1].
        box: x1, y1, x2, y2 in pixels of the picture; None for a class of the whole picture.
    """

    class_name: str = Field(validation_alias=AliasChoices("class", "class_name"), serialization_alias="class")
    score: Fraction
    box: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat] | None = None


class PictureResult(RecordPart):
    """What one case found in one of the chosen pictures, best score first."""

    id: str
    found: tuple[Found, ...]


class ShownPicture(RecordPart):
    """A chosen picture: its size in pixels, and a (possibly smaller) JPEG of it as a data URI."""

    id: str
    width: Annotated[int, Field(gt=0)]
    height: Annotated[int, Field(gt=0)]
    jpeg: JpegUri


class Accuracy(RecordPart):
    """The fields of :class:`sapwood.types.Evaluation`."""

    sections: ClassVar[tuple[str, ...]] = ("resampled",)

    primary: str
    metrics: dict[str, FiniteFloat]
    per_class: dict[str, FiniteFloat]
    num_images: Count
    seconds: dict[str, FiniteFloat]
    skipped: tuple[str, ...] = ()
    resampled: tuple[FiniteFloat, ...] | None = None

    @property
    def value(self) -> float:
        """The primary figure."""
        return self.metrics[self.primary]


class Layer(RecordPart):
    """One parameter: how many numbers it has, and how many of them are zero.

    Attributes:
        shape: Of the tensor; not told by 0.2.
        density: Where its numbers are not zero, if some are: rows of digits with ``/`` between, output channels from
            top to bottom and inputs from left to right in so many equal parts; 9 is no zeros, 0 nothing else.
    """

    sections: ClassVar[tuple[str, ...]] = ("shape", "density")

    name: str
    kind: str
    numel: Count
    zeros: Count
    shape: tuple[Count, ...] | None = None
    density: Annotated[str, Field(pattern=r"^[0-9]+(/[0-9]+)*$")] | None = None

    @property
    def sparsity(self) -> float:
        """Fraction of the numbers that are zero."""
        return self.zeros / self.numel if self.numel else 0.0


class Macs(RecordPart):
    """Multiply-accumulates of one forward pass.

    Attributes:
        total: As the network computes them, zeros included.
        nonzero: Those with a weight that is not zero.
        uncounted: Operations with arithmetic that the count leaves out.
    """

    total: Count
    nonzero: Count
    uncounted: tuple[str, ...] = ()


class Latency(RecordPart):
    """Time of one forward pass, in milliseconds, and its ratio to the baseline's, formed in the same round."""

    median_ms: FiniteFloat
    q25_ms: FiniteFloat
    q75_ms: FiniteFloat
    min_ms: FiniteFloat
    ratio: FiniteFloat
    ratio_q25: FiniteFloat
    ratio_q75: FiniteFloat


class CaseResult(RecordPart):
    """One row of the comparison.

    Attributes:
        name: Unique in the comparison.
        kind: The kind of row (``"baseline"``, ``"mask"``).
        family: Rows that differ only in ``level`` share it.
        level: How far the case goes (the sparsity asked for), where that is a number.
        settings: The row as the user gave it.
        error: Why the case has no figures; None where it has.
        accuracy: On the data set.
        pictures: What was found in the chosen pictures.
        params: Numbers in the model's parameters.
        nonzeros: Those that are not zero.
        file_bytes: Of the saved weights.
        macs: Of one forward pass of one picture.
        latency: Of one forward pass of one picture; None where it was not measured.
        engine: The same on the sparse engine, as a ratio to the unpruned network in PyTorch; None where not measured.
        runtimes: The same by the name of the runtime it ran on, as ratios to the unpruned network on ONNX Runtime: what
            one would deploy otherwise.
        peak_memory_bytes: Of one forward pass; None where the system does not tell.
        layers: A line a parameter.
        notes: What a reader should know about this case.
    """

    name: str
    kind: str
    family: str
    level: FiniteFloat | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    error: str | None = None
    accuracy: Accuracy | None = None
    pictures: tuple[PictureResult, ...] = ()
    params: Count = 0
    nonzeros: Count = 0
    file_bytes: Count | None = None
    macs: Macs | None = None
    latency: Latency | None = None
    engine: Latency | None = None
    runtimes: dict[str, Latency] = Field(default_factory=dict)
    peak_memory_bytes: Count | None = None
    layers: tuple[Layer, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def done(self) -> bool:
        """Whether the case has figures."""
        return self.error is None

    @property
    def sparsity(self) -> float:
        """Fraction of all parameters that is zero."""
        return 1.0 - self.nonzeros / self.params if self.params else 0.0

    @property
    def value(self) -> float | None:
        """The primary accuracy figure, where there is one."""
        return None if self.accuracy is None else self.accuracy.value


class ModelInfo(RecordPart):
    """Which model was compared."""

    spec: str
    weights: str | None = None
    task: str
    input_size: tuple[int, int]
    num_classes: Count

    @property
    def title(self) -> str:
        """The specification without the folders in front."""
        return (
            self.spec
            if ":" in self.spec
            else self.spec.rstrip("/\\").replace("\\", "/").rpartition("/")[2] or self.spec
        )


class DataInfo(RecordPart):
    """Which pictures it was measured on."""

    name: str
    num_images: Count
    skipped: tuple[str, ...] = ()


class Comparison(VerbRecord):
    """A whole comparison; the first case is the unpruned network.

    Attributes:
        schema_id: Under ``"schema"`` in JSON: which version of this page the record follows.
        date: ISO 8601, with the offset from UTC.
        settings: Thresholds, batch size, rounds.
        conditions: Machine, threads, versions: what the figures hold under.
        live_mask: Time of one case with its masks still live, as a ratio to the same case with them removed.
        agreement: Of the cases with the unpruned network, on some of the pictures; None where there is none.
    """

    schema_id: Literal["sapwood.compare/1"] = named_schema("sapwood.compare/1")
    sapwood: str
    command: str
    date: str
    model: ModelInfo
    data: DataInfo
    settings: dict[str, Any]
    conditions: dict[str, Any]
    pictures: tuple[ShownPicture, ...] = ()
    cases: Annotated[tuple[CaseResult, ...], Field(min_length=1)]
    live_mask: LiveMask | None = None
    agreement: MeasuredAgreement | None = None

    @property
    def baseline(self) -> CaseResult:
        """The unpruned network."""
        return self.cases[0]

    @property
    def candidates(self) -> tuple[CaseResult, ...]:
        """All cases after the baseline."""
        return self.cases[1:]

    @property
    def primary(self) -> str:
        """The name of the accuracy figure the cases are compared by."""
        return self.baseline.accuracy.primary if self.baseline.accuracy else "accuracy"

    def families(self) -> dict[str, tuple[CaseResult, ...]]:
        """The candidates that have figures, by family, in the order of the record."""
        found: dict[str, tuple[CaseResult, ...]] = {}
        for case in self.candidates:
            if case.done:
                found[case.family] = (*found.get(case.family, ()), case)
        return found


class LiveMask(RecordPart):
    """What a live mask costs: the case measured, and its time with the mask over its time with the mask removed."""

    case: str
    ratio: FiniteFloat
    ratio_q25: FiniteFloat
    ratio_q75: FiniteFloat


def read_record(record: Mapping[str, Any] | Comparison) -> Comparison:
    """Reads a record that came back from JSON.

    Raises:
        DataError: If it is not a record of a comparison, or of a version this page does not know.

    Examples:
        >>> read_record({"schema": "sapwood.compare/9"})
        Traceback (most recent call last):
        ...
        sapwood.errors.DataError: record: schema is 'sapwood.compare/9'; expected 'sapwood.compare/1'
    """
    return read_part(record, SCHEMA, Comparison)


def dump_record(comparison: Comparison) -> dict[str, Any]:
    """Returns the record as plain data for JSON."""
    return comparison.plain()
