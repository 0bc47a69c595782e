"""Depthwise convolutions of mobile networks, layer by layer: the engine beside oneDNN, in PyTorch and in OpenVINO.

    python benchmarks/depthwise.py
    SAPWOOD_ISA=avx2 ONEDNN_MAX_CPU_ISA=AVX2 DNNL_MAX_CPU_ISA=AVX2 python benchmarks/depthwise.py --threads 2

Each layer stands between 1 x 1 convolutions, so that a runtime that has a layout of its own has it there; the time is
that of the layer alone. PyTorch's is a call on tensors and weights in oneDNN's layout. A line a layer: microseconds of
the engine, then for each peer the median over interleaved rounds of its time over the engine's, with quartiles.
--zeros makes some weights zero.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.utils import mkldnn

from sapwood.runtime import RUNTIMES
from sapwood.runtime.engine import instruction_set

LAYERS = (
    ("MobileNetV2", ((32, 112, 3, 1), (96, 112, 3, 2), (144, 56, 3, 1), (144, 56, 3, 2), (192, 28, 3, 1),
                     (192, 28, 3, 2), (384, 14, 3, 1), (576, 14, 3, 1), (576, 14, 3, 2), (960, 7, 3, 1))),
    ("yolo-fastest-1.1-xl", ((16, 160, 3, 1), (48, 160, 3, 2), (96, 80, 3, 1), (192, 40, 3, 2), (272, 20, 3, 1),
                             (448, 10, 5, 1))),
    ("MobileNetV3", ((72, 56, 5, 2), (120, 28, 5, 1), (240, 28, 3, 2), (672, 14, 5, 2), (960, 7, 5, 1))),
)  # fmt: skip
"""Channels, side of the map, side of the window and stride."""


class Between(nn.Module):
    """A depthwise convolution between convolutions of single places."""

    def __init__(self, channels: int, window: int, stride: int) -> None:
        super().__init__()
        self.before = nn.Conv2d(8, channels, 1)
        self.depthwise = nn.Conv2d(channels, channels, window, stride, window // 2, groups=channels)
        self.behind = nn.Conv2d(channels, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.behind(self.depthwise(self.before(x)))


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    print(f"{instruction_set()}, {options.threads} threads, {options.zeros:.0%} zeros, PyTorch {torch.__version__}")
    for network, layers in LAYERS:
        for channels, side, window, stride in layers:
            times = timed(channels, side, window, stride, options)
            own = times.pop("sapwood")
            text = (
                f"{network:20} {channels:4} x {side:3}  {window} x {window} s{stride}  {statistics.median(own):8.1f} us"
            )
            for name, found in times.items():
                low, middle, high = statistics.quantiles([one / two for one, two in zip(found, own, strict=True)], n=4)
                text += f"  {name} {middle:.2f} ({low:.2f} to {high:.2f})"
            print(text, flush=True)


def timed(channels: int, side: int, window: int, stride: int, options: argparse.Namespace) -> dict[str, list[float]]:
    """Microseconds of each runtime, round by round."""
    torch.manual_seed(0)
    model = Between(channels, window, stride).eval()
    with torch.no_grad():
        model.depthwise.weight *= torch.rand_like(model.depthwise.weight) >= options.zeros
    picture = torch.rand(1, 8, side, side)
    runs = {
        "sapwood": layer("sapwood", model.depthwise, "", torch.rand(1, channels, side, side), options.threads),
        "torch": in_torch(model, picture),
        "openvino": layer("openvino", model, "depthwise", picture, options.threads),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.rounds):
        for name, run in runs.items():
            times[name].append(run())
    return times


def layer(runtime: str, model: nn.Module, name: str, picture: torch.Tensor, threads: int) -> Callable[[], float]:
    session = RUNTIMES[runtime].load(model, picture, threads=threads)
    return lambda: 1e3 * session.layer_times(5)[name]


def in_torch(model: Between, picture: torch.Tensor) -> Callable[[], float]:
    prepared = mkldnn.to_mkldnn(copy.deepcopy(model))  # it changes what it is given
    with torch.no_grad():
        wide = prepared.before(picture.to_mkldnn())

    def run() -> float:
        found = []
        with torch.no_grad():
            for _ in range(7):
                start = time.perf_counter()
                prepared.depthwise(wide)
                found.append(1e6 * (time.perf_counter() - start))
        return statistics.median(found[2:])

    return run


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--zeros", type=float, default=0.0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
