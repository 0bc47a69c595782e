"""Pictures that pruning and recovery did not look at, for a figure that tells the truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sapwood.data import data_parts
from sapwood.errors import DataError
from sapwood.tasks import calibration_batches, open_pictures
from sapwood.types import Dataset, ModelBundle

NUM_UNSEEN = 64
"""Pictures that agreement is measured on, at most."""


def unseen_pictures(
    bundle: ModelBundle, data: str | Path, *, train_split: str = "train", num_seen: int, seed: int = 0
) -> Dataset | None:
    """Returns pictures of the first folder, of its ``val`` part where it has one; None where all have been seen.

    Args:
        bundle: The dense model.
        data: The data set, or several, that recovery drew from.
        train_split: The part that it drew from.
        num_seen: How many it drew.
        seed: What it drew them by.

    Raises:
        DataError: If there is no such data set.
    """
    first = data_parts(data)[0]
    drawn_from = open_pictures(bundle, first, split=train_split)
    seen = {
        sample.image_id for sample in calibration_batches(bundle, drawn_from, num_pictures=num_seen, seed=seed).samples
    }
    try:
        dataset = open_pictures(bundle, first, split="val")
    except DataError:
        dataset = drawn_from
    left: list[Any] = [
        sample for sample in dataset.samples if dataset.name != drawn_from.name or sample.image_id not in seen
    ]
    chosen = np.random.default_rng(seed).permutation(len(left))[:NUM_UNSEEN].tolist()
    samples: Any = tuple(left[number] for number in chosen)
    return replace(dataset, samples=samples) if samples else None
