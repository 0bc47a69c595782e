"""Pruning and fine-tuning with labels: Sapwood, Torch-Pruning's group norm, and the dense network, equally long.

    python benchmarks/finetune.py --macs 0.47 0.39 --epochs 14 --lr 0.01 --jobs 2

ResNet-56 on the 50,000 train pictures of the CIFAR-10 JPEG set; accuracy on its 5,000 test pictures, of the averaged
weights after the last epoch (nothing is chosen by them). Every row gets the same epochs in all, batches, augmentation,
rates and average of weights:

- dense: the network as it is, trained on; it is the teacher below.
- Sapwood: widths by `obs` and the knapsack of measured harms, layers solved anew on 5,000 train pictures without
  labels, then trained beside that teacher.
- Torch-Pruning: `GroupNormPruner` pulls for half of the epochs (strength 5e-4, as in its CIFAR example), then one
  threshold, the ratio bisected to the same MACs, then trained for the other half.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import nn

import sapwood
from sapwood.config import AugmentConfig, TrainConfig
from sapwood.pipeline import Calibration, compensation, scorer, sensitivity, sensitivity_measure
from sapwood.tasks import calibration_batches, evaluate, task_loss
from sapwood.training import train
from sapwood.training.batches import BatchLoader
from sapwood.training.objectives import make_objective
from sapwood.training.run import make_optimizer
from sapwood.training.schedule import learning_rate
from sapwood.types import ModelBundle

sys.path.insert(0, str(Path(__file__).resolve().parent))
from subjects import TOLERANCE, subject

AUGMENT = AugmentConfig(
    horizontal_flip=0.5, scale=0, aspect=0, translate=0.125, hue=0, saturation=0, brightness=0, mosaic=0
)


def main() -> None:
    options = parsed()
    bundle, pictures, judged = subject("resnet56", options.data)
    setting = Setting(bundle, pictures, judged, configured(options))
    table = Table(setting, Path(options.out))
    wanted = options.rows or ["dense", "sapwood", "torch-pruning"]
    with Workers(options.jobs) as workers:
        teacher = workers.begin(dense_rows, table, workers) if "dense" in wanted else None
        chains = []
        if "sapwood" in wanted:
            chains += [workers.begin(own_rows, table, workers, macs, teacher, options.plain) for macs in options.macs]
        if "torch-pruning" in wanted:
            chains.append(workers.begin(peer_rows, table, workers, options.macs))
        for chain in [*chains, *([teacher] if teacher else [])]:
            chain.result()


@dataclass(frozen=True)
class Setting:
    """What every row is trained and judged with."""

    bundle: ModelBundle
    pictures: Any
    judged: Any
    config: TrainConfig

    def with_epochs(self, epochs: int) -> Setting:
        return replace(self, config=self.config.model_copy(update={"epochs": epochs}))


class Workers:
    """Rows, one after the other with all threads; or so many beside each other, each in a process with its share."""

    def __init__(self, jobs: int) -> None:
        self._chains = ThreadPoolExecutor(16) if jobs > 1 else None
        self._pool = None
        if jobs > 1:
            threads = max(1, torch.get_num_threads() // jobs)
            self._pool = ProcessPoolExecutor(
                jobs, get_context("spawn"), initializer=torch.set_num_threads, initargs=(threads,)
            )

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for pool in (self._chains, self._pool):
            if pool is not None:
                pool.shutdown(cancel_futures=True)

    def begin(self, chain: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Rows of which each needs the one before."""
        if self._chains is not None:
            return self._chains.submit(chain, *arguments)
        done: Future[Any] = Future()
        done.set_result(chain(*arguments))
        return done

    def run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """One step of a chain, when there is room for it."""
        return work(*arguments) if self._pool is None else self._pool.submit(work, *arguments).result()


