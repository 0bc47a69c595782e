"""Rows of kind ``mask``: a mask of ``torch.nn.utils.prune``, made permanent."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from sapwood.cases import CaseRow, MaskFields
from sapwood.comparing.candidates.base import CANDIDATES, Candidate, Make
from sapwood.errors import ConfigError
from sapwood.goals import Calibration
from sapwood.masks import MaskCase, MaskRecord, apply_masks_, remove_masks_
from sapwood.models import copy_model
from sapwood.types import ModelBundle

MOST_NAMED = 3
"""How many parameters a note names before it gives their number alone."""


@CANDIDATES.register("mask")
def prepare_mask(row: CaseRow) -> Make:
    """Returns what masks a copy of a model as the row says and makes the zeros permanent.

    Raises:
        ConfigError: If the fields of the row do not go together; see :class:`sapwood.masks.MaskCase`.
        MaskError: If its mask file does not exist.
    """
    case = mask_case(row)

    def make(dense: ModelBundle, calibration: Calibration | None = None, /) -> Candidate:
        del calibration
        model, record = masked(dense, case)
        remove_masks_(model)
        return Candidate(replace(dense, model=model), mask_notes(record), lambda: masked(dense, case)[0])

    return make


def mask_case(row: CaseRow) -> MaskCase:
    """What a row's fields say about its mask.

    Raises:
        ConfigError: If they do not go together.
        MaskError: If its mask file does not exist.
    """
    if not isinstance(row, MaskFields):
        raise ConfigError(f"kind {row.kind}: got a {type(row).__name__}; expected a row that masks")
    return MaskCase(
        method=row.method,
        sparsity=row.sparsity,
        scope=row.scope,
        layers=row.layers,
        pattern=row.pattern,
        n=row.n,
        dim=row.dim,
        seed=row.seed,
        mask_file=row.mask_file,
        criterion=row.criterion,
        budget=row.budget,
        blocks=row.blocks,
    )


def masked(dense: ModelBundle, case: MaskCase) -> tuple[nn.Module, MaskRecord]:
    """A copy of the model with its masks live."""
    model = copy_model(dense.model)
    return model, apply_masks_(model, case)


def mask_notes(record: MaskRecord) -> tuple[str, ...]:
    """What a reader should know about a mask."""
    return (*_folded(record.skipped, "parameters could not be masked"), *_folded(record.notes, "more remarks"))


def _folded(sentences: tuple[str, ...], what: str) -> tuple[str, ...]:
    """The first few sentences, and the number of the rest."""
    if len(sentences) <= MOST_NAMED:
        return sentences
    return (*sentences[:MOST_NAMED], f"and {len(sentences) - MOST_NAMED} {what}")
