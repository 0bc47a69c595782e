"""The record of `sapwood prune` and `compact`: what `report.json` holds, and the page is built from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, FiniteFloat, PlainSerializer

from sapwood.report.records.agreement import MeasuredAgreement
from sapwood.report.records.inspect import Size, Whole
from sapwood.report.records.latency import TargetLatency
from sapwood.report.records.made import MadeBy
from sapwood.report.records.parts import Count, RecordPart, VerbRecord, named_schema, read_part
from sapwood.report.records.recovery import RecoveryRecord
from sapwood.report.records.sensitivity import Losses

PRUNE_SCHEMA = "sapwood.prune/1"

Error = Annotated[
    float,
    BeforeValidator(lambda error: math.inf if error is None else error),
    Field(ge=0.0),
    PlainSerializer(lambda error: error if math.isfinite(error) else None),
]
"""How far two results are apart; JSON, which has no infinity, has null for it."""


class LayerState(RecordPart):
    """A layer's weight and work."""

    shape: tuple[Count, ...]
    macs: Count


class LayerWidths(RecordPart):
    """A layer before and after."""

    name: str
    kind: str
    before: LayerState
    after: LayerState

    @property
    def channels(self) -> tuple[int, int]:
        """Output channels before and after; a transposed convolution's weight has them second."""
        dim = 1 if "Transpose" in self.kind and len(self.before.shape) > 1 else 0
        return (self.before.shape or (0,))[dim], (self.after.shape or (0, 0))[dim]


class VerificationRecord(RecordPart):
    """How far the compact model is from the masked one: the fields of :class:`sapwood.pipeline.Verification`."""

    max_abs_error: Error
    dtype: str
    passed: bool
    pooled_norms: tuple[str, ...] = ()
    distance_from_dense: FiniteFloat | None = None


class Pruning(VerbRecord):
    """What removing channels did to a model.

    Attributes:
        verb: ``"prune"`` or ``"compact"``.
        sapwood: Version that wrote it.
        date: ISO 8601, with the offset from UTC.
        options: What was asked for.
        channels: Of all groups, before and after: what a sparsity is a fraction of. Not told by ``compact`` and by 0.2.
        removed_blocks: The residual blocks that went as a whole, by name.
        notes: What else to know of the smaller model, a sentence each.
        latency: Of a latency target, or where the result was timed.
        sensitivity: Where it was measured.
        recovery: Where weights were solved anew.
        agreement: Of the pruned and the recovered network with the dense one, where it recovered.
        files: What was written, and where.
        made: By what command, and where; not told by 0.2.
    """

    sections: ClassVar[tuple[str, ...]] = ("channels", "latency", "sensitivity", "recovery", "agreement", "made")

    schema_id: Literal["sapwood.prune/1"] = named_schema("sapwood.prune/1")
    verb: Literal["prune", "compact"] = "prune"
    sapwood: str = ""
    date: str = ""
    model: str
    options: dict[str, Any]
    before: Size
    after: Size
    layers: tuple[LayerWidths, ...]
    channels: tuple[Count, Count] | None = None
    verification: VerificationRecord
    unpruned: tuple[Whole, ...] = ()
    removed_blocks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    latency: TargetLatency | None = None
    sensitivity: Losses | None = None
    recovery: RecoveryRecord | None = None
    agreement: MeasuredAgreement | None = None
    files: dict[str, str] = Field(default_factory=dict)
    made: MadeBy | None = None


def read_pruning(record: Mapping[str, Any] | Pruning) -> Pruning:
    """Reads the record of `sapwood prune` or `compact`.

    Raises:
        DataError: If it is not such a record, or of a version this page does not know.

    Examples:
        >>> read_pruning({"schema": "sapwood.compare/1"})
        Traceback (most recent call last):
        ...
        sapwood.errors.DataError: record: schema is 'sapwood.compare/1'; expected 'sapwood.prune/1'
    """
    return read_part(record, PRUNE_SCHEMA, Pruning)
