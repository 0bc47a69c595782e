"""Rows of kind ``compact``: a mask of ``torch.nn.utils.prune``, and everything removed that it left dead."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from sapwood.cases.rows.base import ROW_KINDS, Candidate, Make
from sapwood.cases.rows.mask import MaskFields, mask_notes, masked

if TYPE_CHECKING:
    from sapwood.goals import Calibration
    from sapwood.types import ModelBundle


@ROW_KINDS.register("compact")
class CompactRow(MaskFields):
    """A mask of ``torch.nn.utils.prune``, and then everything removed that it left dead.

    Attributes:
        exact: Whether channels stay whose constant cannot be folded to the last bit, for it meets zero padding.

    Examples:
        >>> CompactRow(method="ln_structured", sparsity=0.1).default_family()
        'structured L2 · conv · compacted'
    """

    kind: Literal["compact"] = "compact"
    exact: bool = True

    def default_family(self) -> str:
        """The mask's, and what became of it."""
        return f"{super().default_family()} · {'compacted' if self.exact else 'compacted, borders folded'}"

    def prepare(self) -> Make:
        """Returns what masks a copy of a model and removes what that leaves dead."""
        from sapwood.compaction import compact
        from sapwood.report import apart_text

        self.mask_case()

        def make(dense: ModelBundle, calibration: Calibration | None = None, /) -> Candidate:
            model, done = masked(dense, self, calibration)
            compacted = compact(model, dense.example_inputs, exact=self.exact)
            note = apart_text(compacted.verification.max_abs_error, "the masked network")
            return Candidate(replace(dense, model=compacted.model), (*mask_notes(done), note))

        return make
