"""``sapwood mask``: masks go on, the weights that stay take over, and what that did is told."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

from torch import nn

from sapwood.goals import (
    Bench,
    Calibration,
    Deployment,
    SparsityOutcome,
    mask_to_latency_,
    masking_harm,
    weight_scores,
)
from sapwood.masks import (
    MaskCase,
    MaskingState,
    MaskRecord,
    apply_masks_,
    masking_state,
    parse_pattern,
    remove_masks_,
)
from sapwood.measure import weight_uses
from sapwood.models import copy_model
from sapwood.recovery import Recovered
from sapwood.report import Masking, records
from sapwood.types import ModelBundle

RecoverMasked: TypeAlias = Callable[[ModelBundle, nn.Module], Recovered | None]
"""Given the masked model and the dense one, recovers the masked one in place."""

Progress: TypeAlias = Callable[[int, int], None]

PLAIN = ("l1_unstructured", "uniform")
"""Method and budget where none is named."""

BY_USES = "lamp_macs"
"""The budget that asks how often weights are used."""

SOLVED = ("scored", BY_USES)
"""The same where layers are solved afterwards; which weights stay is chosen there, too."""

Bar: TypeAlias = Callable[[str], AbstractContextManager[Progress]]
"""Given what comes next, yields what is told (done, total) of it."""


@dataclass(frozen=True)
class MaskingOutcome:
    """What masking did to a model.

    Attributes:
        record: What was masked and what was not, and why.
        latency: What was measured; None where no latency was asked for.
        recovery: What was done to the weights that stay; None where nothing.
        before: The model's tensors before,
        masked: with the masks,
        after_remove: and after ``remove``.
    """

    record: MaskRecord
    latency: SparsityOutcome | None
    recovery: Recovered | None
    before: MaskingState
    masked: MaskingState
    after_remove: MaskingState


def masks_by_pictures(*, method: str, criterion: str = MaskCase.criterion, has_latency: bool = False) -> bool:
    """Whether a mask is chosen by more than the weights, so that pictures help.

    Args:
        method: As in :class:`sapwood.masks.MaskCase`.
        criterion: Likewise.
        has_latency: Whether there is a latency to reach.

    Examples:
        >>> masks_by_pictures(method="scored", criterion="obs")
        True
        >>> masks_by_pictures(method="l1_unstructured")
        False
    """
    return method == "scored" and (criterion != "magnitude" or has_latency)


def settled_method(
    method: str | None, budget: str | None, *, solved: bool, blocks: str = "unstructured"
) -> tuple[str, str]:
    """Returns method and budget, those that were left open being what serves best.

    Args:
        method: As in :class:`sapwood.masks.MaskCase`; None where it was left open.
        budget: Likewise.
        solved: Whether layers are solved afterwards, and nothing else says which weights stay.
        blocks: As in :class:`sapwood.masks.MaskCase`; those that say how many stay leave a budget nothing to share.

    Raises:
        ConfigError: If no pattern is called ``blocks``.

    Examples:
        >>> settled_method(None, None, solved=True), settled_method("scored", None, solved=True)
        (('scored', 'lamp_macs'), ('scored', 'uniform'))
        >>> settled_method(None, None, solved=True, blocks="2:4")
        ('scored', 'uniform')
    """
    first, second = SOLVED if method is None and solved else PLAIN
    shares = parse_pattern(blocks).sparsity is None
    return method or first, budget or (second if shares else PLAIN[1])


def mask_(
    bundle: ModelBundle,
    case: MaskCase,
    *,
    latency: float | None = None,
    deployment: Deployment | None = None,
    calibration: Calibration | None = None,
    recover: RecoverMasked | None = None,
    bar: Bar | None = None,
) -> MaskingOutcome:
    """Masks a model in place.

    Args:
        bundle: The model; its masks stay live.
        case: What is masked.
        latency: The fraction of the dense latency to reach, instead of the sparsity of ``case``.
        deployment: Where that is measured: the sparse engine with one example where None.
        calibration: For criteria that look at data; for a latency, harm is how far outputs move.
        recover: Gives the weights that stay the work of those that went.
        bar: Asked for a callback on the way to a latency.

    Raises:
        ConfigError: If options do not go together.
        MaskError: If nothing can be masked.
        BudgetError: If no sparsity reaches the latency.
    """
    dense, before = copy_model(bundle.model), masking_state(bundle.model)
    scores = None
    if case.method == "scored" and case.criterion != "magnitude":
        scores = weight_scores(bundle.model, bundle.example_inputs, case.criterion, calibration)
    outcome = None
    if latency is None:
        uses = weight_uses(bundle.model, bundle.example_inputs) if case.budget == BY_USES else None
        record = apply_masks_(bundle.model, case, scores=scores, uses=uses)
    else:
        bench = Bench.of(bundle.example_inputs, deployment or Deployment("sapwood", batch=1))
        measure, figure = masking_harm(bundle, calibration)
        with nullcontext() if bar is None else bar("masking") as progress:
            record, outcome = mask_to_latency_(
                bundle.model, case, latency, bench, scores=scores, measure=measure, figure=figure, progress=progress
            )
    recovery = None if recover is None else recover(bundle, dense)
    removed = copy_model(bundle.model)
    remove_masks_(removed)
    states = before, masking_state(bundle.model), masking_state(removed)
    return MaskingOutcome(record, outcome, recovery, *states)


def masking_record(done: MaskingOutcome, *, saved: Path | None = None) -> Masking:
    """Tells what masking did to a model, and the directory that it is in."""
    return records.make_part(
        Masking,
        {
            "case": asdict(done.record.case),
            "before": done.before,
            "masked": done.masked,
            "after_remove": done.after_remove,
            "mask_latency": done.latency,
            "recovery": done.recovery,
            "saved": None if saved is None else str(saved),
            "remarks": (*(f"not masked: {why}" for why in done.record.skipped), *done.record.notes),
        },
    )
