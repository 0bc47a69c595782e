"""Language models and classifiers of texts, as tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapwood.data import OnBad
from sapwood.errors import ConfigError, DataError, ShapeError
from sapwood.tasks.classification import PRIMARY, TOP, as_scores, label_ranks
from sapwood.tasks.divergence import class_divergence
from sapwood.tasks.mean_ap import distinct_names
from sapwood.tasks.objective import class_loss
from sapwood.tasks.running import Stopwatch, called, check_finite, evaluating, inputs_for, timed
from sapwood.tasks.task import TASKS, Labels, Measuring, Sighting, TaskLoss
from sapwood.tasks.texts import TokenBatch, open_labelled, open_running, read_token_batches
from sapwood.types import NO_TARGET, Evaluation, ModelBundle, Picture, TaskSpec, TextDataset

MOST_EXPONENT = 700.0
"""Losses are cut off there before their exponential is taken."""


class TextTask:
    """What all of them share; :meth:`open_for` is asked where a task's data are read as one model reads them."""

    labels: ClassVar[str] = "texts"
    dataset: ClassVar[type[Any]] = TextDataset
    has_temperature: ClassVar[bool] = True
    distill_rate: ClassVar[float] = 1e-4

    def open_data(self, path: str | Path, *, split: str, class_names: Sequence[str], on_bad: OnBad) -> TextDataset:
        """Refuses: a text is cut into tokens by the tokenizer of one model.

        Raises:
            ConfigError: Always.
        """
        del split, class_names, on_bad
        raise ConfigError(
            f"{path}: texts are read by a model's own tokenizer; expected sapwood.tasks.open_data(bundle, ...)"
        )

    def find(
        self, bundle: ModelBundle, pictures: Sequence[Picture], *, score_threshold: float, iou_threshold: float
    ) -> list[list[Sighting]]:
        """Nothing: there are no pictures."""
        del bundle, score_threshold, iou_threshold
        return [[] for _ in pictures]


class TextClassification(TextTask):
    """Telling what a text, or a pair of texts, is: one class."""

    title: ClassVar[str] = "a classifier"
    trainable: ClassVar[str] = "a classifier"

    def open_for(self, bundle: ModelBundle, path: str | Path, *, split: str, on_bad: OnBad) -> TextDataset:
        """Opens texts with their classes."""
        return open_labelled(bundle, path, split=split, on_bad=on_bad)

    def evaluate(self, bundle: ModelBundle, dataset: Any, how: Measuring) -> Evaluation:
        """Measures top-1, and top-5 where there are more than five classes."""
        watch = Stopwatch()
        _check_labels(dataset.samples)
        ranks, labels = [], []
        with evaluating(bundle.model) as run:
            for batch in timed(read_token_batches(dataset.samples, how.batch_size, how.progress), watch):
                with watch.part("network"):
                    scores = as_scores(run(batch.inputs), bundle.model, len(batch.samples))
                if scores.shape[1] != len(dataset.class_names):
                    raise DataError(f"the model scores {scores.shape[1]} classes; expected {len(dataset.class_names)}")
                labels.append(torch.tensor([sample.label for sample in batch.samples]))
                ranks.append(label_ranks(scores, labels[-1]))
        rank, label = torch.cat(ranks), torch.cat(labels)
        metrics = {PRIMARY: _share(rank < 1)}
        if len(dataset.class_names) > TOP:
            metrics[f"top-{TOP}"] = _share(rank < TOP)
        names = distinct_names(dataset.class_names)
        per_class = {names[held]: _share(rank[label == held] < 1) for held in sorted(set(label.tolist()))}
        return Evaluation(PRIMARY, metrics, per_class, len(rank), dict(watch.seconds), dataset.skipped)

    def loss(self, bundle: ModelBundle, labels: Labels) -> TaskLoss | None:
        """Cross-entropy."""

        def loss(model: nn.Module, batch: TokenBatch) -> Tensor:
            if labels == "own":
                with evaluating(bundle.model) as run:
                    targets = as_scores(run(batch.inputs), bundle.model, len(batch.samples)).argmax(dim=1)
            else:
                _check_labels(batch.samples)
                targets = torch.tensor([sample.label for sample in batch.samples])
            outputs = called(model, inputs_for(model, batch.inputs))
            return class_loss(getattr(outputs, "logits", outputs), targets, bundle.task)

        return loss

    def divergence(
        self, task: TaskSpec, outputs: Any, reference: Any, model: nn.Module, *, temperature: float
    ) -> Tensor:  # shape: ()
        """Of class probabilities."""
        return class_divergence(task, outputs, reference, model, temperature)


