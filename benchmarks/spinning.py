"""How long the threads of a runtime go on spinning after a call: what `sapwood.measure.SPIN_DOWN` rests on.

    python benchmarks/spinning.py builtin:digits --runtime torch,onnxruntime,openvino

After two calls the process sleeps for a while; printed is the processor time that passes meanwhile, in milliseconds.
"""

from __future__ import annotations

import argparse
import time

import sapwood
from sapwood.measure import machine
from sapwood.runtime import RUNTIMES

SLEEPS_MS = (1, 2, 5, 10, 20, 50, 100, 300)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--weights")
    parser.add_argument("--runtime", default="torch,onnxruntime,openvino")
    parser.add_argument("--threads", type=int, default=machine()["usable_cores"])
    options = parser.parse_args()
    bundle = sapwood.load_model(options.model, weights=options.weights)
    print(f"{'slept, ms':>14}" + "".join(f"{sleep:>8}" for sleep in SLEEPS_MS))
    for name in options.runtime.split(","):
        session = RUNTIMES[name].load(bundle.model, bundle.example_inputs, threads=options.threads)
        burnt = []
        for sleep in SLEEPS_MS:
            session()
            session()
            before = time.process_time()
            time.sleep(1e-3 * sleep)
            burnt.append(1e3 * (time.process_time() - before))
        print(f"{name:>14}" + "".join(f"{value:8.1f}" for value in burnt))


if __name__ == "__main__":
    main()
