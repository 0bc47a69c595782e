"""Pruning and fine-tuning with labels: Sapwood, Torch-Pruning's group norm, and the dense network, equally long.

    python benchmarks/finetune.py --macs 0.47 0.39 --epochs 4

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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import sapwood
from sapwood.config import AugmentConfig, TrainConfig
from sapwood.pipeline import Calibration, compensation, scorer, sensitivity, sensitivity_measure
from sapwood.recovery import train
from sapwood.recovery.batches import BatchLoader
from sapwood.recovery.objectives import make_objective
from sapwood.recovery.run import make_optimizer
from sapwood.recovery.schedule import learning_rate
from sapwood.tasks import calibration_batches, evaluate, task_loss
from sapwood.types import ModelBundle

sys.path.insert(0, str(Path(__file__).resolve().parent))
from subjects import TOLERANCE, subject

AUGMENT = AugmentConfig(
    horizontal_flip=0.5, scale=0, aspect=0, translate=0.125, hue=0, saturation=0, brightness=0, mosaic=0
)


def main() -> None:
    options = parsed()
    bundle, pictures, judged = subject("resnet56", options.data)
    table = Table(bundle, pictures, judged, configured(options), options)
    teacher = bundle
    if table.wanted("dense"):
        start = time.perf_counter()
        table.add("dense", bundle.model, start)
        teacher = replace(bundle, model=table.tuned(bundle.model))
        table.add("dense, trained on", teacher.model, start)
    if table.wanted("sapwood"):
        for macs in options.macs:
            own_rows(table, macs, teacher)
    if table.wanted("torch-pruning"):
        peer_rows(table)


@dataclass
class Table:
    """What every row is trained and judged with, and the rows so far."""

    bundle: ModelBundle
    pictures: Any
    judged: Any
    config: TrainConfig
    options: argparse.Namespace
    rows: list[dict[str, Any]] = field(default_factory=list)

    def wanted(self, name: str) -> bool:
        return not self.options.rows or name in self.options.rows

    def tuned(self, model: nn.Module, teacher: ModelBundle | None = None, epochs: int | None = None) -> nn.Module:
        bundle = replace(self.bundle, model=model)
        config = self.config.model_copy(update={"epochs": epochs or self.config.epochs})
        with tempfile.TemporaryDirectory() as folder:
            result = train(bundle, self.pictures, config=config, run_dir=folder, teacher=teacher)
        return result.bundle.model

    def add(self, name: str, model: nn.Module, start: float) -> None:
        """Measures a network and prints its row."""
        inputs = self.bundle.example_inputs
        macs, dense = (sapwood.count_macs(one, inputs).total for one in (model, self.bundle.model))
        accuracy = evaluate(replace(self.bundle, model=model), self.judged, batch_size=100).value
        row = {"row": name, "macs": macs / dense, "accuracy": accuracy, "seconds": time.perf_counter() - start}
        self.rows.append(row)
        print("  ".join(f"{one:.4g}" if isinstance(one, float) else one for one in row.values()), flush=True)
        record = {"config": self.config.model_dump(mode="json"), "rows": self.rows}
        Path(self.options.out).write_text(json.dumps(record, indent=1))


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


def own_rows(table: Table, macs: float, teacher: ModelBundle) -> None:
    start = time.perf_counter()
    model = pruned(table.bundle, table.pictures, macs)
    table.add(f"Sapwood {macs:g}, layers solved anew", model, start)
    table.add(f"Sapwood {macs:g}, with a teacher", table.tuned(model, teacher), start)
    if table.options.plain:
        table.add(f"Sapwood {macs:g}, without a teacher", table.tuned(model), start)


def peer_rows(table: Table) -> None:
    start = time.perf_counter()
    pull = (table.config.epochs + 1) // 2
    rest = max(1, table.config.epochs - pull)
    regular = regularised(table.bundle, table.pictures, table.config.model_copy(update={"epochs": pull}))
    table.add("Torch-Pruning, after its regularisation", regular, start)
    for macs in table.options.macs:
        start = time.perf_counter()
        model = torch_pruned_by_norm(table.bundle, regular, macs)
        table.add(f"Torch-Pruning {macs:g}, pruned", model, start)
        table.add(f"Torch-Pruning {macs:g}, trained", table.tuned(model, epochs=rest), start)


def pruned(bundle: ModelBundle, pictures: Any, macs: float) -> nn.Module:
    """Sapwood's network of so many MACs, its layers solved anew."""
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


def regularised(bundle: ModelBundle, pictures: Any, config: TrainConfig) -> nn.Module:
    """The dense network, trained with Torch-Pruning's pull at the gradients."""
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


def torch_pruned_by_norm(bundle: ModelBundle, regular: nn.Module, macs: float) -> nn.Module:
    """Its network of so many MACs."""
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
    parser.add_argument("--plain", action="store_true", help="Sapwood's rows without a teacher, too")
    parser.add_argument("--out", default="finetune.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
