"""Of the records: what pruning each group alone does to a model."""

from __future__ import annotations

from pydantic import FiniteFloat, model_validator

from sapwood.report.records.parts import Count, RecordPart


class GroupLosses(RecordPart):
    """A group pruned alone: the channels kept in each trial, and how much worse the model was.

    ``first`` is the first index that is the group's own.
    """

    group: str
    num_channels: Count
    kept: tuple[Count, ...]
    losses: tuple[FiniteFloat, ...]
    first: Count = 0

    @model_validator(mode="after")
    def _a_loss_a_width(self) -> GroupLosses:
        if len(self.kept) != len(self.losses):
            raise ValueError(f"{len(self.losses)} losses; expected {len(self.kept)}, one a width")
        if self.kept and self.num_channels < max(self.kept):
            raise ValueError(f"{max(self.kept)} channels kept; expected at most {self.num_channels}")
        return self


class BlockSensitivity(RecordPart):
    """How much worse the model is without one residual block, or one layer that its config counts."""

    name: str
    loss: FiniteFloat


class Losses(RecordPart):
    """Every group pruned alone: which figure was measured, that of the untouched model, and the largest loss of all.

    ``blocks`` are the model without each block that may go, where blocks were chosen beside widths.
    """

    figure: str
    dense: FiniteFloat
    rows: tuple[GroupLosses, ...]
    worst: FiniteFloat | None = None
    blocks: tuple[BlockSensitivity, ...] = ()
