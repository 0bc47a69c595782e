"""How far networks agree with the one that they were made from: an accuracy without labels."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from sapwood.arguments import check_kind
from sapwood.data import OnBad
from sapwood.errors import ConfigError, DataError
from sapwood.tasks.matched import PictureFigures
from sapwood.tasks.running import Progress
from sapwood.tasks.task import TASKS, Measuring, any_task, labels_of
from sapwood.types import Dataset, ModelBundle

SURE = 0.3
"""Detections of the dense network with a larger score stand for the true boxes."""

RESAMPLES = 1000
"""Samples of the pictures, drawn with replacement, that an interval is taken from."""

COVERED = 0.95
"""Fraction of these that an interval covers."""


@dataclass(frozen=True)
class Estimate:
    """A figure, and between which values 95 of 100 samples of as many pictures have it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """By how much one network's figure is above another's, on the same pictures.

    Attributes:
        network: The one.
        other: The one that is subtracted.
        estimate: Its interval is of differences on the same samples of the pictures, so that what makes pictures
            hard for both is not in it.
    """

    network: str
    other: str
    estimate: Estimate


@dataclass(frozen=True)
class Agreement:
    """How far networks agree with a dense one.

    Attributes:
        figure: What is measured: ``"mAP@0.5"`` or ``"top-1"``, with what the dense network finds for labels.
        networks: The figure of each, in [0, 1].
        differences: Of every two of them.
        num_images: Pictures that were looked at.
        num_found: What the dense network finds in them: boxes, or one class a picture.
        skipped: Pictures that were left out, with the reason.
    """

    figure: str
    networks: Mapping[str, Estimate]
    differences: tuple[Difference, ...]
    num_images: int
    num_found: int
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Compared:
    """What a task says of networks beside a dense one; see :class:`Agreement`."""

    figure: str
    networks: Mapping[str, PictureFigures]
    num_found: int
    skipped: tuple[str, ...]


@runtime_checkable
class ComparesNetworks(Protocol):
    """A task whose networks can be compared picture by picture."""

    def compare(
        self, dense: ModelBundle, networks: Mapping[str, ModelBundle], dataset: Any, how: Measuring
    ) -> Compared:
        """Runs all of them; of ``how``, ``score_threshold`` is that of the networks, not of the dense one."""


def agreement(
    dense: ModelBundle,
    networks: Mapping[str, ModelBundle],
    dataset: Dataset,
    *,
    batch_size: int = 8,
    score_threshold: float = 0.005,
    iou_threshold: float = 0.45,
    seed: int = 0,
    progress: Progress | None = None,
    on_bad: OnBad = "error",
) -> Agreement:
    """Measures how far networks find what a dense one finds; labels are not looked at.

    Of a detector the dense network's detections with a score above :data:`SURE` stand for the true boxes, and the
    figure is mAP@0.5 as COCO defines it; of a classifier, its best class stands for the true one. Intervals come from
    :data:`RESAMPLES` samples of the pictures, drawn with replacement and the same for all networks.

    Args:
        dense: What the networks were made from.
        networks: By the name that the result calls them: pruned, masked, trained anew; of the same task and classes.
        dataset: Pictures of the task, labelled or not.
        batch_size: Pictures a forward pass.
        score_threshold: Detections of the networks with a score of at most this are left out.
        iou_threshold: Overlap at which NMS drops the weaker box.
        seed: Of the samples.
        progress: Called with the pictures done and those in all, anew for each network.
        on_bad: ``"error"`` stops at a picture that cannot be read, ``"skip"`` leaves it out and lists it.

    Raises:
        ConfigError: If the dense model has no task that can be compared, a network is of another one or scores another
            number of classes, there is no network, or the data set is of another task.
        DataError: If the dense network finds nothing, or nothing can be read.
        ImageError: If a picture cannot be read and ``on_bad`` is ``"error"``.

    References:
        Efron, Bootstrap Methods: Another Look at the Jackknife, 1979, doi:10.1214/aos/1176344552.
    """
    check_kind("dense", dense, ModelBundle, "a model with its task, as sapwood.load_model returns it")
    task = _task(dense, dataset)
    if not networks:
        raise ConfigError("no network to compare with the dense one; expected at least one")
    for name, network in networks.items():
        check_kind(f"networks[{name!r}]", network, ModelBundle, "a model with its task")
        if network.task.kind != dense.task.kind:
            raise ConfigError(f"{name} is for {network.task.kind} and {dense.source.spec} for {dense.task.kind}")
    how = Measuring(batch_size, score_threshold, iou_threshold, progress, on_bad)
    compared = task.compare(dense, networks, dataset, how)
    num_images = len(next(iter(compared.networks.values())))
    counts = _samples(num_images, seed)
    values = {name: one.figure(counts) for name, one in compared.networks.items()}
    if bool(next(iter(values.values()))[0].isnan()):
        raise DataError(
            f"{dense.source.spec} finds nothing with a score above {SURE} in the {num_images} pictures of "
            f"{dataset.name}; expected something to agree with"
        )
    differences = tuple(
        Difference(name, other, _estimate(values[name] - values[other]))
        for other, name in itertools.combinations(values, 2)
    )
    return Agreement(
        compared.figure,
        {name: _estimate(found) for name, found in values.items()},
        differences,
        num_images,
        compared.num_found,
        compared.skipped,
    )


def has_agreement(bundle: ModelBundle, dataset: Dataset) -> bool:
    """Whether there is such a figure for a network's task, on such data."""
    if bundle.task.kind not in TASKS:
        return False
    task = TASKS[bundle.task.kind]
    return isinstance(task, ComparesNetworks) and isinstance(dataset, task.dataset)


def _task(dense: ModelBundle, dataset: Dataset) -> ComparesNetworks:
    kind = dense.task.kind
    if kind not in TASKS:
        raise ConfigError(
            f"{dense.source.spec} has no task, so nothing says what it finds; expected {any_task(ComparesNetworks)}"
        )
    task = TASKS[kind]
    if not isinstance(task, ComparesNetworks):
        raise ConfigError(f"{dense.source.spec} is {task.title}; nothing says how far two of them agree")
    if not isinstance(dataset, task.dataset):
        raise ConfigError(
            f"{dense.source.spec} is for {kind}, and {dataset.name} is a data set with {labels_of(dataset)}"
        )
    return task


def _samples(num_pictures: int, seed: int) -> Tensor:  # shape: (1 + RESAMPLES, pictures)
    """How often each picture is in each sample; the first has each once."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(num_pictures, (RESAMPLES, num_pictures), generator=generator)
    counts = torch.zeros(RESAMPLES, num_pictures, dtype=torch.float64)
    counts.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))
    return torch.cat([torch.ones(1, num_pictures, dtype=torch.float64), counts])


def _estimate(values: Tensor) -> Estimate:  # shape: (1 + RESAMPLES,)
    """Of all pictures, and of the samples that have something to find."""
    values = values.double()  # a network that finds nothing has zeros of another type
    samples = values[1:][~values[1:].isnan()]
    low, high = ((1.0 - COVERED) / 2.0, (1.0 + COVERED) / 2.0)
    bounds = samples.quantile(torch.tensor([low, high], dtype=torch.float64))
    return Estimate(float(values[0]), float(bounds[0]), float(bounds[1]))
