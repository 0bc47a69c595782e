"""Rows checked before any model is measured, and the unpruned network's candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sapwood.cases import Candidate, CaseRow, Make
from sapwood.errors import SapwoodError
from sapwood.goals import Calibration
from sapwood.masks import remove_masks_
from sapwood.models import copy_model
from sapwood.types import ModelBundle


def prepare(rows: Sequence[CaseRow]) -> tuple[Make, ...]:
    """Checks every row as far as that is possible without a model.

    Raises:
        SapwoodError: What a row raises, with its file, line and number in front.
    """
    return tuple(_prepare(row) for row in rows)


def baseline_candidate(bundle: ModelBundle, calibration: Calibration | None = None, /) -> Candidate:
    """Returns the unpruned network; masks that are live on it are made permanent, as in every other case."""
    del calibration
    model = copy_model(bundle.model)
    live = remove_masks_(model)
    notes = (f"{len(live)} live masks of the given model were made permanent",) if live else ()
    return Candidate(replace(bundle, model=model), notes)


def _prepare(row: CaseRow) -> Make:
    try:
        return row.prepare()
    except SapwoodError as error:
        raise type(error)(f"{row.origin or row.name}: {error}") from error
