"""The zoo: models pruned by Sapwood and by Torch-Pruning in one run, each in a process of its own.

    python benchmarks/zoo.py ../shared/zoo_torch_pruning.json --out zoo.json  # 69 models
    pip install -r benchmarks/frameworks.txt && python benchmarks/zoo.py frameworks --out frameworks.json  # 71 more

Random weights, norms randomised, sparsity 0.5 in every group, L2, the plain call of each library and no help per model;
the final predictor's outputs stay (Torch-Pruning is told which layers those are).

For Sapwood a model counts as *right* when the compact model runs, at least 95 % of the expected MACs are gone, it
equals the masked model in float64 to 1e-9 relative, it takes a training step, and it reloads in a fresh process with
equal outputs; *in part* when less is gone and every dimension that stayed is named with a reason; *wrong* is everything
else. For Torch-Pruning the share of the expected cut is printed, and whether the model runs afterwards; whether it
equals the mask is not asked. Its seconds hold the dependency graph and the cut, Sapwood's hold trace, groups, plan and
cut; the proof, which Sapwood has alone, is apart, and the ratio of the two tools is told with it and without. All are
seconds of the processor on one thread, which a busy machine changes little. What a tool imports is loaded before, for
both, with what PyTorch itself loads late (its compiler and SymPy); how long that takes is in the file of results.
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ENOUGH = 0.95
FRAMEWORKS = "frameworks"
SECONDS = 100
"""Of the processor, after which a worker is stopped; models that both libraries finish take a third of that at most."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "zoo", help="zoo_torch_pruning.json: models and the fraction of MACs expected to be left; or: frameworks"
    )
    parser.add_argument("--out", default="zoo.json")
    parser.add_argument("--only", nargs="*", help="Names of models")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="Of the processor, after which Sapwood's worker is stopped"
    )
    parser.add_argument(
        "--peer-seconds", type=float, default=SECONDS, help="After which Torch-Pruning's is stopped; 0: is not run"
    )
    parser.add_argument("--limit", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--worker", choices=["sapwood", "torch_pruning", "reload"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        if options.limit:
            resource.setrlimit(resource.RLIMIT_CPU, (options.limit, options.limit))
        print(json.dumps(WORKERS[options.worker](zoo_of(options.zoo), *options.only)))
        return
    rows = []
    known = table(options.zoo)
    unknown = sorted({*(options.only or ())} - known.keys())
    if unknown:
        parser.error(f"--only {' '.join(unknown)}: not in the list; expected some of: {', '.join(known)}")
    for name, expected in known.items():
        if options.only and name not in options.only:
            continue
        row: dict[str, Any] = {"model": name, "expected": expected}
        for tool, seconds in (("sapwood", options.seconds), ("torch_pruning", options.peer_seconds)):
            row[tool] = run(options.zoo, tool, name, seconds=seconds) if seconds else {"error": "not run"}
            row["expected"] = row[tool].get("expected", row["expected"])
        rows.append(row)
        print(line(row), flush=True)
        Path(options.out).write_text(json.dumps(rows, indent=1))
    print(summary(rows))


def table(zoo: str) -> dict[str, float]:
    """The models of a list, with the fraction of the MACs expected to be left; 1 where a worker works it out."""
    if zoo == FRAMEWORKS:
        return dict.fromkeys(zoo_of(zoo).ENTRIES, 1.0)
    return {entry["model"]: entry["expected_leaf_ratio"] for entry in json.loads(Path(zoo).read_text())["models"]}


def zoo_of(zoo: str) -> Any:
    """The module that makes the models of a list."""
    return importlib.import_module("zoo_frameworks" if zoo == FRAMEWORKS else "zoo_models")


def list_of(zoo: Any) -> str:
    """How a worker is told which module makes the models."""
    return FRAMEWORKS if zoo.__name__ == "zoo_frameworks" else "-"


def run(zoo: str, tool: str, *arguments: str, seconds: float | None) -> dict[str, Any]:
    """One worker in a process of its own, stopped after so many seconds of the processor."""
    command = [sys.executable, "-W", "ignore", __file__, zoo, "--worker", tool, "--only", *arguments]
    command += [] if seconds is None else ["--limit", f"{seconds:.0f}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if seconds is not None and done.returncode in {-signal.SIGXCPU, -signal.SIGKILL}:
        return {"error": f"no end after {seconds:g} s"}
    try:
        return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]
    except (IndexError, ValueError):
        return {"error": (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1][:300]}


def share(row: dict[str, Any], tool: str) -> float:
    """How much of the expected cut was made."""
    found = row[tool]
    return 0.0 if "ratio" not in found else (1.0 - found["ratio"]) / (1.0 - row["expected"])


def verdict(row: dict[str, Any]) -> str:
    """``right``, ``in part`` or ``wrong``."""
    found = row["sapwood"]
    if "error" in found or not (found["equal"] and found["trains"] and found["reloads"]):
        return "wrong"
    if share(row, "sapwood") >= ENOUGH:
        return "right"
    return "in part" if found["reasons"] else "wrong"


def line(row: dict[str, Any]) -> str:
    ours, theirs = row["sapwood"], row["torch_pruning"]
    text = f"{row['model']:45} {verdict(row):8} {share(row, 'sapwood'):5.2f}"
    if "error" in ours:
        text += f"  {ours['error'][:120]}"
    else:
        text += f" {ours['error_relative']:8.0e} {ours['seconds']:6.2f} s + {ours['proof_seconds']:5.2f} s"
        text += f" {ours['memory_mb']:5.0f} MB"
    text += f" | {share(row, 'torch_pruning'):5.2f}"
    return text + (f"  {theirs['error'][:60]}" if "error" in theirs else f" {theirs['seconds']:6.2f} s")


def summary(rows: list[dict[str, Any]]) -> str:
    verdicts = [verdict(row) for row in rows]
    counts = {name: verdicts.count(name) for name in ("right", "in part", "wrong")}
    both = [row for row in rows if "seconds" in row["sapwood"] and "seconds" in row["torch_pruning"]]
    ours = [row["sapwood"]["seconds"] for row in rows if "seconds" in row["sapwood"]]
    cut = sum(share(row, "torch_pruning") >= ENOUGH for row in rows)
    return (
        f"Sapwood: {counts}; Torch-Pruning: {cut} run with {ENOUGH:.0%} of the cut or more\n"
        f"seconds: Sapwood {_spread(ours)}; {_side_by_side(both)}; Sapwood's largest "
        f"memory {max(row['sapwood'].get('memory_mb', 0) for row in rows):.0f} MB"
    )


def _side_by_side(both: list[dict[str, Any]]) -> str:
    """The seconds of two tools on the models that both finish."""
    theirs = [row["torch_pruning"]["seconds"] for row in both]
    alone = [row["sapwood"]["seconds"] / row["torch_pruning"]["seconds"] for row in both]
    proven = [
        (row["sapwood"]["seconds"] + row["sapwood"]["proof_seconds"]) / row["torch_pruning"]["seconds"] for row in both
    ]
    if not both:
        return "no model that both finish"
    return (
        f"Torch-Pruning {_spread(theirs)}; ratio, median over {len(both)} models that both finish: "
        f"{statistics.median(alone):.2f}, with the proof {statistics.median(proven):.2f}"
    )


def _spread(seconds: list[float]) -> str:
    return f"median {statistics.median(seconds):.2f}, largest {max(seconds):.2f}" if seconds else "none"


def prune_with_sapwood(zoo: Any, name: str) -> dict[str, Any]:
    import torch
    import zoo_models
    from torch import nn

    import sapwood
    from sapwood.graph import call_model, output_tensors
    from sapwood.removal import planner

    torch.set_num_threads(1)
    model, inputs = zoo.make(name)
    load_late_parts()
    loading = time.process_time()
    sapwood.prune(nn.Linear(2, 2), torch.zeros(1, 2), target=sapwood.Target(sparsity=0.5))
    loading = time.process_time() - loading
    times = zoo_models.positions(model, inputs)
    proof = Stopwatch(planner.verify)
    planner.verify = proof
    began = time.process_time()
    options = zoo.ENTRIES[name].options if list_of(zoo) == FRAMEWORKS else {}
    pruned = sapwood.prune(model, inputs, target=sapwood.Target(sparsity=0.5), **options)
    seconds = time.process_time() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {
        "ratio": zoo_models.macs(pruned.model, times) / zoo_models.macs(model, times),
        "seconds": seconds - proof.seconds,
        "proof_seconds": proof.seconds,
        "import_seconds": loading,
        "memory_mb": memory,
        "equal": pruned.verification.passed,
        "error_relative": pruned.verification.max_abs_error,
        "reasons": sorted({entry.reason for entry in pruned.unpruned}),
    }
    found |= expected_of(zoo, name, model, times)
    with tempfile.TemporaryDirectory() as folder:
        sapwood.save(pruned, Path(folder) / "small")
        torch.manual_seed(zoo_models.SEED)  # of a model that draws random numbers
        with torch.no_grad():
            outputs = output_tensors(call_model(pruned.model, inputs))
        torch.save(outputs, Path(folder) / "outputs.pt")
        where = FRAMEWORKS if zoo.__name__ == "zoo_frameworks" else "-"
        loaded = run(where, "reload", name, folder, seconds=None)  # a part of this worker, which has its limit
        found["reloads"] = loaded.get("equal", False)
    found["trains"] = takes_a_step(pruned.model, inputs)
    return found


def load_late_parts() -> None:
    """Loads what PyTorch loads when it is needed for the first time, by whichever tool."""
    importlib.import_module("torch._dynamo")


def expected_of(zoo: Any, name: str, model: Any, times: dict[str, float]) -> dict[str, float]:
    """The fraction of the MACs that is expected to be left, where the zoo's table does not say it."""
    import zoo_models

    if list_of(zoo) == FRAMEWORKS:
        return {"expected": zoo.expected(zoo.ENTRIES[name], zoo_models.weights_of(model), times)}
    return {"expected": zoo_models.expected_transformer(model, times)} if name.startswith("hf:") else {}


def takes_a_step(model: Any, inputs: Any) -> bool:
    """Whether a training step works: in evaluation mode, where detectors want no targets, or where code insists on it
    (Reformer: an AssertionError that names ``model.train()``), in training mode.
    """
    try:
        return steps(model, inputs)
    except AssertionError as error:
        if "model.train()" not in str(error):
            raise
    model.train()
    return steps(model, inputs)


def steps(model: Any, inputs: Any) -> bool:
    """Whether every parameter that has a gradient changes, and some have one."""
    import torch

    from sapwood.graph import call_model, output_tensors

    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with torch.enable_grad():
        outputs = [tensor for tensor in output_tensors(call_model(model, inputs)) if tensor.grad_fn is not None]
        if not outputs:  # a detector in evaluation mode found nothing: its own maps
            return trains_as_detector(model, inputs)
        sum(tensor.float().square().mean() for tensor in outputs).backward()  # type: ignore[union-attr]
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    optimizer.step()
    return bool(gradients) and all(bool(gradient.isfinite().all()) for gradient in gradients)


def trains_as_detector(model: Any, inputs: Any) -> bool:
    """One step of torchvision's detectors on one box."""
    import torch

    model.train()
    target = {"boxes": torch.tensor([[20.0, 20.0, 200.0, 200.0]]), "labels": torch.tensor([1])}
    losses = model(inputs[0], [target])
    total = sum(losses.values())
    total.backward()  # type: ignore[union-attr]
    return bool(torch.isfinite(total))  # type: ignore[arg-type]


def reload(zoo: Any, name: str, folder: str) -> dict[str, Any]:
    """In a fresh process: loads what was saved and compares outputs to the last bit."""
    import torch
    import zoo_models

    import sapwood
    from sapwood.graph import call_model, output_tensors

    torch.set_num_threads(1)
    _, inputs = zoo.make(name)
    model = sapwood.load(Path(folder) / "small", model=lambda: zoo.make(name)[0])
    torch.manual_seed(zoo_models.SEED)
    with torch.no_grad():
        outputs = output_tensors(call_model(model, inputs))
    known = torch.load(Path(folder) / "outputs.pt", weights_only=True)
    same = len(outputs) == len(known) and all(torch.equal(a, b) for a, b in zip(outputs, known, strict=True))
    return {"equal": same}


class Stopwatch:
    """A function, and how long it took in all."""

    def __init__(self, function: Any) -> None:
        self._function = function
        self.seconds = 0.0

    def __call__(self, *arguments: Any) -> Any:
        began = time.process_time()
        try:
            return self._function(*arguments)
        finally:
            self.seconds += time.process_time() - began


def prune_with_torch_pruning(zoo: Any, name: str) -> dict[str, Any]:
    import torch
    import zoo_models

    from sapwood.graph import call_model

    torch.set_num_threads(1)
    model, inputs = zoo.make(name)
    load_late_parts()
    loading = time.process_time()
    import torch_pruning  # noqa: F401 - how long that takes is told apart

    loading = time.process_time() - loading
    times = zoo_models.positions(model, inputs)
    seconds, ignored = zoo_models.prune_with_torch_pruning_(model, inputs, zoo.make(name)[0])
    found: dict[str, Any] = {"seconds": seconds, "import_seconds": loading, "ignored": ignored}
    with torch.no_grad():
        call_model(model, inputs)
    dense = zoo.make(name)[0]
    found |= expected_of(zoo, name, dense, times)
    return found | {"ratio": zoo_models.macs(model, times) / zoo_models.macs(dense, times)}


WORKERS = {"sapwood": prune_with_sapwood, "torch_pruning": prune_with_torch_pruning, "reload": reload}


if __name__ == "__main__":
    main()