class LanguageModel(TextTask):
    """Telling each token of a text by those before it."""

    title: ClassVar[str] = "a language model"
    trainable: ClassVar[str] = title
    hidden: ClassVar[bool] = False

    def open_for(self, bundle: ModelBundle, path: str | Path, *, split: str, on_bad: OnBad) -> TextDataset:
        """Opens text that runs on."""
        return open_running(bundle, path, split=split, on_bad=on_bad, hidden=self.hidden)

    def evaluate(self, bundle: ModelBundle, dataset: Any, how: Measuring) -> Evaluation:
        """Measures the share of tokens that are told right, the mean loss of a token and its exponential."""
        watch = Stopwatch()
        loss, right, count = 0.0, 0, 0
        with evaluating(bundle.model) as run:
            for batch in timed(read_token_batches(dataset.samples, how.batch_size, how.progress), watch):
                with watch.part("network"):
                    scores = _token_scores(run(batch.inputs), bundle.model)
                with watch.part("score"):
                    rows, targets = _asked(scores, batch)
                    loss += float(F.cross_entropy(rows, targets, reduction="sum"))
                    right += int((rows.argmax(-1) == targets).sum())
                    count += len(targets)
        mean = loss / count
        metrics = {PRIMARY: right / count, "loss": mean, "perplexity": math.exp(min(mean, MOST_EXPONENT))}
        return Evaluation(PRIMARY, metrics, {}, len(dataset.samples), dict(watch.seconds), dataset.skipped)

    def loss(self, bundle: ModelBundle, labels: Labels) -> TaskLoss | None:
        """Cross-entropy of the tokens that are asked for; with ``"own"`` of those that the dense model tells."""

        def loss(model: nn.Module, batch: TokenBatch) -> Tensor:
            rows, targets = _asked(_token_scores(called(model, inputs_for(model, batch.inputs)), model), batch)
            if labels == "own":
                with evaluating(bundle.model) as run:
                    own, _ = _asked(_token_scores(run(batch.inputs), bundle.model), batch)
                targets = own.argmax(-1)
            return F.cross_entropy(rows, targets.to(rows.device))

        return loss

    def divergence(
        self, task: TaskSpec, outputs: Any, reference: Any, model: nn.Module, *, temperature: float
    ) -> Tensor:  # shape: ()
        """Of the probabilities of the tokens, a mean over places."""
        del task
        found, wanted = (
            (_token_scores(one, model).flatten(0, 1) / temperature).log_softmax(-1) for one in (outputs, reference)
        )
        return F.kl_div(found, wanted, log_target=True, reduction="batchmean") * temperature**2


class MaskedLanguageModel(LanguageModel):
    """Telling the tokens of a text that are hidden."""

    hidden: ClassVar[bool] = True


def _token_scores(outputs: Any, model: nn.Module) -> Tensor:  # shape: (B, L, vocabulary)
    scores = getattr(outputs, "logits", outputs)
    if not isinstance(scores, Tensor) or scores.ndim != 3:
        came = tuple(scores.shape) if isinstance(scores, Tensor) else type(outputs).__name__
        raise ShapeError(f"a language model returns a tensor of shape (B, L, vocabulary); got {came}")
    if not scores.requires_grad:
        check_finite([scores], model)
    return scores.float()


def _asked(scores: Tensor, batch: TokenBatch) -> tuple[Tensor, Tensor]:  # shapes: (N, vocabulary), (N,)
    """What the model says at the places that are asked about, and what is right there."""
    if batch.targets is None:
        raise DataError(f"{batch.samples[0].image_id} has a class; expected text that runs on, for a language model")
    asked = (batch.targets != NO_TARGET).to(scores.device)
    return scores[asked], batch.targets[batch.targets != NO_TARGET].to(scores.device)


def _check_labels(samples: Sequence[Any]) -> None:
    bare = next((sample for sample in samples if sample.label < 0), None)
    if bare is not None:
        raise DataError(f"{bare.image_id} has no label; expected a class, to measure a classifier of texts")


def _share(hits: Tensor) -> float:
    return float(hits.double().mean())


TASKS.register("text_classification")(TextClassification())
TASKS.register("causal_lm")(LanguageModel())
TASKS.register("masked_lm")(MaskedLanguageModel())
