"""How far the cases of a comparison find what the unpruned network finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from sapwood.cases import BASELINE, Candidate
from sapwood.comparing.measuring import MeasuringSetup
from sapwood.errors import SapwoodError
from sapwood.pipeline import measured_agreement
from sapwood.report import MeasuredAgreement
from sapwood.tasks import has_agreement
from sapwood.types import ModelBundle


def num_agreeing(dense: ModelBundle, subject: MeasuringSetup) -> int:
    """On how many pictures that is measured; on none where the task has no such figure, or the user has another."""
    if subject.measure is not None or not has_agreement(dense, subject.dataset):
        return 0
    return min(subject.settings.agreement_pictures, len(subject.dataset.samples))


def case_agreement(
    candidates: Mapping[str, Candidate], subject: MeasuringSetup
) -> tuple[MeasuredAgreement | None, str]:
    """Compares all cases on the same pictures, drawn from the data set.

    Args:
        candidates: By name, the unpruned network among them.
        subject: Data set and settings.

    Returns:
        Their agreement and the differences of every two; or None, and why, where that is worth a word.
    """
    dense, dataset = candidates[BASELINE].bundle, subject.dataset
    networks = {name: one.running for name, one in candidates.items() if name != BASELINE}
    count = num_agreeing(dense, subject)
    if not count or not networks:
        return None, ""
    chosen = sorted(np.random.default_rng(0).permutation(len(dataset.samples))[:count].tolist())
    samples: Any = tuple(dataset.samples[number] for number in chosen)
    try:
        batch_size = subject.settings.batch_size
        return measured_agreement(dense, networks, replace(dataset, samples=samples), batch_size=batch_size), ""
    except SapwoodError as error:
        return None, f"not measured: {error}"
