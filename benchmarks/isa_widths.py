"""Time over channels on a runtime, by instruction set: ``python benchmarks/isa_widths.py openvino torch onnxruntime``.

Chains of four 3x3 or 1x1 convolutions of one width, 26 x 26 positions, batch 1, one thread; times at equal work,
relative to 64 channels, of widths between 48 and 72 interleaved in rounds. ``ONEDNN_MAX_CPU_ISA=AVX2`` in front keeps
OpenVINO and PyTorch, whose convolutions are oneDNN's, to AVX2; ONNX Runtime has no such switch.
Ten seconds a runtime; nothing else should run meanwhile.
"""

from __future__ import annotations

import os
import sys

import torch
from torch import nn

from sapwood.measure import count_macs, measure_latency
from sapwood.runtime import RUNTIMES

WIDTHS = (48, 52, 56, 60, 62, 63, 64, 65, 66, 68, 72)
LAYERS = 4
X = (26, 26)


def chain(width: int, kernel: int) -> nn.Sequential:
    """Layers of one width, each read by the next."""
    layers = [nn.Sequential(nn.Conv2d(width, width, kernel, padding=kernel // 2), nn.ReLU()) for _ in range(LAYERS)]
    return nn.Sequential(*layers).eval()


def row(name: str, kernel: int) -> list[str]:
    """Time at equal work by width, relative to 64 channels."""
    sessions, macs = {}, {}
    for width in WIDTHS:
        model, inputs = chain(width, kernel), torch.randn(1, width, *X)
        sessions[str(width)] = RUNTIMES[name].load(model, inputs, threads=1)
        macs[str(width)] = count_macs(model, inputs).total
    table = measure_latency(sessions, baseline="64", rounds=150, seconds=4.0, threads=1)
    return [f"{one.ratio * macs['64'] / macs[one.name]:.2f}" for one in table.rows]


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "what the machine has")
    print(f"| {limit} | layers | " + " | ".join(map(str, WIDTHS)) + " |")
    print("|---|---|" + "--:|" * len(WIDTHS))
    for name in sys.argv[1:]:
        for kernel in (3, 1):
            print(
                f"| {name} {RUNTIMES[name].version()} | {kernel} x {kernel} | " + " | ".join(row(name, kernel)) + " |"
            )


if __name__ == "__main__":
    main()
