"""The sparse engine beside dense runtimes: whole networks, one run, interleaved rounds.

    python benchmarks/engine.py yolov4-tiny.cfg --sparsity 0.5 0.8 0.9 0.95
    python benchmarks/engine.py yolov3-tiny.cfg --weights yolov3-tiny.weights --sparsity 0.8 0.9 --threads 2
    python benchmarks/engine.py bert:128 --peers onnxruntime
    SAPWOOD_ISA=avx2 ONEDNN_MAX_CPU_ISA=AVX2 DNNL_MAX_CPU_ISA=AVX2 python benchmarks/engine.py yolov4-tiny.cfg

The last one holds the engine, OpenVINO and PyTorch to AVX2, all of which take it from these variables; ONNX Runtime has
no such switch and uses what the processor has.

Zeros are drawn at random, the same fraction in every convolution and linear layer but the first convolution. Speed does
not depend on the values, so that weights may be random; where --weights are given, the largest stay. Each session's
outputs are compared with PyTorch's before it is timed, but for int8, which is calibrated on random inputs: it is there
for its time.

--memory prints by how much a fresh process grows that loads and runs the network, on the engine and in ONNX Runtime.
With several --threads the whole is run for each.

ONNX Runtime runs with all of its graph optimizations, its fusion of attention, norms and GELU among them where it finds
their form.

A line for each sparsity: milliseconds of the engine, then for each peer the median over the rounds of its time over the
engine's, with quartiles. Peers run the same network, zeros and all; for them zeros change nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

import sapwood
import sapwood.runtime
from sapwood.measure import measure_latency
from sapwood.measure.latency import SPIN_DOWN
from sapwood.runtime import RUNTIMES, Session, check_session
from sapwood.runtime.engine import instruction_set

PEERS = ("onnxruntime", "openvino", "openvino-int8", "onnxruntime-int8", "torch-compile", "torch")
USUAL_PEERS = ("onnxruntime", "openvino", "torch-compile", "torch")


def main() -> None:
    options = parsed()
    dense, inputs = loaded(options.model, options.weights)
    rows: list[dict[str, Any]] = []
    for threads in options.threads:
        held = os.environ.get("ONEDNN_MAX_CPU_ISA")
        print(f"{options.model}, {tuple(inputs.shape)}, {threads} threads, {instruction_set()}, "
              f"oneDNN: {held or 'any'}, {options.rounds} rounds, PyTorch {torch.__version__}", flush=True)  # fmt: skip
        peers = {name: loaded_peer(name, dense, inputs, threads) for name in options.peers}
        for sparsity in options.sparsity:
            rows.append(row(options, (dense, inputs), peers, sparsity=sparsity, threads=threads))
            Path(options.out).write_text(json.dumps(rows, indent=1))


def loaded_peer(name: str, dense: nn.Module, inputs: torch.Tensor, threads: int) -> Session:
    """A dense runtime's session, whose outputs are right where it is exact."""
    session = RUNTIMES[name].load(dense, inputs, threads=threads)
    if getattr(RUNTIMES[name], "exact", True):
        check_session(session, dense, inputs)
    return session


def row(
    options: argparse.Namespace,
    network: tuple[nn.Module, torch.Tensor],
    peers: dict[str, Session],
    *,
    sparsity: float,
    threads: int,
) -> dict[str, Any]:
    """Measures and prints one sparsity of a dense network."""
    dense, inputs = network
    model = sparse(dense, sparsity, largest=options.weights is not None)
    start = time.perf_counter()
    session: Any = RUNTIMES["sapwood"].load(model, inputs, threads=threads)
    compiled_s = time.perf_counter() - start
    error = check_session(session, model, inputs)
    found = measure_latency(
        {"sapwood": session, **peers},
        baseline="sapwood",
        rounds=options.rounds,
        seconds=options.seconds,
        threads=threads,
        pause=SPIN_DOWN if threads > 1 else 0.0,  # threads of a peer spin on after its call
        clock=time.process_time if options.processor else time.perf_counter,
    )
    own = found["sapwood"]
    told = {"sparsity": sparsity, "threads": threads, "ms": own.median_ms, "error": error, "compile_s": compiled_s}
    text = f"{sparsity:4.0%}  {own.median_ms:7.2f} ms"
    for name in peers:
        one = found[name]
        told[name] = [one.ratio, one.ratio_q1, one.ratio_q3]
        text += f"  {name} {one.ratio:.2f} ({one.ratio_q1:.2f} to {one.ratio_q3:.2f})"
    print(f"{text}  [compiled in {compiled_s:.1f} s, differs by {error:.0e}]", flush=True)
    if options.layers:
        for label, milliseconds in sorted(session.layer_times(10).items(), key=lambda item: -item[1])[: options.layers]:
            print(f"      {milliseconds:7.3f} ms  {label}")
    if options.memory:
        told["memory_mib"] = memory(model, inputs, threads)
        print("      " + ", ".join(f"{name} {mib:.0f} MiB" for name, mib in told["memory_mib"].items()), flush=True)
    return told


