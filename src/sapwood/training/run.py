"""The state of a training run: model, optimizer, average, history; saved after every epoch and taken up again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from sapwood.config import TrainConfig
from sapwood.errors import TrainingError
from sapwood.files import check_folder, remove_unfinished, write_text
from sapwood.models import check_no_model
from sapwood.reading import reading
from sapwood.training.checkpoint import (
    EXPECTED,
    Checkpoint,
    check_fits,
    optimizer_tensors,
    prefixed,
    progress_of,
    read_checkpoint,
    restore_model,
    restore_optimizer,
    write_checkpoint,
)
from sapwood.training.ema import WeightAverage
from sapwood.training.plugins import Plugin
from sapwood.training.processes import Alone, Processes
from sapwood.training.saving import Saver

CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"
METRICS = "metrics.jsonl"

_MAY_DIFFER = frozenset({"resume", "loader_threads", "cache_mb"})
"""Fields that change no number, so a resumed run may have others."""


@dataclass
class TrainingRun:
    """A training run between two steps.

    Attributes:
        model: What is trained, in place.
        optimizer: Over its parameters.
        average: Of its weights.
        config: How it is trained.
        directory: Where its files stand.
        history: One record an epoch that is done.
        best: The best measured figure so far, if any.
        plugins: What joins in after each step.
        processes: That train it together; the first writes the files.
    """

    model: nn.Module
    optimizer: Optimizer
    average: WeightAverage
    config: TrainConfig
    directory: Path
    history: list[dict[str, Any]] = field(default_factory=list)
    best: float | None = None
    plugins: Sequence[Plugin] = ()
    processes: Processes = field(default_factory=Alone)
    _saver: Saver = field(default_factory=Saver)

    @property
    def epoch(self) -> int:
        """The number of epochs done."""
        return len(self.history)

    def finish_epoch(self, record: Mapping[str, Any], figure: float | None) -> None:
        """Saves everything as it is at the end of an epoch; ``figure`` is what was measured, if it was.

        Files are written while the next epoch runs; an error in that is raised here after that epoch, or by
        :meth:`settle`.
        """
        self.history.append(dict(record))
        best = None
        if figure is not None and (self.best is None or figure > self.best):
            self.best = figure
            best = Checkpoint(prefixed("average", self.averaged()), {"epoch": self.epoch, "figure": figure})
        self.processes.from_first(lambda: self._save(self._checkpoint(), best))

    def settle(self) -> None:
        """Returns once this process's files are on disk."""
        self._saver.wait()

    def resume(self) -> None:
        """Takes up the run that stands in the directory.

        Raises:
            TrainingError: If its checkpoint is damaged, or of another model or config.
        """
        path = self.directory / CHECKPOINT
        checkpoint = self.processes.from_first(lambda: read_checkpoint(path))
        with reading(path, EXPECTED, TrainingError):
            self._restore(path, checkpoint)
        self.processes.from_first(lambda: self._write_metrics(self.history))

    def _restore(self, path: Path, checkpoint: Checkpoint) -> None:
        self._check_config(path, checkpoint.record["config"])
        self.history, self.best, num_updates = progress_of(checkpoint.record, path)
        restore_model(self.model, checkpoint.part("model"), path)
        restore_optimizer(self.optimizer, checkpoint.part("optimizer"))
        check_fits(self.average.state, checkpoint.part("average"), path)
        self.average.restore(checkpoint.part("average"), num_updates)
        for plugin in self.plugins:
            plugin.restore(checkpoint.part(plugin.name))
        torch.set_rng_state(checkpoint.tensors["rng"])

    def averaged(self) -> dict[str, Tensor]:
        """Returns the averaged weights, zero where plug-ins keep zeros."""
        state = {name: value.clone() for name, value in self.average.state.items()}
        for plugin in self.plugins:
            plugin.settle_(state)
        return state

    def best_state(self) -> dict[str, Tensor]:
        """Returns the averaged weights that measured best, the last ones where nothing was measured."""
        if self.best is None:
            return self.averaged()
        self.settle()
        best = read_checkpoint(self.directory / BEST).part("average")
        check_fits(self.average.state, best, self.directory / BEST)
        return best

    def _checkpoint(self) -> Checkpoint:
        tensors = {
            **prefixed("model", self.model.state_dict()),
            **prefixed("average", self.average.state),
            **prefixed("optimizer", optimizer_tensors(self.optimizer)),
            "rng": torch.get_rng_state(),
        }
        for plugin in self.plugins:
            tensors |= prefixed(plugin.name, plugin.state())
        record = {
            "config": self.config.model_dump(mode="json"),
            "num_updates": self.average.num_updates,
            "history": self.history,
            "best": self.best,
        }
        return Checkpoint(tensors, record)

    def _check_config(self, path: Path, saved: Mapping[str, Any]) -> None:
        own = self.config.model_dump(mode="json")
        if _epochs_of(saved) <= self.config.epochs:  # a run may be made longer
            saved = {**saved, "epochs": self.config.epochs}
        differing = [name for name in own if name not in _MAY_DIFFER and own[name] != saved.get(name)]
        if differing:
            pairs = ", ".join(f"{name} {saved.get(name)!r} there and {own[name]!r} here" for name in differing)
            raise TrainingError(f"{path}: begun with another config: {pairs}; resume with the same one")

    def _save(self, checkpoint: Checkpoint, best: Checkpoint | None) -> None:
        checkpoint, best = checkpoint.copied(), best and best.copied()

        def write() -> None:
            if best is not None:
                write_checkpoint(self.directory / BEST, best)
            write_checkpoint(self.directory / CHECKPOINT, checkpoint)
            self._write_metrics(checkpoint.record["history"])

        self._saver.start(write)

    def _write_metrics(self, history: Sequence[Mapping[str, Any]]) -> None:
        write_text(self.directory / METRICS, "".join(json.dumps(record) + "\n" for record in history))


