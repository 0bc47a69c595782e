"""Whether a latency target is met: models x targets x runtimes, each result measured again in a process of its own.

    python benchmarks/latency_targets.py --data ../shared/data --out latency_targets.json
    python benchmarks/latency_targets.py --runtimes openvino-int8 --models ResNet-20 --targets 0.7 --threads 1 \
        --processor

Every model is pruned with `Target(latency=...)`, with no data (criterion `l2`): this asks about the clock, not about
accuracy. The pruned model is saved; then three fresh processes, one after the other, load it and the dense one and
measure their ratio again in interleaved rounds, for where a process's memory lies shifts it by a few percent. A case
counts as met when the middle one of the three ratios is within 5 % of the target. With `--processor` these processes
count what they had of the processor, one thread: where other work shares the core, a long call is interrupted and a
short one is not, and the clock's ratios are wrong (`prune` sees to that by itself). Cases go to `--out` one by one, and
those that are there already are not run again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import sapwood
from sapwood.errors import BudgetError
from sapwood.goals.clock import TIMED_BY
from sapwood.pipeline import Deployment, with_batch
from sapwood.runtime import RUNTIMES

sys.path.insert(0, str(Path(__file__).resolve().parent))  # for cifar.py, where the small ResNets are
from processor_times import processor_times

TARGETS = (0.75, 0.5, 0.33)
PROCESSES = 3
MODELS = {
    "yolov3-tiny": ("{data}/detectors/yolov3-tiny.cfg", "{data}/detectors/yolov3-tiny.weights"),
    "yolo-fastest-1.1-xl": ("{data}/detectors/yolo-fastest-1.1-xl.cfg", "{data}/detectors/yolo-fastest-1.1-xl.weights"),
    "yolov4-tiny, digits": ("builtin:digits", None),
    "ResNet-50": ("torchvision:resnet50", None),
    "MobileNetV2": ("torchvision:mobilenet_v2", None),
    "ViT-tiny": ("timm:vit_tiny_patch16_224", None),
}
"""What is run unless told otherwise: model -> its specification and weights."""

MORE = {
    "ResNet-20": ("cifar:resnet20", None),
    "ResNet-56": ("cifar:resnet56", None),
    "ResNet-18": ("torchvision:resnet18", None),
    "yolo-fastest-1.1": ("{data}/detectors/yolo-fastest-1.1.cfg", "{data}/detectors/yolo-fastest-1.1.weights"),
}
KNOWN = {**MODELS, **MORE}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="../shared/data", help="Folder with detectors/")
    parser.add_argument("--out", default="latency_targets.json")
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(KNOWN), metavar="MODEL")
    parser.add_argument("--runtimes", nargs="*", default=["onnxruntime", "torch"])
    parser.add_argument("--targets", nargs="*", type=float, default=list(TARGETS))
    parser.add_argument("--threads", type=int)
    parser.add_argument("--processor", action="store_true", help="Processor time, one thread, of a busy machine")
    parser.add_argument("--again", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.again:
        print(json.dumps(measured_again(*options.again, options)))
        return
    if options.processor and options.threads != 1:
        parser.error("--processor counts one thread; expected --threads 1 beside it")
    out = Path(options.out)
    rows = json.loads(out.read_text()) if out.exists() else []
    known = {(row["runtime"], row["model"], row["target"]) for row in rows}
    cases = [(runtime, name, to) for runtime in options.runtimes for name in options.models for to in options.targets]
    for runtime, name, target in cases:
        if (runtime, name, target) not in known:
            rows.append(row := case(name, runtime, target, options))
            print(line(row), flush=True)
            out.write_text(json.dumps(rows, indent=1))
    for runtime in options.runtimes:
        own = [row for row in rows if row["runtime"] == runtime]
        print(f"{runtime}: {sum(row['met'] for row in own)} of {len(own)} within 5 % of the target", flush=True)


def loaded(name: str, data: str) -> Any:
    spec, weights = KNOWN[name]
    return sapwood.load_model(spec.format(data=data), weights=weights and weights.format(data=data))


def case(name: str, runtime: str, target: float, options: argparse.Namespace) -> dict[str, Any]:
    """Prunes a model and has it measured again."""
    data, threads = options.data, options.threads
    bundle = loaded(name, data)
    start = time.perf_counter()
    row: dict[str, Any] = {"model": name, "runtime": runtime, "target": target, "met": False}
    try:
        pruned = sapwood.prune(
            bundle.model,
            bundle.example_inputs,
            target=sapwood.Target(latency=target),
            deployment=Deployment(runtime, threads),
        )
    except BudgetError as error:
        return {**row, "error": str(error), "seconds": time.perf_counter() - start}
    outcome = pruned.latency
    assert outcome is not None
    row |= {
        "seconds": time.perf_counter() - start,
        "while_pruning": outcome.ratio,
        "attempts": [(one.predicted, one.measured) for one in outcome.attempts],
        "dense_ms": outcome.dense_ms,
        "fit_error": outcome.fit_error,
        "macs": sapwood.count_macs(pruned.model, bundle.example_inputs).total
        / sapwood.count_macs(bundle.model, bundle.example_inputs).total,
        "verified": pruned.verification.passed,
        "timed_by": outcome.conditions.get(TIMED_BY, "the clock"),
    }
    with tempfile.TemporaryDirectory() as folder:
        sapwood.save(pruned, folder, source=bundle)
        command = [sys.executable, "-W", "ignore", __file__, "--again", name, data, folder, runtime]
        if threads:
            command += ["--threads", str(threads)]
        if options.processor:
            command.append("--processor")
        found = []
        for _ in range(PROCESSES):
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
    row |= sorted(found, key=lambda one: one["ratio"])[PROCESSES // 2]
    row["processes"] = sorted(one["ratio"] for one in found)
    row["met"] = abs(row["ratio"] / target - 1.0) <= 0.05
    return row


def measured_again(name: str, data: str, folder: str, runtime: str, options: argparse.Namespace) -> dict[str, Any]:
    """The ratio of a saved model to the dense one."""
    bundle, small = loaded(name, data), sapwood.load_model(folder)
    deployment = Deployment(runtime, options.threads)
    inputs = with_batch(bundle.example_inputs, deployment.batch)
    sessions = {
        key: RUNTIMES[runtime].load(model, inputs, threads=deployment.num_threads)
        for key, model in (("dense", bundle.model), ("pruned", small.model))
    }
    if options.processor:
        found = processor_times(sessions)
        return {**found["pruned"], "dense_ms": found["dense"]["ms"]}
    table = sapwood.measure_latency(sessions, baseline="dense", rounds=300, seconds=4.0, threads=deployment.num_threads)
    row = table["pruned"]
    return {"ratio": row.ratio, "q1": row.ratio_q1, "q3": row.ratio_q3, "dense_ms": table["dense"].median_ms}


def line(row: dict[str, Any]) -> str:
    head = f"{row['model']:20} {row['runtime']:12} target {row['target']:.2f}"
    if "error" in row:
        return f"{head}  {row['error']}"
    return (
        f"{head}  measured {row['ratio']:.3f} ({row['q1']:.3f} to {row['q3']:.3f})  "
        f"{'met' if row['met'] else 'MISSED'}  while pruning {row['while_pruning']:.3f} by {row['timed_by']}, "
        f"{len(row['attempts'])} attempts, "
        f"first predicted {row['attempts'][0][0]:.3f} -> {row['attempts'][0][1]:.3f}; MACs {row['macs']:.3f}; "
        f"dense {row['dense_ms']:.1f} ms; {row['seconds']:.0f} s"
    )


if __name__ == "__main__":
    main()
