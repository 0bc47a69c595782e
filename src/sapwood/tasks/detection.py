"""Detectors: finding objects in pictures, and measuring how well."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from sapwood.arguments import check_kind
from sapwood.data import Findings, OnBad, check_same_classes, read_image, to_input
from sapwood.errors import ConfigError, DataError, ShapeError
from sapwood.models import framework_of
from sapwood.tasks.agreeing import SURE, Compared
from sapwood.tasks.listed import check_threshold, find_in_samples, find_listed, listed_head
from sapwood.tasks.matched import MatchedDetections
from sapwood.tasks.mean_ap import AveragePrecision, distinct_names, mean_average_precision
from sapwood.tasks.postprocess import postprocess
from sapwood.tasks.resampled import resampled_precision
from sapwood.tasks.running import Progress, Stopwatch, check_finite, evaluating, read_batches, timed
from sapwood.tasks.task import Measuring
from sapwood.types import DetectionDataset, Detections, DetectionSample, Evaluation, ModelBundle, Picture

PRIMARY = "mAP@0.5"


def detect(
    bundle: ModelBundle,
    pictures: Sequence[Picture | str | os.PathLike[str]],
    *,
    score_threshold: float = 0.25,
    iou_threshold: float = 0.45,
) -> list[Detections]:
    """Finds objects in pictures, one picture a forward pass.

    Args:
        bundle: A detector.
        pictures: uint8, shape (height, width, 3) each, or names of picture files; sizes may differ.
        score_threshold: Detections with a score of at most this are left out.
        iou_threshold: Overlap above which NMS drops the weaker box of a class; a detector that lists what it finds has
            its own.

    Returns:
        One entry a picture, best score first, boxes in pixels of the picture.

    Raises:
        ConfigError: If the model is no detector, or a threshold is outside [0, 1].
        ImageError: If a picture is not uint8 RGB.
        ShapeError: If the model's maps do not fit its heads.
        WeightsError: If the model returns NaN.
    """
    check_kind("bundle", bundle, ModelBundle, "a model with its task, as sapwood.load_model returns it")
    check_kind("pictures", pictures, (tuple, list), "a list of pictures")
    if bundle.task.kind != "detection":
        raise ConfigError(f"{bundle.source.spec} is no detector: its task is {bundle.task.kind!r}")
    found: list[Detections] = []
    read = [_read(picture, number) for number, picture in enumerate(pictures)]
    listed = listed_head(bundle.task.heads)
    with evaluating(bundle.model) as run:
        if listed is not None:
            check_threshold(score_threshold)
            return [find_listed(run, picture, listed, bundle.model, score_threshold) for picture in read]
        for picture in read:
            values, placement = to_input(picture, bundle.task)
            maps = as_maps(run(values[None]), bundle.model)
            found += postprocess(
                maps, bundle.task, [placement], score_threshold=score_threshold, iou_threshold=iou_threshold
            )
    return found


def _read(picture: Picture | str | os.PathLike[str], number: int) -> Picture:
    if isinstance(picture, str | os.PathLike):
        return read_image(Path(picture))
    check_kind(
        f"pictures[{number}]", picture, np.ndarray, "a NumPy array, uint8 of shape (height, width, 3), or a file"
    )
    return picture


def evaluate_detection(
    bundle: ModelBundle,
    dataset: DetectionDataset,
    *,
    batch_size: int = 8,
    score_threshold: float = 0.005,
    iou_threshold: float = 0.45,
    progress: Progress | None = None,
    on_bad: OnBad = "error",
    resamples: int = 0,
) -> Evaluation:
    """Measures mAP@0.5 and mAP@[.5:.95]; see :func:`sapwood.tasks.evaluate`."""
    _check_classes(bundle, dataset)
    watch, findings = Stopwatch(), Findings(on_bad)
    how = Measuring(batch_size, score_threshold, iou_threshold, progress, on_bad)
    found, measured = find_in(bundle, dataset, how, findings, watch)
    with watch.part("score"):
        precision = _average_precision(bundle, found, replace(dataset, samples=tuple(measured)))
        resampled = resampled_precision(found, measured, resamples, measured=precision.map_50)
    return Evaluation(
        primary=PRIMARY,
        metrics={PRIMARY: precision.map_50, "mAP@[.5:.95]": precision.map_50_95},
        per_class=precision.per_class,
        num_images=len(measured),
        seconds=dict(watch.seconds),
        skipped=(*dataset.skipped, *findings.skipped),
        resampled=resampled,
    )


def find_in(
    bundle: ModelBundle, dataset: DetectionDataset, how: Measuring, findings: Findings, watch: Stopwatch
) -> tuple[list[Detections], list[DetectionSample]]:
    """Returns what a detector finds in every picture that can be read, and these pictures.

    Args:
        bundle: The detector.
        dataset: The pictures; boxes are not looked at.
        how: Thresholds, batches, and who is told how far it is.
        findings: Is told of pictures that cannot be read.
        watch: Counts the time of each part.
    """
    if listed_head(bundle.task.heads) is not None:
        read, listed = find_in_samples(bundle, dataset.samples, how, watch, findings)
        return listed, list(read)
    found: list[Detections] = []
    measured: list[DetectionSample] = []
    batches = read_batches(dataset.samples, bundle.task, how.batch_size, findings, how.progress)
    with evaluating(bundle.model) as run:
        for batch in timed(batches, watch):
            with watch.part("network"):
                maps = as_maps(run(batch.inputs), bundle.model)
            with watch.part("postprocess"):
                found += postprocess(
                    maps,
                    bundle.task,
                    batch.placements,
                    score_threshold=how.score_threshold,
                    iou_threshold=how.iou_threshold,
                    clipped=framework_of(bundle.model).clips_boxes,
                )
            measured += batch.samples
    return found, measured


def compare_detectors(
    dense: ModelBundle, networks: Mapping[str, ModelBundle], dataset: DetectionDataset, how: Measuring
) -> Compared:
    """Matches what detectors find with what a dense one is sure of; see :func:`sapwood.tasks.agreement`."""
    for name, network in {dense.source.spec: dense, **networks}.items():
        _check_heads(name, network)
        wanted, own = (one.task.heads[0].num_classes for one in (dense, network))
        if wanted != own:
            raise ConfigError(f"{name} scores {own} classes and {dense.source.spec} {wanted}; expected as many")
    findings = Findings(how.on_bad)
    truth, _ = find_in(dense, dataset, replace(how, score_threshold=SURE), findings, Stopwatch())
    figures = {
        name: MatchedDetections(find_in(one, dataset, how, Findings(how.on_bad), Stopwatch())[0], truth)
        for name, one in networks.items()
    }
    num_found = sum(len(one.labels) for one in truth)
    return Compared(PRIMARY, figures, num_found, (*dataset.skipped, *findings.skipped))


def _average_precision(bundle: ModelBundle, found: Sequence[Detections], dataset: DetectionDataset) -> AveragePrecision:
    """As the model's framework counts it, or COCO."""
    pairs = zip(found, dataset.samples, strict=True)
    own = framework_of(bundle.model).average_precision(bundle.model, pairs)
    if not own:
        return mean_average_precision(found, dataset)
    names = distinct_names(dataset.class_names)
    at_50, over = (sum(values) / len(own) for values in zip(*own.values(), strict=True))
    return AveragePrecision(at_50, over, {names[label]: one for label, (one, _) in own.items()})


