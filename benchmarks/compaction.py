"""What `sapwood.compact` buys: a Darknet detector that torch masked in every layer, and its compact self, timed twice.

    python benchmarks/compaction.py yolov3-tiny.cfg yolov3-tiny.weights --pictures ../shared/data/coco

Every convolution is masked by `torch.nn.utils.prune.ln_structured` (L2, dimension 0) at `--sparsity`. Printed:
parameters and MACs of the compact network over the masked one's, the largest difference of their raw maps and whether
they find the same boxes on the pictures, and the ratio of times, round by round, in eager PyTorch and in ONNX Runtime.
"""

from __future__ import annotations

import argparse
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import nn
from torch.nn.utils import prune

import sapwood
from sapwood.data import open_detection
from sapwood.types import Detections, ModelBundle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cfg")
    parser.add_argument("weights")
    parser.add_argument("--pictures", help="A detection data set; its val pictures are looked at")
    parser.add_argument("--sparsity", type=float, default=0.4)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    bundle = sapwood.load_model(options.cfg, weights=options.weights)
    for module in bundle.model.modules():
        if isinstance(module, nn.Conv2d):
            prune.ln_structured(module, "weight", amount=options.sparsity, n=2, dim=0)
    compacted = sapwood.compact(bundle.model, bundle.example_inputs)
    masked = sapwood.copy_model(bundle.model)
    sapwood.remove_masks_(masked)
    params = sapwood.count_params(compacted.model) / sapwood.count_params(masked)
    macs = work(compacted.model, bundle) / work(masked, bundle)
    print(f"{Path(options.cfg).stem}, ln_structured {options.sparsity} on every convolution, then compacted (exact)")
    print(f"parameters {params:.3f}, MACs {macs:.3f} of the masked network's")
    print(f"largest difference, float64, relative: {compacted.verification.max_abs_error:.1e}")
    if options.pictures:
        print(same_boxes(bundle, masked, compacted.model, options.pictures))
    for runtime, make in (("eager PyTorch", eager), ("ONNX Runtime", onnx_runtime)):
        candidates = {"masked": make(masked, bundle, options.threads)}
        candidates["compact"] = make(compacted.model, bundle, options.threads)
        table = sapwood.measure_latency(candidates, baseline="masked", rounds=options.rounds, threads=options.threads)
        row = next(row for row in table.rows if row.name == "compact")
        base = next(row for row in table.rows if row.name == "masked")
        print(
            f"{runtime}, {options.threads} threads: time {row.ratio:.3f} ({row.ratio_q1:.3f} to {row.ratio_q3:.3f}) "
            f"of the masked network's {base.median_ms:.1f} ms; MACs {macs:.3f}; {1 / row.ratio:.2f} times as fast"
        )


def work(model: nn.Module, bundle: ModelBundle) -> int:
    return sapwood.count_macs(model, bundle.example_inputs).total


def same_boxes(bundle: ModelBundle, masked: nn.Module, compact: nn.Module, folder: str) -> str:
    """Runs both on the pictures, at a score below which even a masked network finds something."""
    dataset = open_detection(folder, split="val", class_names=bundle.task.class_names)
    worst, found, lost = 0.0, 0, 0
    for sample in dataset.samples:
        pictures = [sample.load()]
        one, other = (
            sapwood.detect(replace(bundle, model=model), pictures, score_threshold=1e-4)[0]
            for model in (masked, compact)
        )
        found += len(one.boxes)
        lost += abs(len(one.boxes) - len(other.boxes))
        if len(one.boxes) and len(other.boxes):
            nearest = torch.cdist(comparable(one), comparable(other), p=float("inf")).min(dim=1).values
            worst = max(worst, float(nearest.max()))
    return (
        f"{found} boxes of the masked network on {len(dataset.samples)} pictures, {lost} more or fewer of the compact; "
        f"the nearest of the same class differs by at most {worst:.3f} pixels or thousandths of score"
    )


def comparable(found: Detections) -> torch.Tensor:
    """Rows of corners, score in thousandths, and class, so far apart that boxes of two classes never match."""
    return torch.cat([found.boxes, 1e3 * found.scores[:, None], 1e6 * found.labels[:, None]], dim=1).double()


def eager(model: nn.Module, bundle: ModelBundle, threads: int) -> Any:
    del threads

    def call() -> None:
        with torch.inference_mode():
            model(bundle.example_inputs)

    return call


def onnx_runtime(model: nn.Module, bundle: ModelBundle, threads: int) -> Any:
    file = io.BytesIO()
    torch.onnx.export(model, (bundle.example_inputs,), file, dynamo=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: bundle.example_inputs.numpy()}  # type: ignore[union-attr]
    return lambda: session.run(None, feed)


if __name__ == "__main__":
    main()
