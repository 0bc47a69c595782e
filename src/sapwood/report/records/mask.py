"""The record of `sapwood mask`: a model's tensors before a mask, with it, and after `remove`."""

from __future__ import annotations

from typing import Any, ClassVar

from sapwood.report.records.latency import ZerosLatency
from sapwood.report.records.parts import Count, Fraction, RecordPart, VerbRecord
from sapwood.report.records.recovery import RecoveryRecord


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
    """

    sections: ClassVar[tuple[str, ...]] = ("mask_latency", "recovery")

    case: dict[str, Any]
    before: ModelZeros
    masked: ModelZeros
    after_remove: ModelZeros
    mask_latency: ZerosLatency | None = None
    recovery: RecoveryRecord | None = None
    saved: str | None = None
