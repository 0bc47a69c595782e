"""What even widths gain: the same sparsity with any widths (`--round-to 1`) and with the default's multiples of 8.

    python benchmarks/even_widths.py yolov3-tiny.cfg --weights yolov3-tiny.weights --sparsity 0.1 0.2

All networks are pruned first and then timed together in interleaved rounds; a ratio is the median over the rounds of a
network's time over the dense one's in the same round, with its quartiles.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import sapwood
from sapwood.measure import count_macs, measure_latency
from sapwood.measure.latency import SPIN_DOWN
from sapwood.runtime import RUNTIMES

WAYS = {"any": sapwood.Limits(round_to=1), "even": sapwood.Limits()}


def main() -> None:
    options = parsed()
    bundle = sapwood.load_model(options.model, weights=options.weights)
    inputs = bundle.example_inputs
    models = {"dense": bundle.model}
    for sparsity in options.sparsity:
        for name, limits in WAYS.items():
            target = sapwood.Target(sparsity=sparsity)
            models[f"{sparsity:g} {name}"] = sapwood.prune(bundle.model, inputs, target=target, limits=limits).model
    runtime = RUNTIMES[options.runtime]
    sessions = {name: runtime.load(model, inputs, threads=options.threads) for name, model in models.items()}
    table = measure_latency(
        sessions,
        baseline="dense",
        rounds=options.rounds,
        seconds=options.seconds,
        threads=options.threads,
        pause=SPIN_DOWN,
    )
    rounds = table.conditions["rounds"]
    print(f"{options.model}, {options.runtime} {runtime.version()}, {options.threads} threads, {rounds} rounds, "
          f"PyTorch {torch.__version__}")  # fmt: skip
    for row in table.rows:
        work = count_macs(models[row.name], inputs).total / count_macs(models["dense"], inputs).total
        print(f"{row.name:10} {row.median_ms:8.2f} ms  {row.ratio:.3f} ({row.ratio_q1:.3f} to {row.ratio_q3:.3f}), "
              f"MACs {work:.3f}")  # fmt: skip


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--sparsity", type=float, nargs="+", default=[0.1, 0.2])
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=20.0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
