"""What half of the channels buys: the measured speed-up of uniform structured pruning beside the MACs' factor.

    python benchmarks/uniform_speedup.py ../shared/data/detectors/yolov4-tiny.cfg --runtime onnxruntime

Channels are removed at `--sparsity` from every group; weights do not matter and may be left out. Printed: the factor
by which MACs fell, the speed-up measured in interleaved rounds, their ratio (goal: at least 0.8), and the layers whose
time did not fall as their work did, with the reason.
"""

from __future__ import annotations

import argparse

import sapwood
from sapwood.pipeline import Deployment, Limits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--weights")
    parser.add_argument("--runtime", nargs="*", default=["onnxruntime"])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--sparsity", type=float, default=0.5)
    parser.add_argument("--round-to", type=int, default=1)
    options = parser.parse_args()
    bundle = sapwood.load_model(options.model, weights=options.weights)
    for runtime in options.runtime:
        pruned = sapwood.prune(
            bundle.model,
            bundle.example_inputs,
            target=sapwood.Target(sparsity=options.sparsity),
            limits=Limits(round_to=options.round_to),
            deployment=Deployment(runtime, options.threads),
        )
        found = pruned.latency
        assert found is not None
        macs = sapwood.count_macs(bundle.model, bundle.example_inputs).total
        factor = macs / sapwood.count_macs(pruned.model, bundle.example_inputs).total
        speedup = 1.0 / found.ratio
        print(
            f"{runtime}: MACs {factor:.2f} times fewer, {speedup:.2f} times as fast "
            f"({1.0 / found.ratio_q3:.2f} to {1.0 / found.ratio_q1:.2f}): {speedup / factor:.2f} of it; "
            f"{found.dense_ms:.1f} -> {found.pruned_ms:.1f} ms; predicted {1.0 / found.predicted:.2f}"
        )
        for layer in found.layers:
            if layer.reason and layer.after_ms is not None:
                print(
                    f"  {layer.layer or '(the model)':18} {layer.before_ms:6.2f} -> {layer.after_ms:5.2f} ms"
                    f"  {layer.reason}"
                )


if __name__ == "__main__":
    main()
