"""The records of `sapwood prune`, `compact` and `inspect`: what `report.json` holds, and the pages are built from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, FiniteFloat, model_validator

from sapwood.report.reading import Amount, Count, RecordPart, validate

PRUNE_SCHEMA = "sapwood.prune/1"
INSPECT_SCHEMA = "sapwood.inspect/1"


class Size(RecordPart):
    """A model's size: parameters, multiply-accumulates, bytes, and the operators that have no formula."""

    params: Count
    macs: Count
    file_bytes: Count
    uncounted: tuple[str, ...] = ()


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
        return (self.before.shape or (0,))[dim], (self.after.shape or (0,))[dim]


class VerificationRecord(RecordPart):
    """The fields of :class:`sapwood.pipeline.VerificationRecord`."""

    max_abs_error: FiniteFloat
    dtype: str
    passed: bool
    pooled_norms: tuple[str, ...] = ()
    distance_from_dense: FiniteFloat | None = None


class Whole(RecordPart):
    """A dimension that stays whole, and why."""

    tensor: str
    dim: int
    reason: str


class AttemptRecord(RecordPart):
    """A network that was made and measured."""

    predicted: Amount
    measured: Amount


class LayerTime(RecordPart):
    """The fields of :class:`sapwood.measure.LayerChange`."""

    layer: str
    before_ms: Amount
    after_ms: Amount | None = None
    macs_before: Amount
    macs_after: Amount | None = None
    reason: str = ""


class TargetLatency(RecordPart):
    """The fields of :class:`sapwood.pipeline.LatencyOutcome`, and whether the target, if there was one, was met."""

    target: Amount | None
    met: bool
    ratio: Amount
    ratio_q1: Amount
    ratio_q3: Amount
    predicted: Amount
    dense_ms: Amount
    pruned_ms: Amount
    attempts: tuple[AttemptRecord, ...]
    fit_error: Amount
    layers: tuple[LayerTime, ...]
    conditions: dict[str, Any]


class LayerLatency(RecordPart):
    """What each layer of one network takes."""

    total_ms: Amount
    layers: tuple[LayerTime, ...]
    conditions: dict[str, Any]


class GroupLosses(RecordPart):
    """The fields of :class:`sapwood.pipeline.SensitivityRow`."""

    group: str
    num_channels: Count
    kept: tuple[Count, ...]
    losses: tuple[FiniteFloat, ...]

    @model_validator(mode="after")
    def _a_loss_a_width(self) -> GroupLosses:
        if len(self.kept) != len(self.losses):
            raise ValueError(f"{len(self.losses)} losses; expected {len(self.kept)}, one a width")
        if self.kept and self.num_channels < max(self.kept):
            raise ValueError(f"{max(self.kept)} channels kept; expected at most {self.num_channels}")
        return self


class Losses(RecordPart):
    """The fields of :class:`sapwood.pipeline.Sensitivity`."""

    figure: str
    dense: FiniteFloat
    rows: tuple[GroupLosses, ...]
    worst: FiniteFloat | None = None


class LayerErrors(RecordPart):
    """The fields of :class:`sapwood.recovery.LayerReconstruction` that are shown."""

    layer: str
    error_before: Amount
    error_after: Amount


class Check(RecordPart):
    """The fields of :class:`sapwood.recovery.DistillCheck`."""

    step: Count
    divergence: Amount


class RecoveryRecord(RecordPart):
    """The fields of :class:`sapwood.recovery.Recovered`."""

    method: str
    num_pictures: Count
    seconds: Amount
    layers: tuple[LayerErrors, ...]
    left_alone: dict[str, str]
    checks: tuple[Check, ...] = ()
    norms: tuple[str, ...] = ()


class Pruning(RecordPart):
    """What removing channels did to a model.

    Attributes:
        verb: ``"prune"`` or ``"compact"``.
        sapwood: Version that wrote it.
        date: ISO 8601, with the offset from UTC.
        latency: Of a latency target.
        sensitivity: Where it was measured.
        recovery: Where weights were solved anew.
    """

    verb: Literal["prune", "compact"] = "prune"
    sapwood: str = ""
    date: str = ""
    model: str
    options: dict[str, Any]
    before: Size
    after: Size
    layers: tuple[LayerWidths, ...]
    verification: VerificationRecord
    unpruned: tuple[Whole, ...] = ()
    latency: TargetLatency | None = None
    sensitivity: Losses | None = None
    recovery: RecoveryRecord | None = None
    files: dict[str, str] = Field(default_factory=dict)


class InspectedLayer(RecordPart):
    """A layer of a model: the fields of :class:`sapwood.measure.ModelLayer`."""

    name: str
    kind: str
    shape: tuple[Count, ...]
    num_params: Count
    macs: Count


class Group(RecordPart):
    """Dimensions that lose the same channels."""

    name: str
    channels: Count
    members: tuple[str, ...]


class Inspection(RecordPart):
    """What a model consists of."""

    model: str
    params: Count
    macs: Count
    file_bytes: Count
    uncounted: tuple[str, ...] = ()
    layers: tuple[InspectedLayer, ...]
    groups: tuple[Group, ...]
    unpruned: tuple[Whole, ...] = ()
    latency: LayerLatency | None = None
    sensitivity: Losses | None = None


def read_pruning(record: Mapping[str, Any]) -> Pruning:
    """Reads the record of `sapwood prune` or `compact`.

    Raises:
        DataError: If it is not such a record, or of a version this page does not know.

    Examples:
        >>> read_pruning({"schema": "sapwood.compare/1"})
        Traceback (most recent call last):
        ...
        sapwood.errors.DataError: record: schema is 'sapwood.compare/1'; expected 'sapwood.prune/1'
    """
    return validate(record, PRUNE_SCHEMA, Pruning)


def read_inspection(record: Mapping[str, Any]) -> Inspection:
    """Reads the record of `sapwood inspect`.

    Raises:
        DataError: If it is not such a record, or of a version this page does not know.
    """
    return validate(record, INSPECT_SCHEMA, Inspection)
