"""Accuracy back without labels: what reconstruction and distillation give, beside pruning without recovery.

    python benchmarks/recovery.py resnet56 --macs 0.5 --num-pictures 1000
    python benchmarks/recovery.py resnet56 --macs 0.47 --num-pictures 5000 --steps 1500
    python benchmarks/recovery.py yolov3-tiny --macs 0.7 --num-pictures 128 --steps 600

Pictures come from the train folder and their labels are not looked at. Accuracy is measured on the evaluation pictures,
or with `--held-out N` on N train pictures that nothing else sees: that is what settings are tried on.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

import sapwood
from sapwood.data import open_classification, open_detection
from sapwood.pipeline import Calibration, compensation, scorer, sensitivity, sensitivity_measure
from sapwood.recovery import DistillConfig
from sapwood.tasks import calibration_batches, evaluate, task_loss
from sapwood.types import ModelBundle

sys.path.insert(0, str(Path(__file__).resolve().parent))
FRACTIONS = (0.25, 0.5, 0.75)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=["resnet20", "resnet56", "yolov3-tiny", "yolo-fastest-1.1-xl"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--macs", type=float, default=0.5)
    parser.add_argument("--num-pictures", type=int, default=1000)
    parser.add_argument("--scored-on", type=int, help="Of these, how many for scores; 500, or 64 for detectors")
    parser.add_argument("--steps", type=int, default=0, help="Of distillation; none if 0")
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--held-out", type=int, default=0)
    parser.add_argument("--methods", nargs="*", help="Names of methods; all if not given")
    parser.add_argument("--out", default="recovery.json")
    options = parser.parse_args()
    bundle, train, judged = subject(options.model, options.data, options.held_out)
    size = 100 if bundle.task.kind == "classification" else 8
    batches = list(calibration_batches(bundle, train, num_pictures=options.num_pictures, batch_size=size))
    scored_on = options.scored_on or (500 if size == 100 else 64)
    calibration = Calibration(batches[: max(1, scored_on // size)], task_loss(bundle, "own"), train)

    def accuracy(model: nn.Module) -> float:
        return evaluate(replace(bundle, model=model), judged, batch_size=size).value

    print(f"{options.model}, MACs {options.macs:g}, {options.num_pictures} pictures without labels")
    print(f"dense: {accuracy(bundle.model):.4f} on {len(judged.samples)} pictures", flush=True)
    rows = []
    for name, settings in METHODS.items():
        if options.methods and name not in options.methods:
            continue
        row = measured(bundle, calibration, batches, settings, options=options, accuracy=accuracy)
        rows.append({"method": name, **row})
        print(f"{name:34}" + "  ".join(f"{key} {value:.4g}" for key, value in row.items()), flush=True)
        Path(options.out).write_text(json.dumps(rows, indent=1))


METHODS: dict[str, dict[str, Any]] = {
    "L2, uniform": {"criterion": "l2", "allocator": "uniform"},
    "Taylor, one threshold": {"criterion": "taylor", "allocator": "global"},
    "OBS, uniform": {"criterion": "obs", "allocator": "uniform"},
    "OBS, knapsack by sensitivity": {"criterion": "obs", "allocator": "knapsack", "by_sensitivity": True},
}


def subject(name: str, data: Path, held_out: int) -> tuple[ModelBundle, Any, Any]:
    """The network, the pictures it may see, and those it is judged on."""
    if name.startswith("resnet"):
        import cifar

        folder = Path(tempfile.gettempdir()) / "sapwood-cifar10"
        cifar.unpack(data / "cifar10" / "cifar10-jpeg.zip", folder)
        weights = {"resnet20": "resnet20-12fca82f.th", "resnet56": "resnet56-jpeg.pt"}[name]
        bundle = sapwood.load_model(f"cifar:{name}", weights=data / "resnet_cifar10" / weights)
        classes = bundle.task.class_names
        train, judged = (open_classification(folder, split=split, class_names=classes) for split in ("train", "test"))
    else:
        cfg = data / "detectors" / f"{name}.cfg"
        bundle = sapwood.load_model(str(cfg), weights=cfg.with_suffix(".weights"))
        classes = bundle.task.class_names
        train, judged = (
            open_detection(data / "coco", split=split, class_names=classes)  # type: ignore[assignment]
            for split in ("train", "val")
        )
    if held_out:
        order = np.random.default_rng(7).permutation(len(train.samples)).tolist()
        samples = [train.samples[number] for number in order]
        judged = replace(train, samples=tuple(samples[:held_out]))
        train = replace(train, samples=tuple(samples[held_out:]))
    return bundle, train, judged


def measured(
    bundle: ModelBundle,
    calibration: Calibration,
    batches: list[Any],
    settings: dict[str, Any],
    *,
    options: argparse.Namespace,
    accuracy: Any,
) -> dict[str, float]:
    """Accuracy and seconds of each stage of one method."""
    start = time.perf_counter()
    chosen = dict(settings)
    curves = None
    if chosen.pop("by_sensitivity", False):
        measure, figure = sensitivity_measure(bundle, "divergence", calibration)
        curves = sensitivity(
            bundle.model,
            bundle.example_inputs,
            measure,
            score=scorer(bundle.model, chosen["criterion"], calibration),
            figure=figure,
            fractions=FRACTIONS,
            compensate=compensation(bundle.model, calibration),
        )
    pruned = sapwood.prune(
        bundle.model,
        bundle.example_inputs,
        target=sapwood.Target(macs=options.macs),
        calibration=calibration,
        sensitivity=curves,
        **chosen,
    )
    row = {"choice_s": time.perf_counter() - start, "pruned": accuracy(pruned.model)}
    inputs = [batch.inputs for batch in batches]
    solved = sapwood.reconstruct(bundle.model, pruned.model, pruned.plan, inputs)
    row |= {"reconstruct_s": solved.seconds, "reconstructed": accuracy(solved.model)}
    if options.steps:
        config = DistillConfig(steps=options.steps, lr=options.lr, batch_size=64 if len(inputs[0]) == 100 else 8)
        refined = sapwood.distill(bundle.model, solved.model, pruned.plan, inputs, bundle.task, config=config)
        row |= {"distill_s": refined.seconds, "best_step": refined.best_step, "distilled": accuracy(refined.model)}
    return row


if __name__ == "__main__":
    main()