def as_maps(outputs: Any, model: nn.Module) -> tuple[Tensor, ...]:
    """Returns what a detector gave as float32 maps on the CPU.

    Raises:
        ShapeError: If it is not a tensor or a sequence of tensors.
        WeightsError: If a map holds NaN.
    """
    maps = (outputs,) if isinstance(outputs, Tensor) else outputs
    if not isinstance(maps, (tuple, list)) or not all(isinstance(raw, Tensor) for raw in maps):
        raise ShapeError(
            f"a detector returns a tensor or a tuple of tensors, its raw maps; got {type(outputs).__name__}"
        )
    check_finite(maps, model)
    return tuple(raw.float().cpu() for raw in maps)


def _check_classes(bundle: ModelBundle, dataset: DetectionDataset) -> None:
    _check_heads(bundle.source.spec, bundle)
    wanted, held = bundle.task.heads[0].num_classes, len(dataset.class_names)
    if wanted != held:
        raise DataError(f"{dataset.name} has {held} classes and the model scores {wanted}; expected as many")
    check_same_classes(dataset.name, dataset.class_names, bundle.task.class_names)


def _check_heads(name: str, bundle: ModelBundle) -> None:
    if not bundle.task.heads:
        raise ConfigError(f"{name} is a detector whose task describes no heads; expected one an output map")