def holds_run(directory: Path) -> bool:
    """Whether a directory holds a run that can be gone on with."""
    return (directory / CHECKPOINT).is_file()


def epochs_done(directory: Path) -> int:
    """How many epochs of a run are on disk; 0 where there is none."""
    metrics = directory / METRICS
    if not holds_run(directory) or not metrics.is_file():
        return 0
    return len(metrics.read_text(encoding="utf-8").splitlines())


def _epochs_of(saved: Mapping[str, Any]) -> int:
    """How long the run that was saved was to be; 0 where that cannot be told."""
    epochs = saved.get("epochs")
    return epochs if isinstance(epochs, int) else 0


def start_run(
    model: nn.Module,
    config: TrainConfig,
    directory: Path,
    plugins: Sequence[Plugin] = (),
    processes: Processes | None = None,
) -> TrainingRun:
    """Returns a run that is ready for its next step: a new one, or with ``config.resume`` the one in ``directory``.

    Raises:
        TrainingError: If there is a run in the directory and ``config.resume`` is off, or the model has no parameters.
        ConfigError: If the directory is a file, or that of a saved model.
        WriteError: If nothing can be written there.
    """
    processes = processes or Alone()
    processes.from_first(lambda: check_folder(directory))
    processes.from_first(lambda: check_no_model(directory))
    begun = processes.from_first((directory / CHECKPOINT).exists)
    if begun and not config.resume:
        raise TrainingError(
            f"{directory} holds a run already; go on with it by --resume (resume=True), or choose another directory"
        )
    processes.from_first(lambda: remove_unfinished(*(directory / name for name in (BEST, CHECKPOINT, METRICS))))
    if config.channels_last:
        model.to(memory_format=torch.channels_last)
    model.train()
    run = TrainingRun(
        model, make_optimizer(model, config), WeightAverage(model, decay=config.ema_decay), config, directory
    )
    run.plugins, run.processes = plugins, processes
    if begun:
        run.resume()
    return run


def make_optimizer(model: nn.Module, config: TrainConfig) -> Optimizer:
    """Returns the optimizer over the trainable parameters; only those with two or more dimensions decay."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        raise TrainingError("the model has no trainable parameters")
    groups: Iterable[dict[str, Any]] = [
        {"params": [parameter for parameter in trainable if parameter.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [parameter for parameter in trainable if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    if config.optimizer == "adamw":
        return AdamW(groups, lr=config.lr, betas=(config.momentum, 0.999), fused=True)
    return SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0, fused=True)
