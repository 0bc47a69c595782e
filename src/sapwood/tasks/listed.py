"""Detectors that list what they find in pictures of any size: torchvision's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sapwood.data import Findings, as_batch
from sapwood.errors import ConfigError, DataError, ImageError, ShapeError
from sapwood.tasks.running import Stopwatch, check_finite, evaluating
from sapwood.tasks.task import Measuring
from sapwood.types import Detections, DetectionSample, ListedHead, ModelBundle, Picture

WANTED = ("boxes", "scores", "labels")


def listed_head(heads: Sequence[object]) -> ListedHead | None:
    """The head of a detector that lists what it finds.

    Examples:
        >>> listed_head([ListedHead(1, (1,))]).num_classes
        1
    """
    return next((head for head in heads if isinstance(head, ListedHead)), None)


def check_threshold(score_threshold: float) -> None:
    """Refuses a threshold that is no score.

    Raises:
        ConfigError: If it is outside [0, 1].
    """
    if not 0 <= score_threshold <= 1:
        raise ConfigError(f"score_threshold is in [0, 1]; got {score_threshold}")


def find_in_samples(
    bundle: ModelBundle, samples: Sequence[DetectionSample], how: Measuring, watch: Stopwatch, findings: Findings
) -> tuple[tuple[DetectionSample, ...], list[Detections]]:
    """The samples that could be read, and what a detector finds in each.

    Each picture alone, whatever the batch size, as torchvision's own evaluation does it: in a batch smaller ones are
    padded, and near their edges other boxes are found.

    Raises:
        ConfigError: If the task has no head of this kind, or the threshold is no score.
        DataError: If there is no picture that can be read.
    """
    head = listed_head(bundle.task.heads)
    if head is None:
        raise ConfigError(f"{bundle.source.spec} does not list what it finds; expected a detector that does")
    check_threshold(how.score_threshold)
    measured, found = [], []
    with evaluating(bundle.model) as run:
        for number, sample in enumerate(samples, start=1):
            with watch.part("read"):
                picture = _read(sample, findings)
            if picture is not None:
                with watch.part("network"):
                    found.append(find_listed(run, picture, head, bundle.model, how.score_threshold))
                measured.append(sample)
            if how.progress is not None:
                how.progress(number, len(samples))
    if not measured:
        raise DataError(
            f"none of the {len(samples)} pictures can be read; the first reason: {findings.skipped[0]}"
            if samples
            else "the data set is empty; expected at least one picture"
        )
    return tuple(measured), found


def find_listed(
    run: Callable[[Tensor], Any], picture: Picture, head: ListedHead, model: nn.Module, score_threshold: float
) -> Detections:
    """What a detector finds in one picture, in its pixels; ``run`` is what :func:`evaluating` gives."""
    if picture.dtype != "uint8" or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise ImageError(f"a picture is uint8 of shape (height, width, 3); got {picture.dtype} {picture.shape}")
    values = as_batch(picture).to(torch.float32, memory_format=torch.contiguous_format).div_(255.0)
    return listed_detections(run(values), head, model, score_threshold)[0]


def listed_detections(outputs: Any, head: ListedHead, model: nn.Module, score_threshold: float) -> list[Detections]:
    """Reads what a detector returned, one entry a picture, best score first; labels of no class are left out.

    Raises:
        ShapeError: If it is no list of dicts with boxes, scores and labels.
        WeightsError: If a box or score is NaN.
    """
    if not isinstance(outputs, (list, tuple)) or not all(map(_is_listed, outputs)):
        raise ShapeError(
            f"a detector that lists what it finds returns a dict with {', '.join(WANTED)} a picture; got "
            f"{type(outputs).__name__}"
        )
    return [_detections(one, head, model, score_threshold) for one in outputs]


def _is_listed(one: object) -> bool:
    return isinstance(one, Mapping) and all(isinstance(one.get(name), Tensor) for name in WANTED)


def _detections(one: Mapping[str, Tensor], head: ListedHead, model: nn.Module, score_threshold: float) -> Detections:
    check_finite([one["boxes"], one["scores"]], model)
    boxes, scores, labels = one["boxes"].float().cpu(), one["scores"].float().cpu(), one["labels"].cpu()
    same = labels[:, None] == torch.tensor(head.labels)[None]  # shape: (N, classes)
    kept = torch.nonzero(same.any(dim=1) & (scores > score_threshold)).flatten()
    kept = kept[scores[kept].argsort(descending=True, stable=True)]
    return Detections(boxes[kept], scores[kept], same[kept].int().argmax(dim=1))


def _read(sample: DetectionSample, findings: Findings) -> Picture | None:
    try:
        return sample.load()
    except ImageError as error:
        findings.bad(str(error), ImageError)
        return None