def loaded(model: str, weights: str | None) -> tuple[nn.Module, torch.Tensor]:
    """A network in evaluation mode and its input; ``bert:128`` is BERT-base, of random weights, on 128 tokens."""
    kind, _, tokens = model.partition(":")
    if kind == "bert":
        from transformers import BertConfig, BertModel

        config = BertConfig(return_dict=False)
        return BertModel(config).eval(), torch.randint(config.vocab_size, (1, int(tokens)))
    bundle = sapwood.load_model(model, weights=weights)
    return bundle.model.eval(), torch.rand_like(bundle.example_inputs)


GROWTH = """
import os, sys, numpy, torch, onnxruntime, sapwood.runtime
from pathlib import Path
kind, path, threads, shape = sys.argv[1], sys.argv[2], int(sys.argv[3]), [int(n) for n in sys.argv[4].split(",")]
dtype = getattr(torch, sys.argv[5].removeprefix("torch."))
torch.set_num_threads(threads)
sapwood.runtime.compile(torch.nn.ReLU(), torch.zeros(1, 1, 4, 4))
picture = torch.ones(shape, dtype=dtype)
resident = lambda: int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
before = resident()
if kind == "sapwood":
    model = sapwood.runtime.load(path, threads=threads)
    run = lambda: model(picture)
else:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    run = lambda: session.run(None, {session.get_inputs()[0].name: picture.numpy()})
for _ in range(5):
    run()
print(resident() - before)
"""


def memory(model: nn.Module, inputs: torch.Tensor, threads: int) -> dict[str, float]:
    """MiB by which a fresh process grows that loads a network from a file and runs it."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        files = {"sapwood": f"{folder}/engine", "onnxruntime": f"{folder}/model.onnx"}
        sapwood.runtime.compile(model, inputs, threads=threads).save(files["sapwood"])
        sapwood.export_onnx(model, inputs, files["onnxruntime"])
        for name, path in files.items():
            shape = ",".join(map(str, inputs.shape))
            command = [sys.executable, "-c", GROWTH, name, path, str(threads), shape, str(inputs.dtype)]
            found[name] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def sparse(dense: nn.Module, sparsity: float, *, largest: bool) -> nn.Module:
    """A copy with zeros in all convolutions but the first, and in all linear layers."""
    model = sapwood.copy_model(dense)
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    first = next((layer for layer in layers if isinstance(layer, nn.Conv2d)), None)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in layers:
            if layer is first:
                continue
            weight = layer.weight
            scores = weight.abs() if largest else torch.rand(weight.shape, generator=generator)
            gone = round(sparsity * weight.numel())
            if gone:
                weight.flatten()[scores.flatten().argsort()[:gone]] = 0.0
    return model


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--weights")
    parser.add_argument("--sparsity", type=float, nargs="+", default=[0.5, 0.8, 0.9, 0.95])
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=600.0, help="After which no round of a sparsity begins")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(USUAL_PEERS))
    parser.add_argument("--layers", type=int, default=0, help="Slowest layers to list")
    parser.add_argument("--processor", action="store_true", help="Time of the processor, beside other work")
    parser.add_argument("--memory", action="store_true", help="Measure it, too")
    parser.add_argument("--out", default="engine.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
