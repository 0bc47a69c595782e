"""Measures any model by the task it is for."""

from __future__ import annotations

import os

from sapwood.arguments import check_kind
from sapwood.data import OnBad
from sapwood.errors import ConfigError
from sapwood.tasks.opening import open_data
from sapwood.tasks.running import Progress
from sapwood.tasks.task import TASKS, Measuring, any_task, labels_of
from sapwood.types import Dataset, Evaluation, ModelBundle


def evaluate(
    bundle: ModelBundle,
    dataset: Dataset | str | os.PathLike[str],
    *,
    batch_size: int = 8,
    score_threshold: float = 0.005,
    iou_threshold: float = 0.45,
    progress: Progress | None = None,
    on_bad: OnBad = "error",
    resamples: int = 0,
) -> Evaluation:
    """Measures the accuracy of a model on a data set.

    The model is run in evaluation mode and left as it was. ``seconds`` holds the wall time of reading and resizing
    pictures (``"read"``), the forward passes (``"network"``), decoding and NMS (``"postprocess"``), and the figures
    (``"score"``).

    Args:
        bundle: A detector or classifier; ``bundle.model`` may be any ``nn.Module`` that returns raw maps, or class
            scores.
        dataset: Pictures with boxes for a detector, with classes for a classifier; or where such a data set lies, of
            which the ``val`` part is taken.
        batch_size: Pictures a forward pass.
        score_threshold: Detections with a score of at most this are left out.
        iou_threshold: Overlap above which NMS drops the weaker box of a class.
        progress: Called with the pictures done and those in all.
        on_bad: ``"error"`` stops at a picture that cannot be read, ``"skip"`` leaves it out and lists it in
            ``skipped``.
        resamples: Samples of the pictures, drawn with replacement, that the primary figure is formed of, too.

    Returns:
        mAP@0.5 and mAP@[.5:.95], or top-1 and (with more than five classes) top-5; all in [0, 1].

    Raises:
        ConfigError: If the model has no task, the data set is of another task, or an option is out of range.
        DataError: If the classes of data set and model differ in number, or in every name, nothing can be read, or
            there is no box to find.
        ImageError: If a picture cannot be read and ``on_bad`` is ``"error"``.
        ShapeError: If the model returns something else than its task says.
        WeightsError: If the model returns NaN.
    """
    check_kind("bundle", bundle, ModelBundle, "a model with its task, as sapwood.load_model returns it")
    kind = bundle.task.kind
    if kind not in TASKS:
        raise ConfigError(
            f"{bundle.source.spec} has no task, so nothing says what its accuracy is; expected {any_task()} "
            "(set `task` of the ModelBundle)"
        )
    if isinstance(dataset, str | os.PathLike):
        dataset = open_data(bundle, os.fspath(dataset), on_bad=on_bad)
    known = tuple(TASKS[name].dataset for name in TASKS)
    check_kind("dataset", dataset, known, "a data set, or the folder or file where one lies")
    if not isinstance(dataset, TASKS[kind].dataset):
        raise ConfigError(
            f"{bundle.source.spec} is for {kind}, and {dataset.name} is a data set with {labels_of(dataset)}"
        )
    how = Measuring(batch_size, score_threshold, iou_threshold, progress, on_bad, resamples)
    return TASKS[kind].evaluate(bundle, dataset, how)