@dataclass
class Table:
    """The rows so far."""

    setting: Setting
    file: Path
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str, made: Made) -> nn.Module:
        """Prints a network's row; returns the network."""
        row = {"row": name, "macs": made.macs, "accuracy": made.accuracy, "seconds": made.seconds}
        self.rows.append(row)
        print("  ".join(f"{one:.4g}" if isinstance(one, float) else one for one in row.values()), flush=True)
        record = {"config": self.setting.config.model_dump(mode="json"), "rows": self.rows}
        self.file.write_text(json.dumps(record, indent=1))
        return made.model


@dataclass(frozen=True)
class Made:
    """A network, its share of the dense one's MACs, its accuracy, and the seconds that it took to make and judge."""

    model: nn.Module
    macs: float
    accuracy: float
    seconds: float


def made(setting: Setting, make: Callable[..., nn.Module], *arguments: Any) -> Made:
    """Makes a network and measures it."""
    start = time.perf_counter()
    model, inputs = make(setting, *arguments), setting.bundle.example_inputs
    macs, dense = (sapwood.count_macs(one, inputs).total for one in (model, setting.bundle.model))
    accuracy = evaluate(replace(setting.bundle, model=model), setting.judged, batch_size=100).value
    return Made(model, macs / dense, accuracy, time.perf_counter() - start)


def original(setting: Setting) -> nn.Module:
    return setting.bundle.model


def tuned(setting: Setting, model: nn.Module, teacher: nn.Module | None = None) -> nn.Module:
    """A network, trained as every row is."""
    bundle = replace(setting.bundle, model=model)
    beside = None if teacher is None else replace(setting.bundle, model=teacher)
    with tempfile.TemporaryDirectory() as folder:
        return train(bundle, setting.pictures, config=setting.config, run_dir=folder, teacher=beside).bundle.model


def configured(options: argparse.Namespace) -> TrainConfig:
    """How every row is trained."""
    return TrainConfig(
        epochs=options.epochs,
        batch_size=128,
        optimizer="sgd",
        lr=options.lr,
        weight_decay=5e-4,
        schedule="cosine",
        warmup_epochs=0.25,
        final_lr=0.0,
        ema_decay=0.99,
        augment=AUGMENT,
        distill_weight=options.distill_weight,
        distill_temperature=options.distill_temperature,
    )


def dense_rows(table: Table, workers: Workers) -> nn.Module:
    """Returns the network that teaches."""
    dense = table.add("dense", workers.run(made, table.setting, original))
    return table.add("dense, trained on", workers.run(made, table.setting, tuned, dense))


def own_rows(table: Table, workers: Workers, macs: float, teacher: Future[nn.Module] | None, plain: bool) -> None:
    setting = table.setting
    model = table.add(f"Sapwood {macs:g}, layers solved anew", workers.run(made, setting, pruned, macs))
    dense = setting.bundle.model if teacher is None else teacher.result()
    table.add(f"Sapwood {macs:g}, with a teacher", workers.run(made, setting, tuned, model, dense))
    if plain:
        table.add(f"Sapwood {macs:g}, without a teacher", workers.run(made, setting, tuned, model))


def peer_rows(table: Table, workers: Workers, targets: Sequence[float]) -> None:
    setting, epochs = table.setting, table.setting.config.epochs
    pull = (epochs + 1) // 2
    rest = setting.with_epochs(max(1, epochs - pull))
    pulled = workers.run(made, setting.with_epochs(pull), regularised)
    regular = table.add("Torch-Pruning, after its regularisation", pulled)
    for macs in targets:
        model = table.add(
            f"Torch-Pruning {macs:g}, pruned", workers.run(made, setting, torch_pruned_by_norm, regular, macs)
        )
        table.add(f"Torch-Pruning {macs:g}, trained", workers.run(made, rest, tuned, model))


