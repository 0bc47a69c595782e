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

from sapwood.config import TrainConfig
from sapwood.errors import TrainingError
from sapwood.files import write_text
from sapwood.models import copy_model
from sapwood.models.darknet import DarknetNetwork, write_cfg, write_weights
from sapwood.recovery.batches import BatchLoader
from sapwood.recovery.objectives import Batch, Distilling, Objective, make_objective
from sapwood.recovery.plugins import Plugin
from sapwood.recovery.precision import as_float32, mixed
from sapwood.recovery.preparation import prepare
from sapwood.recovery.run import METRICS, Run, start_run
from sapwood.recovery.schedule import learning_rate
from sapwood.tasks import Progress, evaluate
from sapwood.types import ClassificationDataset, DetectionDataset, Evaluation, ModelBundle

Dataset: TypeAlias = "DetectionDataset | ClassificationDataset"
MakePlugins: TypeAlias = "Callable[[ModelBundle], Sequence[Plugin]]"


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
    dataset: Dataset,
    *,
    config: TrainConfig,
    run_dir: str | Path,
    val_dataset: Dataset | None = None,
    plugins: MakePlugins | None = None,
    teacher: ModelBundle | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Trains a copy of a model.

    After every epoch ``run_dir`` holds a checkpoint that replaced the one before in one step. Killed at any time, the
    run goes on from there with ``config.resume`` and, on the same machine with as many threads, ends with the same
    weights bit for bit as if it had never stopped.

    Args:
        bundle: The model and its task; never changed.
        dataset: The training pictures.
        config: How to train.
        run_dir: Where checkpoints, ``metrics.jsonl`` and the results go.
        val_dataset: Measured every ``config.eval_every`` epochs with the averaged weights; the best are kept.
        plugins: Given what is trained, returns what joins in after each step: sparse training, gradual pruning
            (:func:`sapwood.pipeline.training_plugins` makes what ``config`` says).
        teacher: A model of the same task whose outputs the loss also compares with, ``config.distill_weight``.
        progress: Called after every step with (steps done, steps in all).

    Raises:
        TrainingError: If model, data and config do not fit, the run in ``run_dir`` is of another kind, or the loss
            is no longer finite.
        DataError: If a picture cannot be read and ``config.on_bad`` is ``"error"``.
    """
    directory = Path(run_dir)
    prepared = prepare(bundle, dataset, config)
    objective = make_objective(prepared, dataset, config)
    if teacher is not None:
        objective = Distilling(objective, teacher, prepared.task, config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        joining = () if plugins is None else plugins(prepared)
        run = start_run(prepared.model, config, directory, joining)
        _Trainer(prepared, objective, val_dataset, run, progress).run_all()
    return _finish(prepared, run, val_dataset, objective)


class _Trainer:
    """The loop over epochs and steps."""

    def __init__(
        self,
        bundle: ModelBundle,
        objective: Objective,
        val_dataset: Dataset | None,
        run: Run,
        progress: Progress | None,
    ) -> None:
        self._bundle = bundle
        self._objective = objective
        self._val_dataset = val_dataset
        self._run = run
        self._progress = progress
        config = run.config
        self._loader = BatchLoader(
            objective.batch,
            count=objective.num_pictures,
            batch_size=config.batch_size,
            seed=config.seed,
            num_threads=config.loader_threads,
        )
        self._total_steps = config.epochs * len(self._loader)

    def run_all(self) -> None:
        """Trains the epochs that are left."""
        while self._run.epoch < self._run.config.epochs:
            epoch = self._run.epoch
            record = self._train_epoch(epoch)
            evaluation = self._measure(epoch)
            if evaluation is not None:
                record |= {name: round(value, 5) for name, value in evaluation.metrics.items()}
                record["eval_seconds"] = round(sum(evaluation.seconds.values()), 2)
            done = (epoch + 1) * len(self._loader)
            counts = all(one.is_done(step=done, total_steps=self._total_steps) for one in self._run.plugins)
            self._run.finish_epoch(record, evaluation.value if evaluation is not None and counts else None)

    def _train_epoch(self, epoch: int) -> dict[str, Any]:
        sums: dict[str, float] = defaultdict(float)
        pictures, waited, began, rate = 0, 0.0, time.perf_counter(), 0.0
        for step, (batch, seconds) in enumerate(_timed(self._loader.epoch(epoch))):
            rate = self._set_rate(epoch, step)
            for name, value in self._step(batch, step + 1, rate).items():
                sums[name] += value
            pictures += len(batch.pictures)
            waited += seconds
            if self._progress is not None:
                self._progress(epoch * len(self._loader) + step + 1, self._total_steps)
        seconds = time.perf_counter() - began
        return {
            "epoch": epoch + 1,
            "lr": rate,
            **{name: round(value / len(self._loader), 6) for name, value in sums.items()},
            "images_per_second": round(pictures / seconds, 2),
            "seconds": round(seconds, 2),
            "loader_wait_share": round(waited / seconds, 4),
            "skipped": len(self._objective.skipped),
        }

    def _set_rate(self, epoch: int, step: int) -> float:
        steps = len(self._loader)
        rate = learning_rate(
            epoch * steps + step, total_steps=self._total_steps, steps_per_epoch=steps, config=self._run.config
        )
        for group in self._run.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _step(self, batch: Batch, number: int, rate: float) -> dict[str, float]:
        run = self._run
        inputs = self._objective.inputs(run.model, batch)
        with mixed(run.config.precision, inputs.device):
            outputs = run.model(inputs)
        losses = self._objective.losses(as_float32(outputs), inputs, batch)
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

    def _measure(self, epoch: int) -> Evaluation | None:
        """Measures the averaged weights, where it is time to."""
        config = self._run.config
        if self._val_dataset is None or ((epoch + 1) % config.eval_every and epoch + 1 < config.epochs):
            return None
        return evaluate(_with_state(self._bundle, self._run.averaged()), self._val_dataset, on_bad=config.on_bad)


def _timed(batches: Iterator[Batch]) -> Iterator[tuple[Batch, float]]:
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


def _finish(bundle: ModelBundle, run: Run, val_dataset: Dataset | None, objective: Objective) -> TrainResult:
    bundle.model.to(memory_format=torch.contiguous_format)
    best = _with_state(bundle, run.best_state())
    files = {"metrics": run.directory / METRICS}
    if isinstance(best.model, DarknetNetwork):
        files |= {"cfg": run.directory / "model.cfg"}
        write_text(files["cfg"], write_cfg(best.model.cfg))
        last = _with_state(bundle, run.averaged())
        for name, model in (("last", last.model), ("best", best.model)):
            assert isinstance(model, DarknetNetwork)
            seen = run.config.batch_size * run.average.num_updates
            model.header = replace(model.header, seen=model.header.seen + seen)
            files[name] = write_weights(run.directory / f"{name}.weights", model)
        best = replace(best, source=replace(best.source, weights=str(files["best"])))
    evaluation = None if val_dataset is None else evaluate(best, val_dataset, on_bad=run.config.on_bad)
    return TrainResult(best, evaluation, tuple(run.history), files, objective.skipped)
