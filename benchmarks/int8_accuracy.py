"""Accuracy of channels and int8 together: ``python benchmarks/int8_accuracy.py resnet56 --judged 2000``.

Prunes one of the networks of ``subjects.py`` to a share of its MACs, recovers it by reconstruction from pictures
without their labels, and measures four rows on the same pictures: dense and pruned, float32 and int8 (ranges from 128
pictures of the train part). Runs with ``pip install 'sapwood[int8]'``.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from subjects import NAMES, subject

import sapwood
from sapwood.pipeline import on_runtime, recover
from sapwood.tasks import calibration_batches, evaluate

RANGES = 128
"""Pictures that the ranges of int8 are from."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=NAMES)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--macs", type=float, default=0.6)
    parser.add_argument("--num-pictures", type=int, default=500, help="Pictures that reconstruction looks at")
    parser.add_argument("--judged", type=int, default=2000, help="Pictures that accuracy is measured on, at most")
    parser.add_argument("--runtime", default="onnxruntime", choices=["onnxruntime", "openvino"])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    dense, train, judged = subject(options.model, options.data)
    order = np.random.default_rng(7).permutation(len(judged.samples))[: options.judged].tolist()
    judged = replace(judged, samples=tuple(judged.samples[number] for number in sorted(order)))
    batches = calibration_batches(dense, train, num_pictures=options.num_pictures)
    pruned = sapwood.prune(dense, target=sapwood.Target(macs=options.macs))
    pruned = recover(dense, pruned, [batch.inputs for batch in batches], "reconstruct")
    ranges = calibration_batches(dense, train, num_pictures=RANGES, batch_size=1)
    pictures = [batch.inputs for batch in ranges]
    for name, bundle in (("dense", dense), ("pruned", replace(dense, model=pruned.model))):
        for runtime in (options.runtime, f"{options.runtime}-int8"):
            there = on_runtime(bundle, runtime, pictures=lambda: pictures, threads=options.threads)
            found = evaluate(there, judged)
            accuracy = f"{found.primary} {found.metrics[found.primary]:.4f}"
            print(f"{name} on {runtime}: {accuracy} on {len(judged.samples)} pictures", flush=True)


if __name__ == "__main__":
    main()