def pruned(setting: Setting, macs: float) -> nn.Module:
    """Sapwood's network of so many MACs, its layers solved anew."""
    bundle, pictures = setting.bundle, setting.pictures
    batches = list(calibration_batches(bundle, pictures, num_pictures=5000, batch_size=100))
    calibration = Calibration(batches[:5], task_loss(bundle, "own"), pictures)
    few = replace(calibration, batches=batches[:3])
    measure, figure = sensitivity_measure(bundle, "divergence", few)
    score = scorer(bundle.model, "obs", calibration)
    curves = sensitivity(
        bundle.model,
        bundle.example_inputs,
        measure,
        score=score,
        figure=figure,
        fractions=(0.25, 0.5, 0.75),
        compensate=compensation(bundle.model, calibration, score),
    )
    result = sapwood.prune(
        bundle.model,
        bundle.example_inputs,
        target=sapwood.Target(macs=macs),
        criterion=score,
        allocator="knapsack",
        sensitivity=curves,
        calibration=calibration,
    )
    solved = sapwood.reconstruct(bundle.model, result.model, result.plan, [batch.inputs for batch in batches])
    return solved.model


def regularised(setting: Setting) -> nn.Module:
    """The dense network, trained with Torch-Pruning's pull at the gradients."""
    bundle, pictures, config = setting.bundle, setting.pictures, setting.config
    model = sapwood.copy_model(bundle.model).to(memory_format=torch.channels_last).train()
    pruner = group_norm_pruner(bundle, model, 0.5)
    objective = make_objective(bundle, pictures, config)
    loader = BatchLoader(objective.batch, count=objective.num_pictures, batch_size=128, seed=config.seed, num_threads=0)
    optimizer, steps = make_optimizer(model, config), len(loader)
    for epoch in range(config.epochs):
        pruner.update_regularizer()
        for step, batch in enumerate(loader.epoch(epoch)):
            rate = learning_rate(
                epoch * steps + step, total_steps=config.epochs * steps, steps_per_epoch=steps, config=config
            )
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad()
            objective.losses(model, batch)["total"].backward()
            pruner.regularize(model)
            optimizer.step()
    return model.to(memory_format=torch.contiguous_format).eval()


def group_norm_pruner(bundle: ModelBundle, model: nn.Module, ratio: float) -> Any:
    import torch_pruning as tp

    kept = [module for name, module in model.named_modules() if name in ("conv1", "linear") or name.endswith(".conv2")]
    return tp.pruner.GroupNormPruner(
        model,
        bundle.example_inputs,
        importance=tp.importance.GroupMagnitudeImportance(p=2, normalizer="mean"),
        reg=5e-4,
        global_pruning=True,
        pruning_ratio=ratio,
        max_pruning_ratio=0.95,
        ignored_layers=kept,  # its tracer breaks on shortcuts that pad with zeros: the blocks' inner widths only
    )


def torch_pruned_by_norm(setting: Setting, regular: nn.Module, macs: float) -> nn.Module:
    """Its network of so many MACs."""
    bundle = setting.bundle
    low, high = 0.0, 0.95
    best: tuple[float, nn.Module] | None = None
    dense = sapwood.count_macs(bundle.model, bundle.example_inputs).total
    for _ in range(12):
        ratio = (low + high) / 2
        model = sapwood.copy_model(regular).eval()
        group_norm_pruner(bundle, model, ratio).step()
        found = sapwood.count_macs(model, bundle.example_inputs).total / dense
        if best is None or abs(found - macs) < best[0]:
            best = abs(found - macs), model
        if abs(found / macs - 1) <= TOLERANCE / 4:
            break
        low, high = (ratio, high) if found > macs else (low, ratio)
    assert best is not None
    return best[1].eval()


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--macs", type=float, nargs="+", default=[0.47, 0.39])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--distill-weight", type=float, default=1.0)
    parser.add_argument("--distill-temperature", type=float, default=4.0)
    parser.add_argument("--rows", nargs="*", help="Of dense, sapwood, torch-pruning; all if not given")
    parser.add_argument(
        "--jobs", type=int, default=1, help="Rows made beside each other, each with its share of threads"
    )
    parser.add_argument("--plain", action="store_true", help="Sapwood's rows without a teacher, too")
    parser.add_argument("--out", default="finetune.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
