"""Accuracy at equal measured latency, before any recovery: the knapsack beside uniform, one threshold, Torch-Pruning.

    python benchmarks/accuracy_at_latency.py resnet56 --data ../shared/data --out resnet56.json
    python benchmarks/accuracy_at_latency.py yolov3-tiny --data ../shared/data --out yolov3-tiny.json

Every method prunes the same network to the same measured latency (`--targets`, interleaved rounds against the dense
network on `--runtime`); then its accuracy is measured on pictures that no method has seen. What looks at pictures
(sensitivity, Taylor and Fisher scores, Torch-Pruning's Taylor) gets the same ones of the train folder, without labels.

For Torch-Pruning, which has no latency target, the pruning ratio is bisected until its network measures the same. Needs
`pip install torch-pruning`; without it its rows are left out and said so.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import sapwood
from sapwood.errors import SapwoodError
from sapwood.pipeline import Calibration, Deployment, scorer, sensitivity, sensitivity_measure, with_batch
from sapwood.runtime import RUNTIMES
from sapwood.tasks import calibration_batches, evaluate, task_loss

sys.path.insert(0, str(Path(__file__).resolve().parent))
from subjects import subject, torch_pruned

FRACTIONS = (0.25, 0.5, 0.7, 0.85, 0.95)


class Subject:
    """A network, its pictures, and a clock."""

    def __init__(self, name: str, data: Path, deployment: Deployment, num_pictures: int) -> None:
        self.deployment = deployment
        self.bundle, train, self.held_out = subject(name, data)
        batches = list(calibration_batches(self.bundle, train, num_pictures=num_pictures, batch_size=8))
        self.calibration = Calibration(batches, task_loss(self.bundle, "own"), train)
        self.inputs = with_batch(self.bundle.example_inputs, deployment.batch)
        self.dense = self.session(self.bundle.model)

    def session(self, model: nn.Module) -> Any:
        runtime = RUNTIMES[self.deployment.runtime]
        return runtime.load(model, self.inputs, threads=self.deployment.num_threads)

    def ratio(self, model: nn.Module, seconds: float = 6.0) -> float:
        pair = {"dense": self.dense, "pruned": self.session(model)}
        threads = self.deployment.num_threads
        return sapwood.measure_latency(pair, baseline="dense", rounds=300, seconds=seconds, threads=threads)[
            "pruned"
        ].ratio

    def accuracy(self, model: nn.Module) -> float:
        return evaluate(replace(self.bundle, model=model), self.held_out, batch_size=8).value

    def macs(self, model: nn.Module) -> float:
        inputs = self.bundle.example_inputs
        return sapwood.count_macs(model, inputs).total / sapwood.count_macs(self.bundle.model, inputs).total


Method = Callable[[Subject, float], nn.Module]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=["resnet56", "yolov3-tiny", "yolo-fastest-1.1-xl"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", default="accuracy_at_latency.json")
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--batch", type=int, help="Examples a call; 16 for resnet56, 1 for detectors")
    parser.add_argument("--num-pictures", type=int, help="For calibration; 256 for resnet56, 48 for detectors")
    parser.add_argument("--targets", type=float, nargs="*", default=[0.8, 0.7, 0.6, 0.5])
    parser.add_argument("--only", nargs="*", help="Names of methods")
    options = parser.parse_args()
    small = options.model == "resnet56"
    deployment = Deployment(options.runtime, options.threads, options.batch or (16 if small else 1))
    subject = Subject(options.model, options.data, deployment, options.num_pictures or (256 if small else 48))
    dense = subject.accuracy(subject.bundle.model)
    print(f"{options.model} on {options.runtime}, batch {deployment.batch}, {deployment.num_threads} threads")
    print(f"dense: accuracy {dense:.4f} on {len(subject.held_out.samples)} pictures", flush=True)
    rows = []
    for name, method in methods(subject).items():
        for target in options.targets:
            if options.only and name not in options.only:
                continue
            rows.append(measured(subject, name, method, target))
            print(line(rows[-1]), flush=True)
            Path(options.out).write_text(json.dumps({"dense": dense, "rows": rows}, indent=1))
    print(table(rows, options.targets))


def methods(subject: Subject) -> dict[str, Method]:
    """All methods by name."""
    found: dict[str, Method] = {
        "knapsack, sensitivity": knapsack_by_sensitivity,
        "knapsack, Fisher": lambda one, target: ours(one, target, "fisher_activation", "knapsack"),
        "uniform, L2": lambda one, target: ours(one, target, "l2", "uniform"),
        "uniform, Fisher": lambda one, target: ours(one, target, "fisher_activation", "uniform"),
        "global, L2": lambda one, target: ours(one, target, "l2", "global"),
        "global, Fisher": lambda one, target: ours(one, target, "fisher_activation", "global"),
        "global, Taylor": lambda one, target: ours(one, target, "taylor", "global"),
    }
    try:
        import torch_pruning  # noqa: F401
    except ImportError:
        print("torch-pruning is not installed: its rows are left out")
        return found
    for kind, globally in (("magnitude", False), ("magnitude", True), ("taylor", True)):
        name = f"Torch-Pruning, {kind}{', global' if globally else ''}"
        found[name] = lambda one, target, kind=kind, globally=globally: torch_pruned(  # type: ignore[misc]
            one.bundle, one.calibration, target, lambda model: one.ratio(model, 3.0), kind=kind, globally=globally
        )
    return found


def ours(subject: Subject, target: float, criterion: str, allocator: str, curves: Any = None) -> nn.Module:
    return sapwood.prune(
        subject.bundle.model,
        subject.bundle.example_inputs,
        target=sapwood.Target(latency=target),
        criterion=criterion,
        allocator=allocator,
        calibration=subject.calibration,
        sensitivity=curves,
        deployment=subject.deployment,
    ).model


def knapsack_by_sensitivity(subject: Subject, target: float) -> nn.Module:
    if not hasattr(subject, "curves"):
        start = time.perf_counter()
        measure, figure = sensitivity_measure(subject.bundle, "divergence", subject.calibration)
        subject.curves = sensitivity(  # type: ignore[attr-defined]
            subject.bundle.model,
            subject.bundle.example_inputs,
            measure,
            score=scorer(subject.bundle.model, CRITERION, subject.calibration),
            figure=figure,
            fractions=FRACTIONS,
        )
        print(f"sensitivity: {time.perf_counter() - start:.0f} s", flush=True)
    return ours(subject, target, CRITERION, "knapsack", subject.curves)  # type: ignore[attr-defined]


CRITERION = "fisher_activation"
"""Which channels of a group go first, where the number is chosen by sensitivity."""


def measured(subject: Subject, name: str, method: Method, target: float) -> dict[str, Any]:
    start = time.perf_counter()
    row: dict[str, Any] = {"method": name, "target": target}
    try:
        model = method(subject, target)
        with torch.no_grad():
            row |= {"ratio": subject.ratio(model), "accuracy": subject.accuracy(model), "macs": subject.macs(model)}
    except (SapwoodError, RuntimeError, ValueError, KeyError, AttributeError, IndexError) as error:
        row["error"] = f"{type(error).__name__}: {error}"
    return {**row, "seconds": time.perf_counter() - start}


def line(row: dict[str, Any]) -> str:
    head = f"{row['method']:28} target {row['target']:.2f}"
    if "error" in row:
        return f"{head}  {row['error'][:160]}"
    figures = f"measured {row['ratio']:.3f}  accuracy {row['accuracy']:.4f}  MACs {row['macs']:.3f}"
    return f"{head}  {figures}  {row['seconds']:.0f} s"


def table(rows: list[dict[str, Any]], targets: list[float]) -> str:
    """Accuracy (measured ratio) by method and target."""
    lines = [f"{'':28}" + "".join(f"{target:>18.2f}" for target in targets)]
    for name in dict.fromkeys(row["method"] for row in rows):
        cells = []
        for target in targets:
            row = next((row for row in rows if row["method"] == name and row["target"] == target), {})
            cells.append(f"{row['accuracy']:.4f} ({row['ratio']:.3f})" if "ratio" in row else "-")
        lines.append(f"{name:28}" + "".join(f"{cell:>18}" for cell in cells))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
