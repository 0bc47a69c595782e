"""Trains a model: one loop for every task, safe to kill, resumed to the same numbers."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.utils.data import default_collate

from sapwood.config import TrainConfig
from sapwood.errors import TrainingError
from sapwood.models import copy_model, framework_of
from sapwood.tasks import Progress, evaluate
from sapwood.training.batches import BatchLoader, background_threads
from sapwood.training.objectives import AnyLoss, AnyTaskLoss, Distilling, Objective, make_objective
from sapwood.training.plugins import Plugin
from sapwood.training.preparation import prepare
from sapwood.training.processes import check_batch, find_processes, share_of
from sapwood.training.run import METRICS, TrainingRun, start_run
from sapwood.training.schedule import learning_rate
from sapwood.types import Dataset, Evaluation, ModelBundle

Measure: TypeAlias = "Callable[[ModelBundle], Evaluation]"
_Sampling: TypeAlias = "Callable[[ModelBundle, int], Evaluation]"
MakePlugins: TypeAlias = "Callable[[ModelBundle], Sequence[Plugin]]"

SAMPLES = 400
"""Of the pictures, that the interval of the last figure is formed of."""


@dataclass(frozen=True)
class TrainResult:
    """What training gave.

    Attributes:
        bundle: The model with its best averaged weights (the last ones where nothing was measured), in eval mode.
        evaluation: The measurement of ``bundle`` on the validation data, if there were any.
        history: One record an epoch, as in ``metrics.jsonl``.
        files: What was written, by name: ``"metrics"`` and, of a Darknet network, ``"cfg"``, ``"last"`` and ``"best"``.
        skipped: Pictures that could not be read, a sentence each.
    """

    bundle: ModelBundle
    evaluation: Evaluation | None
    history: tuple[Mapping[str, Any], ...]
    files: Mapping[str, Path]
    skipped: tuple[str, ...] = ()


def train(
    bundle: ModelBundle,
    dataset: Any,
    *,
    config: TrainConfig,
    run_dir: str | Path,
    val_dataset: Dataset | None = None,
    loss: AnyTaskLoss | None = None,
    collate: Callable[[list[Any]], Any] = default_collate,
    measure: Measure | None = None,
    plugins: MakePlugins | None = None,
    teacher: ModelBundle | None = None,
    progress: Progress | None = None,
    on_epoch: Callable[[Mapping[str, Any]], None] | None = None,
) -> TrainResult:
    """Trains a copy of a model.

    After every epoch ``run_dir`` holds a checkpoint that replaced the one before in one step. Killed at any time, the
    run goes on from there with ``config.resume`` and, on the same machine with as many threads, ends with the same
    weights bit for bit as if it had never stopped.

    In processes that ``accelerate launch`` or ``torchrun`` started, each takes its share of every batch of
    ``config.batch_size``; the first writes the files, and all return the same.

    Args:
        bundle: The model and its task; never changed.
        dataset: The training pictures; with ``loss``, examples of any kind.
        config: How to train.
        run_dir: Where checkpoints, ``metrics.jsonl`` and the results go.
        val_dataset: Measured every ``config.eval_every`` epochs with the averaged weights; the best are kept.
        loss: Of (model, batch): a scalar, or scalars by name of which ``"total"`` is minimised. None takes the task's.
        collate: Makes a batch of a list of examples; used with ``loss``.
        measure: Takes the place of measuring ``val_dataset`` as the model's task is measured.
        plugins: Given what is trained, returns what joins in after each step: sparse training, gradual pruning
            (:func:`sapwood.pipeline.training_plugins` makes what ``config`` says).
        teacher: A model of the same task whose outputs the loss also compares with, ``config.distill_weight``, and with
            ``config.feature_weight`` also where its layers look.
        progress: Called after every step with (steps done, steps in all).
        on_epoch: Called after every epoch with what ``metrics.jsonl`` keeps of it.

    Raises:
        TrainingError: If model, data and config do not fit, the run in ``run_dir`` is of another kind, or the loss
            is no longer finite.
        DataError: If a picture cannot be read and ``config.on_bad`` is ``"error"``.
        MissingDependencyError: If there are several processes and accelerate is not installed.
    """
    directory, processes = Path(run_dir), find_processes()
    check_batch(config.batch_size, processes)
    if loss is None:
        prepared = prepare(bundle, dataset, config)
        objective = make_objective(prepared, dataset, config, mean=processes.mean)
    else:
        prepared = replace(bundle, model=copy_model(bundle.model))
        objective = AnyLoss(dataset, loss, config, collate)
    if teacher is not None:
        objective = Distilling(objective, teacher, prepared, config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        joining = () if plugins is None else plugins(prepared)
        model = processes.placed(copy_model(prepared.model))
        run = start_run(model, config, directory, joining, processes)
        trainer = _Trainer(prepared, objective, _measure(val_dataset, measure, config), run, progress)
        trainer.run_all(on_epoch)
    return trainer.result()


class _Trainer:
    """The loop over epochs and steps."""

    def __init__(
        self,
        bundle: ModelBundle,
        objective: Objective,
        measure: _Sampling | None,
        run: TrainingRun,
        progress: Progress | None,
    ) -> None:
        self._bundle = bundle
        self._objective = objective
        self._measure = measure
        self._run = run
        self._progress = progress
        self._processes = run.processes
        self._model = self._processes.joined(run.model)
        config = run.config
        self._loader = BatchLoader(
            lambda epoch, indices: objective.batch(epoch, share_of(indices, self._processes)),
            count=objective.num_pictures,
            batch_size=config.batch_size,
            seed=config.seed,
            num_threads=background_threads(config.loader_threads, next(run.model.parameters()).device),
            multiple_of=self._processes.count,
        )
        self._total_steps = config.epochs * len(self._loader)

    def run_all(self, on_epoch: Callable[[Mapping[str, Any]], None] | None = None) -> None:
        """Trains the epochs that are left; what was begun to be saved is on disk however this ends."""
        try:
            self._train_epochs(on_epoch)
        finally:
            self._run.settle()

    def _train_epochs(self, on_epoch: Callable[[Mapping[str, Any]], None] | None) -> None:
        while self._run.epoch < self._run.config.epochs:
            epoch = self._run.epoch
            record = self._train_epoch(epoch)
            evaluation = self._measured(epoch)
            if evaluation is not None:
                record |= {name: round(value, 5) for name, value in evaluation.metrics.items()}
                record["eval_seconds"] = round(sum(evaluation.seconds.values()), 2)
            done = (epoch + 1) * len(self._loader)
            counts = all(one.is_done(step=done, total_steps=self._total_steps) for one in self._run.plugins)
            self._run.finish_epoch(record, evaluation.value if evaluation is not None and counts else None)
            if on_epoch is not None and self._processes.index == 0:
                on_epoch(record)

    def result(self) -> TrainResult:
        """Writes what a finished run leaves, and returns it."""
        run, processes = self._run, self._processes
        best = _with_state(self._bundle, processes.from_first(run.best_state))
        files = {"metrics": run.directory / METRICS}
        files |= processes.from_first(lambda: self._write_own(best.model))
        if "best" in files:
            best = replace(best, source=replace(best.source, weights=str(files["best"])))
        measure = self._measure
        evaluation = None if measure is None else processes.from_first(lambda: measure(best, SAMPLES))
        skipped = sorted({one for part in processes.gathered(self._objective.skipped) for one in part})
        return TrainResult(best, evaluation, tuple(run.history), files, tuple(skipped))

    def _train_epoch(self, epoch: int) -> dict[str, Any]:
        sums: dict[str, float] = defaultdict(float)
        examples, waited, began, rate = 0, 0.0, time.perf_counter(), 0.0
        for step, (batch, seconds) in enumerate(_timed(self._loader.epoch(epoch))):
            rate = self._set_rate(epoch, step)
            for name, value in self._step(batch, step + 1, rate).items():
                sums[name] += value
            examples += self._loader.batch_size
            waited += seconds
            if self._progress is not None and self._processes.index == 0:
                self._progress(epoch * len(self._loader) + step + 1, self._total_steps)
        seconds = time.perf_counter() - began
        everywhere = self._processes.gathered({name: value / len(self._loader) for name, value in sums.items()})
        return {
            "epoch": epoch + 1,
            "lr": rate,
            **{name: round(sum(part[name] for part in everywhere) / len(everywhere), 6) for name in sums},
            "images_per_second": round(examples / seconds, 2),
            "seconds": round(seconds, 2),
            "loader_wait_share": round(waited / seconds, 4),
            "skipped": sum(map(len, self._processes.gathered(self._objective.skipped))),
        }

    def _set_rate(self, epoch: int, step: int) -> float:
        steps = len(self._loader)
        rate = learning_rate(
            epoch * steps + step, total_steps=self._total_steps, steps_per_epoch=steps, config=self._run.config
        )
        for group in self._run.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _step(self, batch: Any, number: int, rate: float) -> dict[str, float]:
        run = self._run
        losses = self._objective.losses(self._model, batch)
        values = {name: float(value.detach()) for name, value in losses.items()}
        if not math.isfinite(values["total"]):
            raise TrainingError(
                f"the loss is {values['total']} at epoch {run.epoch + 1}, step {number} (lr {rate:.2g}); expected a "
                "finite number. Lower lr, lengthen warmup_epochs or set clip_norm; the checkpoint after "
                f"{run.epoch} epochs is intact"
            )
        run.optimizer.zero_grad(set_to_none=True)
        losses["total"].backward()  # type: ignore[no-untyped-call]
        if run.config.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(run.model.parameters(), run.config.clip_norm)
        run.optimizer.step()
        steps = len(self._loader) * run.epoch + number
        for plugin in run.plugins:
            found = plugin.after_step_(run.model, step=steps, total_steps=self._total_steps, lr=rate)
            values |= {f"{plugin.name}_{name}": value for name, value in found.items()}
        run.average.update(run.model)
        return values

    def _measured(self, epoch: int) -> Evaluation | None:
        """Measures the averaged weights, where it is time to."""
        config, measure = self._run.config, self._measure
        if measure is None or ((epoch + 1) % config.eval_every and epoch + 1 < config.epochs):
            return None
        averaged = _with_state(self._bundle, self._run.averaged())
        if self._processes.device is not None:
            averaged.model.to(self._processes.device)
        return self._processes.from_first(lambda: measure(averaged, 0))

    def _write_own(self, best: nn.Module) -> dict[str, Path]:
        """Writes the files of the model's framework."""
        run = self._run
        return framework_of(best).write_trained(
            best,
            lambda: _with_state(self._bundle, run.averaged()).model,
            run.directory,
            num_pictures=run.config.batch_size * run.average.num_updates,
        )


def _measure(val_dataset: Dataset | None, measure: Measure | None, config: TrainConfig) -> _Sampling | None:
    """What measures, with so many samples of the pictures, where that is known of single ones."""
    if measure is not None:
        return lambda bundle, _: measure(bundle)
    if val_dataset is None:
        return None
    return lambda bundle, samples: evaluate(bundle, val_dataset, on_bad=config.on_bad, resamples=samples)


def _timed(batches: Iterator[Any]) -> Iterator[tuple[Any, float]]:
    """Each batch with the seconds that were spent waiting for it."""
    while True:
        began = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            return
        yield batch, time.perf_counter() - began


def _with_state(bundle: ModelBundle, state: Mapping[str, torch.Tensor]) -> ModelBundle:
    """A copy of the bundle with these weights, in evaluation mode."""
    model = copy_model(bundle.model)
    model.load_state_dict(dict(state))
    return replace(bundle, model=model.eval())
