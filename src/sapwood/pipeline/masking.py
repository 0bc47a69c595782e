"""What ``sapwood mask`` tells of a model: its record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from sapwood.goals import SparsityOutcome
from sapwood.masks import MaskCase, MaskingState
from sapwood.recovery import Recovered
from sapwood.report import Masking, records


def masking_record(
    case: MaskCase,
    states: Sequence[MaskingState],
    *,
    latency: SparsityOutcome | None = None,
    recovery: Recovered | None = None,
    saved: Path | None = None,
) -> Masking:
    """Tells what masking did to a model.

    Args:
        case: What was asked for.
        states: The model's tensors before, with the mask, and after `remove`.
        latency: How a latency target was met.
        recovery: What was done to the weights that stay.
        saved: The directory that the model is in.
    """
    before, masked, after_remove = states
    return records.make_part(
        Masking,
        {
            "case": asdict(case),
            "before": before,
            "masked": masked,
            "after_remove": after_remove,
            "mask_latency": latency,
            "recovery": recovery,
            "saved": None if saved is None else str(saved),
        },
    )
