"""Reads the pictures that criteria and recovery look at."""

from __future__ import annotations

from pathlib import Path

from sapwood.data import OnBad
from sapwood.goals.targets import Calibration
from sapwood.tasks import Inputs, Labels, calibration_batches, open_data, open_pictures, task_loss
from sapwood.types import ModelBundle


def calibrate(
    bundle: ModelBundle,
    data: str | Path,
    *,
    split: str = "train",
    num_pictures: int = 128,
    labels: Labels = "data",
    seed: int = 0,
    on_bad: OnBad = "error",
) -> Calibration:
    """Reads what criteria that look at data are computed from.

    Args:
        bundle: The dense model.
        data: A data set that fits its task; with ``labels="own"`` any folder of pictures will do.
        split: Which part of it.
        num_pictures: Pictures that are read, at most.
        labels: The data set's, or what the model itself finds.
        seed: Chooses the pictures.
        on_bad: ``"error"`` stops at a picture or label that is broken, ``"skip"`` leaves it out.

    Raises:
        ConfigError: If the model has no task, or its task no loss.
        DataError: If there is no such data set.
    """
    opened = open_pictures if labels == "own" else open_data
    dataset = opened(bundle, data, split=split, on_bad=on_bad)
    batches = calibration_batches(bundle, dataset, num_pictures=num_pictures, seed=seed)
    return Calibration(list(batches), task_loss(bundle, labels), dataset)


def pictures_without_labels(
    bundle: ModelBundle, data: str | Path, *, split: str = "train", num_pictures: int = 1000, seed: int = 0
) -> list[Inputs]:
    """Reads what recovery looks at: inputs of the network, in batches.

    Args:
        bundle: The dense model.
        data: A data set that fits its task, or any folder of pictures.
        split: Which part of it.
        num_pictures: Pictures that are read, at most.
        seed: Chooses them.
    """
    dataset = open_pictures(bundle, data, split=split)
    return [batch.inputs for batch in calibration_batches(bundle, dataset, num_pictures=num_pictures, seed=seed)]
