"""Of the records: what recovery did."""

from __future__ import annotations

from pydantic import Field, FiniteFloat

from sapwood.report.records.parts import Amount, Count, RecordPart


class LayerErrors(RecordPart):
    """A layer that was solved: the error of its outputs before and after, and how it was solved."""

    layer: str
    error_before: FiniteFloat
    error_after: FiniteFloat
    damping: FiniteFloat | None = None
    num_rows: Count = 0
    num_unknowns: Count = 0
    others_weight: FiniteFloat | None = None


class CheckRecord(RecordPart):
    """A look at held-out pictures while the network was distilled."""

    step: Count
    divergence: FiniteFloat


class RecoveryRecord(RecordPart):
    """What recovery did: how, from how many pictures, and what became of each layer."""

    method: str = ""
    num_pictures: Count
    seconds: Amount
    layers: tuple[LayerErrors, ...]
    left_alone: dict[str, str] = Field(default_factory=dict)
    checks: tuple[CheckRecord, ...] = ()
    best_step: Count = 0
    norms: tuple[str, ...] = ()
    unit: str = "pictures"
