"""The contract of a kind of case: a row in, checked; then the dense model in, a candidate out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

from torch import nn

from sapwood.cases import CaseRow, PruneRow
from sapwood.criteria import CRITERIA
from sapwood.errors import SapwoodError
from sapwood.goals import Calibration
from sapwood.masks import remove_masks_
from sapwood.models import copy_model
from sapwood.registry import Registry
from sapwood.types import ModelBundle


@dataclass(frozen=True)
class Candidate:
    """A model to be measured beside the unpruned one.

    Attributes:
        bundle: The model as it is measured; shares nothing with the dense one.
        notes: What a reader should know about it, a sentence each.
        with_live_masks: Makes the same model with its masks still live, where it came from masks.
    """

    bundle: ModelBundle
    notes: tuple[str, ...] = ()
    with_live_masks: Callable[[], nn.Module] | None = None


class Make(Protocol):
    """Makes a candidate from the dense model, which it leaves as it is."""

    def __call__(self, dense: ModelBundle, calibration: Calibration | None = None, /) -> Candidate:
        """Does it; ``calibration`` holds the pictures that a row may look at, without their labels."""
        ...


Prepare: TypeAlias = Callable[[CaseRow], Make]
"""Checks a row, before any model is measured, and returns what makes its candidate."""

CANDIDATES: Registry[Prepare] = Registry("kind of case")
"""How the rows of each kind become candidates; the names are those of :data:`sapwood.cases.ROW_KINDS`."""


def prepare(rows: Sequence[CaseRow]) -> tuple[Make, ...]:
    """Checks every row as far as that is possible without a model.

    Raises:
        SapwoodError: What a row's kind raises, with the row's file, line and number in front.
    """
    return tuple(_prepare(row) for row in rows)


def looks_at_pictures(row: CaseRow) -> bool:
    """Whether making a row's candidate takes pictures."""
    if not isinstance(row, PruneRow):
        return False
    return row.recover != "none" or bool(row.criterion in CRITERIA and CRITERIA[row.criterion].needs)


def baseline_candidate(bundle: ModelBundle, calibration: Calibration | None = None, /) -> Candidate:
    """Returns the unpruned network; masks that are live on it are made permanent, as in every other case."""
    del calibration
    model = copy_model(bundle.model)
    live = remove_masks_(model)
    notes = (f"{len(live)} live masks of the given model were made permanent",) if live else ()
    return Candidate(replace(bundle, model=model), notes)


def _prepare(row: CaseRow) -> Make:
    try:
        return CANDIDATES[row.kind](row)
    except SapwoodError as error:
        raise type(error)(f"{row.origin or row.name}: {error}") from error
