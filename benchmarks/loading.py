"""How long a Darknet network takes to load: builds it and reads its weights, each time in a fresh process.

    python benchmarks/loading.py ../shared/data/detectors/yolov3-tiny.cfg ../shared/data/detectors/yolov3-tiny.weights

Prints the seconds after `import torch`, which takes as long whatever is loaded.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

CODE = """
import sys, time, torch
began = time.perf_counter()
from sapwood.models import load_model
load_model(sys.argv[1], weights=sys.argv[2])
print(time.perf_counter() - began)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cfg")
    parser.add_argument("weights")
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    seconds = []
    for _ in range(options.runs):
        command = [sys.executable, "-c", CODE, options.cfg, options.weights]
        seconds.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    print(f"{options.cfg}: median {statistics.median(seconds):.3f} s, {min(seconds):.3f} to {max(seconds):.3f} s")


if __name__ == "__main__":
    main()
