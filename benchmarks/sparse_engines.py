"""The engine beside DeepSparse, the runtime that was made for zeros until 2025: whole networks, one run, interleaved.

    python benchmarks/sparse_engines.py torchvision:resnet50 --sparsity 0.8 0.9 0.95 --work DIR

DeepSparse 1.8.0 (community edition, which may be used to evaluate it) needs packages of 2023: it is installed into an
environment of its own in DIR, with ONNX Runtime beside it, and runs in a process of its own; its telemetry is off. Each
round asks one process after the other for a few runs of the same network on one thread; times are of the processor, so
that other work changes them little. Zeros are drawn at random as in ``benchmarks/engine.py``. Outputs are
compared with PyTorch's first. A line for each sparsity: the engine's milliseconds, and the median over the rounds of
the time of DeepSparse and of ONNX Runtime over the engine's, with quartiles.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from engine import loaded, sparse
from torch import nn

from sapwood.runtime import RUNTIMES, check_session
from sapwood.runtime.engine import instruction_set

PACKAGES = ("deepsparse==1.8.0", "onnxruntime==1.23.2", "numpy==1.26.4")
PEERS = ("deepsparse", "onnxruntime")
RUNS = 3
"""In each round, of which the fastest counts."""

CHILD = """
import json, os, sys, time
os.environ["NM_DISABLE_ANALYTICS"] = "1"
import numpy, onnxruntime
from deepsparse import Engine
path, values, runs = sys.argv[1], numpy.load(sys.argv[2]), int(sys.argv[3])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
engine = Engine(model=path, batch_size=1, num_cores=1)
calls = {
    "deepsparse": lambda: engine.run([values]),
    "onnxruntime": lambda: session.run(None, {session.get_inputs()[0].name: values}),
}
numpy.savez(sys.argv[2] + ".out.npz", **{name: call()[0] for name, call in calls.items()})
print("ready", flush=True)
for line in sys.stdin:
    call = calls[line.strip()]
    times = []
    for _ in range(runs):
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
    print(json.dumps(min(times)), flush=True)
"""


class Peer:
    """A process that runs a network in DeepSparse and ONNX Runtime."""

    def __init__(self, python: Path, model: nn.Module, inputs: torch.Tensor, work: Path) -> None:
        network, values = work / "network.onnx", work / "inputs.npy"
        torch.onnx.export(model, (inputs,), str(network), opset_version=13, dynamo=False)
        np.save(values, inputs.numpy())
        command = [str(python), "-c", CHILD, str(network), str(values), str(RUNS)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self._read().strip() != "ready":
            raise SystemExit("the process of DeepSparse ended before it ran anything")
        with torch.no_grad():
            wanted = model(inputs).numpy()
        found = np.load(f"{values}.out.npz")
        for name in PEERS:
            error = float(np.abs(found[name] - wanted).max() / np.abs(wanted).max())
            if not error < 1e-4:
                raise SystemExit(f"{name} differs from PyTorch by {error:.0e} of the largest output")

    def seconds(self, name: str) -> float:
        """Of the processor, of one run."""
        assert self.process.stdin is not None
        self.process.stdin.write(name + "\n")
        self.process.stdin.flush()
        return float(json.loads(self._read()))

    def _read(self) -> str:
        """The next line that is the child's own: DeepSparse tells of itself there as well."""
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            if line.strip() == "ready" or line[:1].isdigit():
                return line
        raise SystemExit(f"the process of DeepSparse ended with {self.process.wait()}")

    def close(self) -> None:
        """Ends the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def own_seconds(session: Any) -> float:
    """Of the processor, of one run of the engine."""
    times = []
    for _ in range(RUNS):
        began = time.process_time()
        session()
        times.append(time.process_time() - began)
    return min(times)


def row(options: argparse.Namespace, python: Path, network: tuple[nn.Module, torch.Tensor], sparsity: float) -> str:
    """Measures one sparsity."""
    model, inputs = sparse(network[0], sparsity, largest=options.weights is not None), network[1]
    session: Any = RUNTIMES["sapwood"].load(model, inputs, threads=1)
    error = check_session(session, model, inputs)
    peer = Peer(python, model, inputs, options.work)
    ratios: dict[str, list[float]] = {name: [] for name in PEERS}
    own = []
    for _ in range(options.rounds):
        own.append(own_seconds(session))
        for name in PEERS:
            ratios[name].append(peer.seconds(name) / own[-1])
    peer.close()
    text = f"{sparsity:4.0%}  {1e3 * statistics.median(own):7.2f} ms"
    for name, values in ratios.items():
        low, median, high = statistics.quantiles(values, n=4)
        text += f"  {name} {median:.2f} ({low:.2f} to {high:.2f})"
    return f"{text}  [differs by {error:.0e}]"


def environment(work: Path) -> Path:
    """The Python of an environment that has DeepSparse, which is made where there is none."""
    folder = work / "venv"
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True, stderr=subprocess.DEVNULL)
    return python


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--weights")
    parser.add_argument("--sparsity", type=float, nargs="+", default=[0.8, 0.9, 0.95])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--work", type=Path, default=Path("deepsparse"))
    options = parser.parse_args()
    options.work = options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    python = environment(options.work)
    network = loaded(options.model, options.weights)
    shape = tuple(network[1].shape)
    print(f"{options.model}, {shape}, one thread, {instruction_set()}, {options.rounds} rounds", flush=True)
    for sparsity in options.sparsity:
        print(row(options, python, network, sparsity), flush=True)


if __name__ == "__main__":
    sys.exit(main())
