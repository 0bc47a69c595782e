"""The record of `sapwood mask`: a model's tensors before a mask, with it, and after `remove`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from sapwood.report.records.latency import ZerosLatency
from sapwood.report.records.made import MadeBy
from sapwood.report.records.parts import Count, Fraction, RecordPart, VerbRecord, named_schema, read_part
from sapwood.report.records.recovery import RecoveryRecord

MASK_SCHEMA = "sapwood.mask/1"


class TensorZeros(RecordPart):
    """One parameter: the fields of :class:`sapwood.masks.TensorState`."""

    name: str
    kind: str
    shape: tuple[Count, ...]
    num_params: Count
    num_zeros: Count
    sparsity: Fraction
    live: bool
    keys: tuple[str, ...]
    hook: str


class ModelZeros(RecordPart):
    """Every parameter of a model, and the totals: the fields of :class:`sapwood.masks.MaskingState`."""

    tensors: tuple[TensorZeros, ...]
    num_params: Count
    num_zeros: Count
    sparsity: Fraction
    num_live: Count
    live_params: Count
    live_zeros: Count
    live_sparsity: Fraction


class Masking(VerbRecord):
    """What masking did to a model.

    Attributes:
        case: What was asked for.
        before: The model as it came.
        masked: With the mask.
        after_remove: With the zeros in plain weights.
        mask_latency: Of a latency target.
        recovery: Where weights were solved anew.
        saved: The directory that the model is in.
        model: As it was named; not told by 0.2.
        remarks: What could not be masked and what else is to be known, a sentence each; not told by 0.2.
        made: By what command, and where; not told by 0.2.
    """

    sections: ClassVar[tuple[str, ...]] = ("mask_latency", "recovery", "made")

    schema_id: Literal["sapwood.mask/1"] = named_schema("sapwood.mask/1")

    case: dict[str, Any]
    before: ModelZeros
    masked: ModelZeros
    after_remove: ModelZeros
    mask_latency: ZerosLatency | None = None
    recovery: RecoveryRecord | None = None
    saved: str | None = None
    model: str = ""
    remarks: tuple[str, ...] = ()
    made: MadeBy | None = None


def read_masking(record: Masking | Mapping[str, Any]) -> Masking:
    """Returns the record of masks as its type.

    Raises:
        DataError: If it is not such a record.
    """
    return read_part(record, MASK_SCHEMA, Masking)
