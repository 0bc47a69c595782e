"""Time and memory where things are large: ``python benchmarks/scale.py [vit|chain|allocators|files] ...``.

    python benchmarks/scale.py vit chain        # made networks through sapwood.prune, by stage
    python benchmarks/scale.py allocators       # 10,000 groups through each allocator
    python benchmarks/scale.py files            # 2,000,000 names of pictures in 1,000 folders (hard links)

``--small`` takes a hundredth of each, to see that it works. The vision transformer has 500 M parameters (2 GB of
float32) and takes up to 12 GB of memory. Figures in docs/measured.md come from one run of each on one thread.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import sapwood
from allocation import network
from sapwood.allocation import ALLOCATORS
from sapwood.data import open_classification
from sapwood.measure import count_macs, count_params
from sapwood.pipeline import pruning
from sapwood.removal import planner
from sapwood.removal.constraints import Constraints

MEGABYTE = 2**20


def resident() -> float:
    """Memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / MEGABYTE


class Stages:
    """Seconds of the processor and the largest memory of each stage; stages do not overlap."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self.peak: dict[str, float] = defaultdict(float)
        self._open: list[str] = ["the rest"]
        self._since = time.process_time()
        self._done = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._done.wait(0.02):
            name = self._open[-1]
            self.peak[name] = max(self.peak[name], resident())

    def _turn(self) -> None:
        now = time.process_time()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """What runs inside counts for ``name``, and not for the stage around it."""
        self._turn()
        self._open.append(name)
        self.calls[name] += 1
        try:
            yield
        finally:
            self._turn()
            self._open.pop()

    def around(self, holder: Any, attribute: str, name: str) -> None:
        """Counts every call of a function of Sapwood's."""
        inner = getattr(holder, attribute)

        def counted(*args: Any, **kwargs: Any) -> Any:
            with self.stage(name):
                return inner(*args, **kwargs)

        setattr(holder, attribute, counted)

    def __enter__(self) -> Stages:
        self._watch.start()
        self._since = time.process_time()
        return self

    def __exit__(self, *error: object) -> None:
        self._turn()
        self._done.set()
        self._watch.join()

    def show(self, before: float) -> None:
        for name, seconds in self.seconds.items():
            memory = f"{(self.peak[name] - before) / 1024:6.2f} GB more than before" if name in self.peak else ""
            print(f"  {name:12} {self.calls[name] or 1:3} x {seconds:8.1f} s {memory}")
        print(f"  {'all':12}       {sum(self.seconds.values()):8.1f} s", flush=True)


class Block(nn.Module):
    """A pre-norm block of a transformer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:  # shape: (B, T, C)
        batch, length, _ = x.shape
        parts = self.qkv(self.first(x)).reshape(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(parts[0], parts[1], parts[2])
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, -1))
        return x + self.down(nn.functional.gelu(self.up(self.second(x))))


class Vit(nn.Module):
    """A vision transformer of 4 x 4 patches; with 25 blocks of 1,280 it has 493 M parameters."""

    def __init__(self, blocks: int, width: int, heads: int) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 14, 14)
        self.places = nn.Parameter(torch.randn(1, 16, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(blocks)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 1000)

    def forward(self, pictures: Tensor) -> Tensor:  # shape: (B, 3, 56, 56)
        tokens = self.patch(pictures).flatten(2).transpose(1, 2) + self.places
        scores: Tensor = self.head(self.norm(self.blocks(tokens)).mean(1))
        return scores


def chain(layers: int) -> nn.Module:
    """Convolutions of 16 channels, one behind the other."""
    body = [
        layer
        for number in range(layers)
        for layer in (nn.Conv2d(16 if number else 3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
    ]
    return nn.Sequential(*body, nn.Conv2d(16, 4, 1))


def networks(small: bool) -> dict[str, Callable[[], tuple[nn.Module, Tensor]]]:
    blocks, width, heads = (3, 256, 4) if small else (25, 1280, 16)
    return {
        "vit": lambda: (Vit(blocks, width, heads).eval(), torch.randn(1, 3, 56, 56)),
        "chain": lambda: (chain(30 if small else 1000).eval(), torch.randn(1, 3, 8, 8)),
    }


def pruned(name: str, small: bool) -> None:
    """One network through ``sapwood.prune`` to 0.6 of its MACs, and saved."""
    torch.manual_seed(0)
    model, picture = networks(small)[name]()
    before = resident()
    print(f"{name}: {count_params(model) / 1e6:.1f} M parameters, {before / 1024:.2f} GB before", flush=True)
    with Stages() as stages, tempfile.TemporaryDirectory() as folder:
        stages.around(planner.Dense, "structure", "record")
        stages.around(Constraints, "analyse", "groups")
        stages.around(pruning.Scorer, "__call__", "score")
        for allocator in ALLOCATORS:
            stages.around(ALLOCATORS[allocator], "__call__", "allocate")
        stages.around(planner, "realise", "build")
        stages.around(planner, "verify", "proof")
        stages.around(pruning, "apply_plan", "apply")
        result = sapwood.prune(model, picture, target=sapwood.Target(macs=0.6))
        with stages.stage("save"):
            sapwood.save(result, Path(folder) / "small", model=lambda: networks(small)[name]()[0])
    stages.show(before)
    share = count_macs(result.model, picture).total / count_macs(model, picture).total
    print(f"  {share:.3f} of the MACs, error {result.verification.max_abs_error:.0e}")


def allocators(small: bool) -> None:
    """A bottleneck network of 10,000 groups."""
    blocks = [12, 13, 13, 12] if small else [1225, 1250, 1300, 1223]
    problem = network(np.random.default_rng(0), blocks, 16)
    before = resident()
    print(f"{len(problem.names)} groups of {min(problem.num_channels)} to {max(problem.num_channels)} channels")
    for name in ALLOCATORS:
        start, memory = time.process_time(), resident()
        result = ALLOCATORS[name]()(problem, 0.5 * problem.dense_cost)
        seconds = time.process_time() - start
        print(f"  {name:8} {seconds:7.1f} s, {resident() - memory:6.0f} MB, loss {result.loss:.1f}", flush=True)
    print(f"  {resident() - before:.0f} MB more than before")


def files(small: bool) -> None:
    """The names of a data set of folders; hard links, so that they take no room but their names."""
    folders, each = (10, 2000) if small else (1000, 2000)
    with tempfile.TemporaryDirectory() as root:
        for number in range(folders):
            folder = Path(root, "train", f"class{number:04}")
            folder.mkdir(parents=True)
            first = folder / "picture0000.jpg"
            first.touch()
            for picture in range(1, each):
                os.link(first, folder / f"picture{picture:04}.jpg")
        before, start = resident(), time.process_time()
        data = open_classification(root, split="train")
        seconds = time.process_time() - start
        print(f"{len(data.samples):,} pictures: {seconds:.1f} s, {resident() - before:.0f} MB", flush=True)
        assert len({sample.image_id for sample in data.samples}) == folders * each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=["vit", "chain", "allocators", "files"])
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for what in options.what:
        if what in ("vit", "chain"):
            pruned(what, options.small)
        else:
            {"allocators": allocators, "files": files}[what](options.small)


if __name__ == "__main__":
    main()
