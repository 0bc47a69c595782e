"""What pruning costs beside Torch-Pruning, and where the seconds go: a table of a few models, stage by stage.

    pip install -r benchmarks/frameworks.txt && python benchmarks/pruning_speed.py [MODEL...] [--rounds 3]

Models are those of the zoo (`zoo.py` says how they are made and what is asked of both tools: sparsity 0.5 in every
group, L2). Every run is in a process of its own, forked from one that has imported both tools and pruned one layer with
each, so that neither pays for imports. Seconds are those of the processor on one thread, the median over rounds, in
which the tools take turns; the ratio is formed inside a round.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

MODELS = (
    "hf:bert",
    "hf:vit",
    "tv:resnet18",
    "tv:mobilenet_v2",
    "tv:googlenet",
    "tv:regnet_y_400mf",
    "timm:vit_tiny_patch16_224",
    "tv:densenet121",
)
STAGES = ("record", "groups", "choose", "realise", "proof", "rest")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, help="Names in either list of the zoo")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    warm_up()
    print(
        f"{'ms':28} {'T.-P.':>7} {'Sapwood':>8} "
        + " ".join(f"{stage:>8}" for stage in STAGES)
        + "  ratio  unproven  MB"
    )
    ratios = []
    for name in options.models:
        rounds = [(in_child(theirs, name), in_child(ours, name)) for _ in range(options.rounds)]
        print(line(name, rounds), flush=True)
        ratios.append(ratio(rounds))
    if ratios:
        print(f"median ratio {statistics.median(ratios):.2f}")


def ratio(rounds: list[tuple[dict[str, float], dict[str, float]]], *, without: str = "") -> float:
    """Sapwood's seconds over Torch-Pruning's, inside of each round."""
    return statistics.median((own["all"] - own.get(without, 0.0)) / other["all"] for other, own in rounds)


def line(name: str, rounds: list[tuple[dict[str, float], dict[str, float]]]) -> str:
    def middle(tool: int, stage: str) -> float:
        return 1000 * statistics.median(one[tool].get(stage, 0.0) for one in rounds)

    stages = " ".join(f"{middle(1, stage):8.0f}" for stage in STAGES)
    memory = max(own["memory_mb"] for _, own in rounds)
    return (
        f"{name:28} {middle(0, 'all'):7.0f} {middle(1, 'all'):8.0f} {stages} {ratio(rounds):6.2f} "
        f"{ratio(rounds, without='proof'):9.2f} {memory:5.0f}"
    )


def warm_up() -> None:
    """Imports what both need, and has each prune one layer."""
    import importlib

    import torch
    import torch_pruning as tp
    from torch import nn

    import sapwood

    for library in ("torch._dynamo", "torchvision", "timm", "transformers", "zoo_models"):
        importlib.import_module(library)
    torch.set_num_threads(1)
    sapwood.prune(nn.Linear(2, 2), torch.zeros(1, 2), target=sapwood.Target(sparsity=0.5))
    pruner = tp.pruner.MetaPruner(
        nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)),
        torch.zeros(1, 2),
        importance=tp.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=0.5,
    )
    pruner.step()


def in_child(work: Callable[[str], dict[str, float]], name: str) -> dict[str, float]:
    """What ``work`` returns in a process of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            found = work(name)
            found["memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            os.write(writing, json.dumps(found).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    if not text:
        raise SystemExit(f"{work.__name__} did not get through {name}; what it wrote stands above")
    found: dict[str, float] = json.loads(text)
    return found


def list_of(name: str) -> Any:
    """The module of the zoo that makes a model."""
    import zoo_models

    if name.partition(":")[0] in {"ul", "own"}:
        import zoo_frameworks

        return zoo_frameworks
    try:
        zoo_models.make(name)
    except Exception:  # the other list has it
        import zoo_frameworks

        return zoo_frameworks
    return zoo_models


def theirs(name: str) -> dict[str, float]:
    """Torch-Pruning's seconds."""
    import zoo_models

    zoo = list_of(name)
    model, inputs = zoo.make(name)
    return {"all": zoo_models.prune_with_torch_pruning_(model, inputs, zoo.make(name)[0])[0]}


def ours(name: str) -> dict[str, float]:
    """Sapwood's seconds, by stage."""
    import sapwood
    from sapwood.goals import Chooser
    from sapwood.removal import constraints, dense, planner

    zoo = list_of(name)
    model, inputs = zoo.make(name)
    options = {} if zoo.__name__ == "zoo_models" else zoo.ENTRIES[name].options
    watch = Watch()
    watch.over(dense.Dense, "structure", "record")
    watch.over(constraints.Constraints, "analyse", "groups")
    watch.over(planner, "realise", "realise")
    watch.over(planner, "verify", "proof")
    watch.over(planner, "blame", "proof")
    towards = Chooser.towards
    Chooser.towards = lambda *given: watch.watched(towards(*given), "choose")  # type: ignore[method-assign]
    began = time.process_time()
    sapwood.prune(model, inputs, target=sapwood.Target(sparsity=0.5), **options)
    everything = time.process_time() - began
    return {**watch.seconds, "all": everything, "rest": everything - sum(watch.seconds.values())}


class Watch:
    """Seconds of each stage; what one stage calls of another counts for the other."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._running: list[str] = []
        self._since = 0.0

    def over(self, owner: Any, name: str, stage: str) -> None:
        """Watches a function by its name."""
        setattr(owner, name, self.watched(getattr(owner, name), stage))

    def watched(self, function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        def run(*given: Any, **named: Any) -> Any:
            with self._in(stage):
                return function(*given, **named)

        return run

    @contextmanager
    def _in(self, stage: str) -> Iterator[None]:
        self._turn()
        self._running.append(stage)
        try:
            yield
        finally:
            self._turn()
            self._running.pop()

    def _turn(self) -> None:
        now = time.process_time()
        if self._running:
            self.seconds[self._running[-1]] = self.seconds.get(self._running[-1], 0.0) + now - self._since
        self._since = now


if __name__ == "__main__":
    main()
