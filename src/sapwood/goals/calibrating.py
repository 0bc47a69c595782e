"""Reads the pictures that criteria and recovery look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from sapwood.data import OnBad, check_same_classes, data_parts, picture_files
from sapwood.errors import NoDataSetError
from sapwood.goals.targets import Calibration
from sapwood.nested import mapped
from sapwood.tasks import (
    CalibrationBatches,
    Inputs,
    Labels,
    calibration_batches,
    open_data,
    open_pictures,
    task_loss,
)
from sapwood.tasks.task import TaskLoss
from sapwood.types import Dataset, ModelBundle


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
        data: A data set that fits its task; any folder of pictures will do where no labels are looked at, and with
            ``labels="own"``. Several have ``+`` between them: pictures of the first are drawn first, and accuracy is
            measured on it alone.
        split: Which part of it.
        num_pictures: Pictures that are read, at most.
        labels: The data set's, or what the model itself finds.
        seed: Chooses the pictures.
        on_bad: ``"error"`` stops at a picture or label that is broken, ``"skip"`` leaves it out.

    Raises:
        ConfigError: If the model has no task, or its task no loss.
        DataError: If there is no such data set. The loss raises it where pictures without labels were read for
            ``labels="data"``.
    """
    loss = task_loss(bundle, labels)
    opened = [_opened(bundle, part, split=split, labels=labels, on_bad=on_bad) for part in data_parts(data)]
    datasets, bare = [dataset for dataset, _ in opened], [why for _, why in opened if why is not None]
    batches = _drawn(bundle, datasets, num_pictures, seed)
    if bare:
        loss = _without_labels(bare[0])
    elif labels == "data":
        loss = _of_same_classes(bundle, datasets, loss)
    return Calibration(list(batches), loss, datasets[0])


def pictures_without_labels(
    bundle: ModelBundle, data: str | Path, *, split: str = "train", num_pictures: int = 1000, seed: int = 0
) -> list[Inputs]:
    """Reads what recovery looks at: inputs of the network, in batches.

    Args:
        bundle: The dense model.
        data: A data set that fits its task, or any folder of pictures; or several, with ``+`` between them, of which
            the first is drawn from first.
        split: Which part of it.
        num_pictures: Pictures that are read, at most.
        seed: Chooses them.
    """
    datasets = [open_pictures(bundle, part, split=split) for part in data_parts(data)]
    return [batch.inputs for batch in _drawn(bundle, datasets, num_pictures, seed)]


@dataclass(frozen=True)
class RecoveryPictures:
    """Inputs of the network, in batches.

    Attributes:
        own: Of the first folder.
        others: Of the others.
    """

    own: list[Inputs]
    others: list[Inputs]


def recovery_pictures(
    bundle: ModelBundle, data: str | Path, *, split: str = "train", num_pictures: int = 1000, seed: int = 0
) -> RecoveryPictures:
    """Reads what recovery looks at, as :func:`pictures_without_labels`, the first folder's apart from the others'."""
    datasets = [open_pictures(bundle, part, split=split) for part in data_parts(data)]
    first, *more = _drawn_each(bundle, datasets, num_pictures, seed)
    others = [sample for samples in more for sample in samples]
    return RecoveryPictures(
        [batch.inputs for batch in _batches(bundle, datasets[0], first, seed)],
        [batch.inputs for batch in _batches(bundle, datasets[0], others, seed)] if others else [],
    )


def recovery_batches(calibration: Calibration) -> RecoveryPictures:
    """The inputs that criteria looked at, the first folder's apart from the others'."""
    batches = list(calibration.batches)
    known = set() if calibration.dataset is None else {id(sample) for sample in calibration.dataset.samples}
    is_own = [[id(sample) in known for sample in getattr(batch, "samples", ())] for batch in batches]
    if not any(map(any, is_own)):  # nothing tells them apart
        return RecoveryPictures([batch.inputs for batch in batches], [])
    found = RecoveryPictures([], [])
    for batch, marks in zip(batches, is_own, strict=True):
        for part, wanted in ((found.own, True), (found.others, False)):
            chosen = [number for number, own in enumerate(marks) if own is wanted]
            if chosen:
                part.append(_rows(batch.inputs, chosen))
    return found


def _rows(inputs: Inputs, chosen: list[int]) -> Inputs:
    rows: Inputs = mapped(lambda one: one[chosen], inputs)
    return rows


def _of_same_classes(bundle: ModelBundle, datasets: Sequence[Dataset], loss: TaskLoss) -> TaskLoss:
    """``loss``, which ends in an error where it is asked for and the labels are those of other classes."""

    def checked(model: nn.Module, batch: Any) -> Tensor:
        for dataset in datasets:
            check_same_classes(dataset.name, dataset.class_names, bundle.task.class_names)
        return loss(model, batch)

    return checked


def _opened(bundle: ModelBundle, data: str, *, split: str, labels: Labels, on_bad: OnBad) -> tuple[Dataset, str | None]:
    """A data set, and why its labels cannot be looked at: pictures without any are opened as well."""
    try:
        opened = open_pictures if labels == "own" else open_data
        return opened(bundle, data, split=split, on_bad=on_bad), None
    except NoDataSetError as error:
        if not picture_files(data):
            raise
        why = f"{error}. Its pictures are enough where labels are the model's own: --labels own"
    return open_pictures(bundle, data, split=split, on_bad=on_bad), why


def _without_labels(why: str) -> TaskLoss:
    """A loss of pictures that have no labels: an error, where it is asked for."""

    def refused(model: nn.Module, batch: Any) -> Tensor:
        raise NoDataSetError(why)

    return refused


def _drawn(bundle: ModelBundle, datasets: Sequence[Dataset], num_pictures: int, seed: int) -> CalibrationBatches:
    """Pictures of the first data set before those of the second, as many as are asked for; mixed, where of several."""
    samples = [one for part in _drawn_each(bundle, datasets, num_pictures, seed) for one in part]
    if len(datasets) > 1:
        order = np.random.default_rng(seed).permutation(len(samples))
        samples = [samples[number] for number in order.tolist()]
    return _batches(bundle, datasets[0], samples, seed)


def _drawn_each(bundle: ModelBundle, datasets: Sequence[Dataset], num_pictures: int, seed: int) -> list[list[Any]]:
    """The samples of each data set: of the second as many as the first has too few, and so on."""
    drawn: list[list[Any]] = []
    for dataset in datasets:
        left = num_pictures - sum(map(len, drawn))
        reads = left > 0 or len(datasets) == 1
        drawn.append([*calibration_batches(bundle, dataset, num_pictures=left, seed=seed).samples] if reads else [])
    return drawn


def _batches(bundle: ModelBundle, dataset: Dataset, samples: Sequence[Any], seed: int) -> CalibrationBatches:
    """Samples as batches of the size that a model's task takes of a data set."""
    return replace(calibration_batches(bundle, dataset, seed=seed), samples=tuple(samples))
