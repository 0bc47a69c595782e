"""Classifiers: measuring how often the right class is the best, or among the best five."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sapwood.data import Findings, OnBad, check_same_classes
from sapwood.errors import ConfigError, DataError, ShapeError
from sapwood.tasks.agreeing import Compared
from sapwood.tasks.matched import Hits
from sapwood.tasks.mean_ap import distinct_names
from sapwood.tasks.resampled import resampled_hits
from sapwood.tasks.running import Progress, Stopwatch, check_finite, evaluating, read_batches, timed
from sapwood.tasks.task import Measuring
from sapwood.types import ClassificationDataset, Evaluation, ModelBundle

PRIMARY = "top-1"
TOP = 5


def evaluate_classification(
    bundle: ModelBundle,
    dataset: ClassificationDataset,
    *,
    batch_size: int = 8,
    progress: Progress | None = None,
    on_bad: OnBad = "error",
    resamples: int = 0,
) -> Evaluation:
    """Measures top-1, and top-5 where the model has more than five classes; see :func:`sapwood.tasks.evaluate`."""
    watch, findings = Stopwatch(), Findings(on_bad)
    ranks, labels = [], []
    batches = read_batches(dataset.samples, bundle.task, batch_size, findings, progress)
    with evaluating(bundle.model) as run:
        for batch in timed(batches, watch):
            with watch.part("network"):
                scores = as_scores(run(batch.inputs), bundle.model, len(batch.samples))
            _check_classes(bundle, scores, dataset)
            with watch.part("postprocess"):
                labels.append(torch.tensor([sample.label for sample in batch.samples]))
                ranks.append(label_ranks(scores, labels[-1]))
    with watch.part("score"):
        rank, label = torch.cat(ranks), torch.cat(labels)
        metrics = {PRIMARY: _share(rank < 1)}
        if len(dataset.class_names) > TOP:
            metrics[f"top-{TOP}"] = _share(rank < TOP)
        names = distinct_names(dataset.class_names)
        per_class = {names[held]: _share(rank[label == held] < 1) for held in sorted(set(label.tolist()))}
        resampled = resampled_hits(rank < 1, resamples)
    skipped = (*dataset.skipped, *findings.skipped)
    return Evaluation(PRIMARY, metrics, per_class, len(rank), dict(watch.seconds), skipped, resampled)


def compare_classifiers(
    dense: ModelBundle, networks: Mapping[str, ModelBundle], dataset: ClassificationDataset, how: Measuring
) -> Compared:
    """Tells where classifiers find a dense one's class; see :func:`sapwood.tasks.agreement`."""
    findings = Findings(how.on_bad)
    wanted = _all_scores(dense, dataset, how, findings)
    figures = {}
    for name, network in networks.items():
        scores = _all_scores(network, dataset, how, Findings(how.on_bad))
        if scores.shape[1] != wanted.shape[1]:
            raise ConfigError(
                f"{name} scores {scores.shape[1]} classes and {dense.source.spec} {wanted.shape[1]}; expected as many"
            )
        figures[name] = Hits(scores.argmax(dim=1) == wanted.argmax(dim=1))
    return Compared(PRIMARY, figures, len(wanted), (*dataset.skipped, *findings.skipped))


def _all_scores(
    bundle: ModelBundle, dataset: ClassificationDataset, how: Measuring, findings: Findings
) -> Tensor:  # shape: (pictures, classes)
    batches = read_batches(dataset.samples, bundle.task, how.batch_size, findings, how.progress)
    with evaluating(bundle.model) as run:
        return torch.cat([as_scores(run(one.inputs), bundle.model, len(one.samples)) for one in batches])


def label_ranks(
    scores: Tensor,  # shape: (B, classes)
    labels: Tensor,  # shape: (B,)
) -> Tensor:  # shape: (B,)
    """Returns how many other classes score at least as much as the right one: 0 is best, ties count against the model.

    Examples:
        >>> label_ranks(torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.5, 0.0]]), torch.tensor([2, 0]))
        tensor([1, 1])
    """
    own = scores.gather(1, labels[:, None])
    return (scores >= own).sum(1) - 1


def as_scores(outputs: Any, model: nn.Module, num_pictures: int) -> Tensor:  # shape: (B, classes)
    """Returns what a classifier gave (a tensor, or an object with ``logits``) as float32 scores on the CPU.

    Raises:
        ShapeError: If it is not of shape (B, classes).
        WeightsError: If it holds NaN.
    """
    scores = getattr(outputs, "logits", outputs)
    if not isinstance(scores, Tensor):
        raise ShapeError(f"a classifier returns a tensor of shape (B, classes); got {type(outputs).__name__}")
    if scores.ndim != 2 or len(scores) != num_pictures:
        raise ShapeError(f"a classifier returns shape ({num_pictures}, classes); got {tuple(scores.shape)}")
    check_finite([scores], model)
    return scores.float().cpu()


def _share(hits: Tensor) -> float:
    return float(hits.double().mean())


def _check_classes(bundle: ModelBundle, scores: Tensor, dataset: ClassificationDataset) -> None:
    if scores.shape[1] != len(dataset.class_names):
        held = len(dataset.class_names)
        raise DataError(f"{dataset.name} has {held} classes and the model scores {scores.shape[1]}; expected as many")
    check_same_classes(dataset.name, dataset.class_names, bundle.task.class_names)
