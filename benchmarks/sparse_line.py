"""Accuracy and speed of unstructured zeros on the sparse engine: a line a network, a row a sparsity.

    python benchmarks/sparse_line.py yolov3-tiny.cfg --weights yolov3-tiny.weights --data coco
    python benchmarks/sparse_line.py runs/bccd/model --data bccd --split test --recover

Rows: the practitioner's global L1, every layer alike, and sparsities that were shared out by the engine's own times
(`sapwood mask --latency`), harm measured on pictures of the train folder without labels. With --recover the weights
that stay are solved anew on these pictures. Accuracy is that of the engine's outputs on the evaluation pictures. Speed
is ONNX Runtime's time for the dense network over the engine's, a median over interleaved rounds, with quartiles.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import sapwood
from sapwood.data import open_detection
from sapwood.masks import MaskCase, apply_masks_, remove_masks_
from sapwood.measure import measure_latency
from sapwood.measure.latency import SPIN_DOWN
from sapwood.pipeline import (
    Bench,
    Calibration,
    Deployment,
    mask_to_latency_,
    recover_masked_,
    sensitivity_measure,
    with_batch,
)
from sapwood.runtime import RUNTIMES, compile
from sapwood.tasks import calibration_batches, evaluate, task_loss
from sapwood.types import ModelBundle

MEASURED_ON = 32


@dataclass
class Line:
    """What every row is measured with, and the rows so far."""

    bundle: ModelBundle
    judged: Any
    options: argparse.Namespace
    rows: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.one = with_batch(self.bundle.example_inputs, 1)
        self.bench = Bench.of(self.one, Deployment("sapwood", self.options.threads, 1))
        self.peer = RUNTIMES["onnxruntime"].load(self.bundle.model, self.one, threads=self.options.threads)

    def add(self, name: str, model: nn.Module, start: float) -> None:
        """Measures a network and prints its row."""
        compiled = compile(model, self.one, threads=self.options.threads)
        value = evaluate(replace(self.bundle, model=compiled), self.judged, batch_size=8).value
        table = measure_latency(
            {"sapwood": self.bench.load(model), "onnxruntime": self.peer},
            baseline="sapwood", rounds=self.options.rounds, seconds=60.0, threads=self.options.threads, pause=SPIN_DOWN,
        )  # fmt: skip
        steps = [step for step in compiled.steps if step.weights]
        zeros = 1.0 - sum(step.nonzeros for step in steps) / sum(step.weights for step in steps)
        row = table["onnxruntime"]
        figures = {"accuracy": value, "zeros": zeros, "ms": table["sapwood"].median_ms}
        self.rows.append({"name": name, **figures, "speedup": row.ratio, "q1": row.ratio_q1, "q3": row.ratio_q3})
        text = f"{name:36}{value:.3f}  {zeros:5.1%} zeros  {row.ratio:.2f} times ONNX Runtime"
        seconds = time.perf_counter() - start
        print(f"{text} ({row.ratio_q1:.2f} to {row.ratio_q3:.2f})  [{seconds:.0f} s]", flush=True)
        Path(self.options.out).write_text(json.dumps(self.rows, indent=1))


def main() -> None:
    options = parsed()
    bundle = sapwood.load_model(options.model, weights=options.weights)
    judged, train = (
        open_detection(options.data, split=split, class_names=bundle.task.class_names)
        for split in (options.split, "train")
    )
    line = Line(bundle, judged, options)
    dense = evaluate(bundle, judged, batch_size=8).value
    print(f"{options.model}, {tuple(line.one.shape)}, {options.threads} threads, PyTorch {torch.__version__}")
    print(f"dense in PyTorch: {dense:.3f} on {len(judged.samples)} pictures", flush=True)
    line.add("dense", bundle.model, time.perf_counter())
    for sparsity in options.sparsity:
        given(line, sparsity)
    batches = list(calibration_batches(bundle, train, num_pictures=options.num_pictures, batch_size=8))
    for target in options.latency:
        shared(line, target, Calibration(batches, task_loss(bundle, "own"), train))


def given(line: Line, sparsity: float) -> None:
    """Rows of a sparsity that somebody chose."""
    for name, case in (
        ("global L1, conv", MaskCase("l1_unstructured", sparsity, scope="global", layers=("conv",))),
        ("every layer", MaskCase("scored", sparsity, layers=("conv",))),
    ):
        start = time.perf_counter()
        model = sapwood.copy_model(line.bundle.model)
        apply_masks_(model, case)
        remove_masks_(model)
        line.add(f"{name}, {sparsity:g}", model, start)


def shared(line: Line, target: float, calibration: Calibration) -> None:
    """The row of a fraction of the latency; sparsities are shared out, and perhaps the weights solved anew."""
    start = time.perf_counter()
    model, case = sapwood.copy_model(line.bundle.model), MaskCase("scored", 0.5, layers=("conv",))
    few = replace(calibration, batches=calibration.batches[: MEASURED_ON // 8])
    measure, figure = sensitivity_measure(line.bundle, "divergence", few)
    _, outcome = mask_to_latency_(model, case, target, line.bench, measure=measure, figure=figure)
    if line.options.recover:
        inputs, pattern = [batch.inputs for batch in calibration.batches], case.unit_pattern
        recover_masked_(replace(line.bundle, model=model), line.bundle.model, inputs, "reconstruct", pattern=pattern)
    remove_masks_(model)
    line.add(f"to {target:g} of the latency{', recovered' if line.options.recover else ''}", model, start)
    if line.options.layers:
        for layer in outcome.layers:
            print(f"      {layer.sparsity:6.1%}  {layer.dense_ms:6.2f} to {layer.masked_ms:6.2f} ms  {layer.name}")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--weights")
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--num-pictures", type=int, default=128)
    parser.add_argument("--sparsity", type=float, nargs="*", default=[0.5, 0.7, 0.8, 0.9])
    parser.add_argument("--latency", type=float, nargs="*", default=[0.7, 0.5, 0.4, 0.3])
    parser.add_argument("--recover", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--layers", action="store_true", help="List what each layer got")
    parser.add_argument("--out", default="sparse_line.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
