"""Channels alone, residual blocks alone, or both by one budget: accuracy at the same MACs, parameters or latency.

    python benchmarks/depth.py resnet56 --macs 0.5 --held-out 2000
    python benchmarks/depth.py resnet56 --macs 0.5 0.35 --recover distill --steps 1000

Pictures come from the train folder and their labels are not looked at. Accuracy is measured on the evaluation pictures,
or with `--held-out N` on N train pictures that nothing else sees: that is what settings are tried on. All rows are by
what was measured once, of each group alone and of each block alone.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import sapwood
from sapwood.errors import SapwoodError
from sapwood.goals import change_of_outputs
from sapwood.pipeline import (
    Calibration,
    Deployment,
    block_plans,
    recover,
    scorer,
    sensitivity,
    sensitivity_measure,
)
from sapwood.recovery import DistillConfig
from sapwood.tasks import agreement, calibration_batches, evaluate, task_loss

sys.path.insert(0, str(Path(__file__).resolve().parent))
from subjects import subject

ROWS: dict[str, Any] = {"channels": False, "blocks": "only", "both": "auto"}
GOALS = ("macs", "params", "latency")


def main() -> None:
    options = parsed()
    bundle, train, judged = subject(options.model, options.data, options.held_out)
    batches = list(
        calibration_batches(bundle, train, num_pictures=options.num_pictures, batch_size=100, seed=options.seed)
    )
    calibration = Calibration(batches[:2], task_loss(bundle, "own"), train)
    score = scorer(bundle.model, options.criterion, calibration)
    start = time.perf_counter()
    measured = sensitivity(
        bundle.model,
        bundle.example_inputs,
        measure_of(bundle, options, calibration),
        score=score,
        figure=options.figure,
        blocks=block_plans(bundle.model, bundle.example_inputs),
    )
    took = time.perf_counter() - start
    dense = evaluate(bundle, judged, batch_size=100).value
    print(f"dense {dense:.4f} on {len(judged.samples)} pictures; sensitivity by {options.figure} took {took:.0f} s")
    inputs = [batch.inputs for batch in batches]
    for goal in [{name: value} for name in GOALS for value in getattr(options, name) or ()]:
        for name in options.rows:
            start = time.perf_counter()
            try:
                pruned = sapwood.prune(
                    bundle,
                    target=goal,
                    depth=ROWS[name],
                    criterion=score,
                    calibration=calibration,
                    sensitivity=measured,
                    deployment=Deployment(options.runtime, 1, options.batch) if options.runtime else None,
                )
            except SapwoodError as error:
                print(f"{name:14}{error}", flush=True)
                continue
            took = time.perf_counter() - start
            show(f"{name}, {goal}, {took:.0f} s", bundle, pruned, judged)
            distilled = options.recover == "distill"
            config = DistillConfig(steps=options.steps, batch_size=64, seed=options.seed) if distilled else None
            show(
                f"+ {options.recover}", bundle, recover(bundle, pruned, inputs, options.recover, config=config), judged
            )


def measure_of(bundle: Any, options: argparse.Namespace, calibration: Calibration) -> Any:
    """The figure by which groups and blocks are judged."""
    if options.figure == "divergence":
        return sensitivity_measure(bundle, "divergence", calibration)[0]
    change = change_of_outputs(bundle.model, bundle.example_inputs, calibration)
    return lambda model: change(model) ** 2


def show(name: str, bundle: Any, pruned: Any, judged: Any) -> None:
    """A row: sizes and accuracy."""
    small = replace(bundle, model=pruned.model)
    macs = sapwood.count_macs(pruned.model, bundle.example_inputs).total
    share = macs / sapwood.count_macs(bundle.model, bundle.example_inputs).total
    same = agreement(bundle, {"pruned": small}, judged, batch_size=100).networks["pruned"]
    time_ = "" if pruned.latency is None else f" latency {pruned.latency.ratio:.3f}"
    print(
        f"{name}: {evaluate(small, judged, batch_size=100).value:.4f} agreement {same.value:.4f} ({same.low:.4f} to "
        f"{same.high:.4f}) MACs {share:.3f}{time_}; {len(pruned.removed_blocks)} blocks gone: "
        f"{', '.join(pruned.removed_blocks)}",
        flush=True,
    )


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("model", choices=["resnet20", "resnet56"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    for name in GOALS:
        parser.add_argument(f"--{name}", type=float, nargs="+")
    parser.add_argument("--runtime", help="Where latency is measured, with one thread")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--held-out", type=int, default=0)
    parser.add_argument("--num-pictures", type=int, default=1000)
    parser.add_argument("--criterion", default="l2")
    parser.add_argument("--figure", choices=["change", "divergence"], default="change")
    parser.add_argument("--recover", default="reconstruct")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
