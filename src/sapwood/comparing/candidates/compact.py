"""Rows of kind ``compact``: a mask of ``torch.nn.utils.prune``, and everything removed that it left dead."""

from __future__ import annotations

from dataclasses import replace

from sapwood.cases import CaseRow, CompactRow
from sapwood.compaction import compact
from sapwood.comparing.candidates.base import CANDIDATES, Candidate, Make
from sapwood.comparing.candidates.mask import mask_case, mask_notes, masked
from sapwood.errors import ConfigError
from sapwood.goals import Calibration
from sapwood.types import ModelBundle


@CANDIDATES.register("compact")
def prepare_compact(row: CaseRow) -> Make:
    """Returns what masks a copy of a model as the row says and removes what that leaves dead.

    Raises:
        ConfigError: If the fields of the row do not go together.
        MaskError: If its mask file does not exist.
    """
    if not isinstance(row, CompactRow):
        raise ConfigError(f"kind compact: got a {type(row).__name__}; expected a CompactRow")
    case, exact = mask_case(row), row.exact

    def make(dense: ModelBundle, calibration: Calibration | None = None, /) -> Candidate:
        del calibration
        model, record = masked(dense, case)
        compacted = compact(model, dense.example_inputs, exact=exact)
        error = compacted.verification.max_abs_error
        note = f"equals the masked network to {error:.0e} of the largest output, in float64"
        return Candidate(replace(dense, model=compacted.model), (*mask_notes(record), note))

    return make
