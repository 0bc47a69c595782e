"""What the roads through frameworks share (`ultralytics_bccd.py`, `torchvision_bccd.py`, `roads_transformers.py`).

A road: a network that the framework trained, pruned and recovered by one command, trained on by the framework, and
loaded by the framework alone; beside it Torch-Pruning's network of the same measured latency, trained on equally long.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from sapwood.types import ModelBundle

WITHOUT = (
    "import runpy, sys; sys.modules['sapwood'] = None; del sys.argv[0]; runpy.run_path(sys.argv[0], {}, '__main__')"
)
"""Runs a file in a process in which `import sapwood` fails."""


STEPS = ("data", "train", "prune", "tune", "peer", "figures")
"""Of a road, in their order."""


def parser(doc: str | None, epochs: int, tune_epochs: int) -> argparse.ArgumentParser:
    """What every road is asked: a step or all, where it keeps things, and how long it trains by itself."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("what", choices=("all", *STEPS))
    made.add_argument("directory", type=Path)
    made.add_argument("--epochs", type=int, default=epochs, help="Of the dense network")
    made.add_argument("--tune-epochs", type=int, default=tune_epochs)
    return made


def command(*arguments: str) -> None:
    """Runs a command of Sapwood's, and says which, and its seconds; a target that was missed is told, not an error."""
    print("sapwood", *arguments, flush=True)
    with seconds("sapwood " + arguments[0]):
        code = "import sys; from sapwood.cli import main; main(sys.argv[1:])"
        ended = subprocess.run([sys.executable, "-c", code, *arguments], check=False).returncode
    if ended not in (0, 1):
        raise SystemExit(f"sapwood {arguments[0]} ended with exit code {ended}")


def without_sapwood(file: str, *arguments: str) -> None:
    """Runs ``file`` in a process of its own that cannot import Sapwood."""
    print("without Sapwood:", *arguments, flush=True)
    with seconds(" ".join(arguments[:1])):
        subprocess.run([sys.executable, "-c", WITHOUT, file, *arguments], check=True)


@contextmanager
def seconds(what: str) -> Iterator[None]:
    """Prints the seconds of the clock and of the processor, child processes included."""
    clock, before = time.perf_counter(), os.times()
    yield
    after = os.times()
    spent = sum(after[:4]) - sum(before[:4])
    print(f"{what}: {time.perf_counter() - clock:.0f} s, of the processor {spent:.0f} s", flush=True)


def ratio_of(dense: ModelBundle, small: ModelBundle, rounds: int = 100) -> float:
    """The latency of one network over the other's, medians of rounds in turns, in ONNX Runtime on one thread.

    Of the processor's time: where other work shares the core, the clock's says how often a call was interrupted.
    """
    from processor_times import processor_times

    from sapwood.runtime import RUNTIMES

    calls = {
        name: RUNTIMES["onnxruntime"].load(one.model, one.example_inputs, threads=1)
        for name, one in (("dense", dense), ("small", small))
    }
    return processor_times(calls, rounds)["small"]["ratio"]


def torch_pruned(
    model: Callable[[], tuple[nn.Module, list[nn.Module]]],
    inputs: Any,
    bundle: Callable[[nn.Module], ModelBundle],
    latency: float,
    *,
    of: Callable[[nn.Module], dict[str, Any]] = lambda network: {},
    after: Callable[[nn.Module], None] = lambda network: None,
) -> nn.Module:
    """Torch-Pruning's network of a measured latency: L2 over groups, one ratio for all layers, which is bisected.

    Args:
        model: Makes a copy of the dense network, and names its layers that are to stay.
        inputs: Of that network.
        bundle: What is timed of a network.
        latency: The share of the dense network's that is wanted.
        of: Further options of its pruner for a network.
        after: Sets what the code of a pruned network reads.
    """
    import torch_pruning as tp

    dense = bundle(model()[0])
    low, high = 0.1, 0.9
    best: tuple[float, nn.Module] | None = None
    for _ in range(6):
        middle = (low + high) / 2
        network, kept = model()
        importance = tp.importance.GroupMagnitudeImportance(p=2)
        tp.pruner.MetaPruner(
            network, inputs, importance=importance, pruning_ratio=middle, ignored_layers=kept, **of(network)
        ).step()
        after(network)
        found = ratio_of(dense, bundle(network))
        print(f"Torch-Pruning, ratio {middle:.3f}: {found:.3f} of the latency", flush=True)
        if found <= latency * 1.05 and (best is None or abs(found - latency) < best[0]):
            best = abs(found - latency), network
        low, high = (middle, high) if found > latency else (low, middle)
    if best is None:
        raise SystemExit(f"Torch-Pruning: no ratio has {latency} of the latency")
    return best[1]
