"""Accuracy back without labels: what reconstruction and distillation give, beside pruning without recovery.

    python benchmarks/recovery.py resnet56 --macs 0.5 --num-pictures 1000
    python benchmarks/recovery.py resnet56 --macs 0.47 --num-pictures 5000 --steps 2000 --mirrored
    python benchmarks/recovery.py yolov3-tiny --latency 0.7 --num-pictures 128 --steps 600
    python benchmarks/recovery.py yolov3-tiny --latency 0.7 --num-pictures 128 --others ../shared/data/pictures
    python benchmarks/recovery.py yolov3-tiny --zeros 0.8 --num-pictures 128 --steps 300
    python benchmarks/recovery.py runs/bccd/model --macs 0.4 --num-pictures 205 --steps 600

Pictures come from the train folder and their labels are not looked at. Accuracy is measured on the evaluation pictures,
or with `--held-out N` on N train pictures that nothing else sees: that is what settings are tried on. Beside it stands
the agreement with the dense network on the same pictures, with the interval of 95 of 100 samples of them.

Torch-Pruning's rows are its networks of the same MACs or measured latency; they need `pip install torch-pruning`, and
are left out without it. The highest memory of the process is printed at the end.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

import sapwood
from sapwood.data import open_unlabelled
from sapwood.errors import SapwoodError
from sapwood.masks import MaskCase, apply_masks_, find_slots, remove_masks_
from sapwood.measure import weight_uses
from sapwood.models import Plan
from sapwood.pipeline import (
    Calibration,
    Deployment,
    compensation,
    recover_masked_,
    scorer,
    sensitivity,
    sensitivity_measure,
    two_layers,
    weight_scores,
    with_batch,
)
from sapwood.pipeline.recovering import num_views
from sapwood.recovery import DistillConfig
from sapwood.runtime import RUNTIMES
from sapwood.tasks import agreement, calibration_batches, evaluate, task_loss
from sapwood.types import ModelBundle

sys.path.insert(0, str(Path(__file__).resolve().parent))
from subjects import NAMES, subject, torch_pruned

FRACTIONS = (0.25, 0.5, 0.75)
Row = dict[str, float]


@dataclass(frozen=True)
class Job:
    """What is pruned, by how much, and what it is judged by."""

    bundle: ModelBundle
    calibration: Calibration
    inputs: list[Any]
    others: list[Any]
    options: argparse.Namespace
    judged: Any

    def figures(self, stage: str, model: nn.Module) -> Row:
        """Accuracy, and agreement with the dense network with its interval, on the same pictures."""
        bundle, size = replace(self.bundle, model=model), len(self.inputs[0])
        found = agreement(self.bundle, {stage: bundle}, self.judged, batch_size=size).networks[stage]
        told = {"agreement": found.value, "from": found.low, "to": found.high}
        accuracy = evaluate(bundle, self.judged, batch_size=size).value
        return {stage: accuracy} | {f"{stage}_{name}": value for name, value in told.items()}

    @property
    def target(self) -> sapwood.Target:
        goal = "latency" if self.options.latency else "macs"
        return sapwood.Target(**{goal: getattr(self.options, goal)})

    def macs(self, model: nn.Module) -> float:
        inputs = self.bundle.example_inputs
        return sapwood.count_macs(model, inputs).total / sapwood.count_macs(self.bundle.model, inputs).total

    def latency(self, model: nn.Module, seconds: float = 6.0) -> float:
        inputs, runtime = with_batch(self.bundle.example_inputs, DEPLOYMENT.batch), RUNTIMES[DEPLOYMENT.runtime]
        threads = DEPLOYMENT.num_threads
        pair = {
            name: runtime.load(one, inputs, threads=threads)
            for name, one in (("dense", self.bundle.model), ("pruned", model))
        }
        found = sapwood.measure_latency(pair, baseline="dense", rounds=300, seconds=seconds, threads=threads)
        return found["pruned"].ratio

    def size(self, model: nn.Module) -> Row:
        """What the target is about, as it came out."""
        if self.options.zeros:
            return {}
        return {"macs": self.macs(model)} | ({"latency": self.latency(model)} if self.options.latency else {})

    def distill_config(self) -> DistillConfig:
        chosen = {"lr": self.options.lr} if self.options.lr else {}
        small = self.bundle.task.kind == "classification"
        options = self.options
        return DistillConfig(
            steps=options.steps, batch_size=64 if small else 8, mirrored=options.mirrored, seed=options.seed, **chosen
        )


@contextmanager
def clocked(row: Row, stage: str) -> Iterator[None]:
    """Adds the stage's seconds, its processor seconds of all threads, and the highest memory so far to the row."""
    start, used = time.perf_counter(), time.process_time()
    yield
    row |= {
        f"{stage}_s": time.perf_counter() - start,
        f"{stage}_cpu_s": time.process_time() - used,
        f"{stage}_gib": highest_memory(),
    }


def highest_memory() -> float:
    """Of this process, so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


DEPLOYMENT = Deployment("onnxruntime", None, 1)
"""Where latency is measured."""


def main() -> None:
    options = parsed()
    bundle, train, judged = subject(options.model, options.data, options.held_out)
    size = 100 if bundle.task.kind == "classification" else 8
    batches = list(
        calibration_batches(bundle, train, num_pictures=options.num_pictures, batch_size=size, seed=options.seed)
    )
    others = others_of(bundle, options, size)
    scored_on = options.scored_on or (500 if size == 100 else 64)
    calibration = Calibration(batches[: max(1, scored_on // size)], task_loss(bundle, "own"), train)

    inputs, beside = ([batch.inputs for batch in some] for some in (batches, others))
    job = Job(bundle, calibration, inputs, beside, options, judged)
    goal = " ".join(f"{name} {getattr(options, name)}" for name in GOALS if getattr(options, name))
    print(f"{options.model}, {goal}, {len(batches)} and {len(others)} batches of {size} pictures without labels")
    print(f"dense: {evaluate(bundle, judged, batch_size=size).value:.4f} on {len(judged.samples)} pictures", flush=True)
    rows = []
    for name, method in (MASKS if options.zeros else METHODS).items():
        if options.methods and name not in options.methods:
            continue
        try:
            row = method(job)
        except (SapwoodError, ImportError, RuntimeError) as error:  # a peer whose network does not run
            print(f"{name:36}{type(error).__name__}: {error}", flush=True)
            continue
        rows.append({"method": name, **row})
        print(f"{name:36}" + "  ".join(f"{key} {value:.4g}" for key, value in row.items()), flush=True)
        Path(options.out).write_text(json.dumps(rows, indent=1))
    print(f"highest memory: {highest_memory():.2f} GiB")


def others_of(bundle: ModelBundle, options: argparse.Namespace, size: int) -> list[Any]:
    """Pictures of another folder, for reconstruction and distillation beside those of the train folder."""
    if options.others is None:
        return []
    dataset = open_unlabelled(options.others, bundle.task.kind)
    return list(
        calibration_batches(bundle, dataset, num_pictures=options.num_others, batch_size=size, seed=options.seed)
    )


GOALS = ("macs", "latency", "zeros")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help=f"{', '.join(NAMES)}, or a directory that `sapwood train` made for BCCD")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    goal = parser.add_mutually_exclusive_group(required=True)
    goal.add_argument("--macs", type=float)
    goal.add_argument("--latency", type=float, help="In ONNX Runtime, one picture a call, all cores")
    goal.add_argument("--zeros", type=float, help="Fraction of the convolutions' weights")
    parser.add_argument("--num-pictures", type=int, default=1000)
    parser.add_argument("--others", type=Path, help="A folder of other pictures to recover from as well")
    parser.add_argument("--num-others", type=int, default=500)
    parser.add_argument("--scored-on", type=int, help="Of these, how many for scores; 500, or 64 for detectors")
    parser.add_argument("--measured-on", type=int, help="How many for sensitivity; half of those if not given")
    parser.add_argument("--steps", type=int, default=0, help="Of distillation; none if 0")
    parser.add_argument("--lr", type=float, help="Of distillation")
    parser.add_argument("--mirrored", action="store_true", help="Follows the dense network's mean over mirror images")
    parser.add_argument("--seed", type=int, default=0, help="Of the pictures and of distillation")
    parser.add_argument("--held-out", type=int, default=0)
    parser.add_argument("--methods", nargs="*", help="Names of methods; all if not given")
    parser.add_argument("--out", default="recovery.json")
    return parser.parse_args()


def plainly(criterion: str, allocator: str, *, recovered: bool = True) -> Callable[[Job], Row]:
    return lambda job: finished(job, {"criterion": criterion, "allocator": allocator}, recovered=recovered)


def by_sensitivity(job: Job, *, low_rank: bool = False) -> Row:
    """The knapsack by what is lost once the layers that read a group are solved anew."""
    row: Row = {}
    bundle, network = job.bundle, None
    calibration = job.calibration
    few = job.options.measured_on or job.options.scored_on or (250 if job.bundle.task.kind == "classification" else 32)
    size = len(job.inputs[0])
    measured_on = replace(calibration, batches=calibration.batches[: max(1, few // size)])
    with clocked(row, "sensitivity"):
        if low_rank:
            network = two_layers(bundle.model, bundle.example_inputs, job.target, calibration)
            bundle = replace(bundle, model=network.model)
        measure, figure = sensitivity_measure(bundle, "divergence", measured_on)
        score = scorer(bundle.model, "obs", calibration)
        curves = sensitivity(
            bundle.model,
            bundle.example_inputs,
            measure,
            score=score,
            figure=figure,
            fractions=FRACTIONS,
            compensate=compensation(bundle.model, calibration, score),
        )
    how = {"criterion": score, "allocator": "knapsack", "sensitivity": curves, "low_rank": network or False}
    return row | finished(job, how)


def finished(job: Job, settings: dict[str, Any], *, recovered: bool = True) -> Row:
    """Prunes and recovers; the accuracy of each stage, and its seconds."""
    row: Row = {}
    with clocked(row, "prune"):
        pruned = sapwood.prune(
            job.bundle.model,
            job.bundle.example_inputs,
            target=job.target,
            calibration=job.calibration,
            deployment=DEPLOYMENT if job.options.latency else None,
            **settings,
        )
    dense, plan = job.bundle.model, pruned.plan
    if pruned.of_two is not None:
        dense, plan = pruned.of_two.network.model, pruned.of_two.plan
    row |= {**job.size(pruned.model), **job.figures("pruned", pruned.model)}
    if not recovered:
        return row
    with clocked(row, "reconstruct"):
        solved = sapwood.reconstruct(
            dense,
            pruned.model,
            plan,
            job.inputs,
            others=job.others,
            views=num_views(job.inputs),
            seed=job.options.seed,
        )
    row |= job.figures("reconstructed", solved.model)
    if job.options.steps:
        row |= distilled(job, solved.model, plan, dense=dense)
    return row


def distilled(
    job: Job, model: nn.Module, plan: Plan, masks: dict[str, Tensor] | None = None, *, dense: nn.Module | None = None
) -> Row:
    """What distillation makes of a recovered network."""
    row: Row = {}
    with clocked(row, "distill"):
        refined = sapwood.distill(
            dense or job.bundle.model,
            model,
            plan,
            job.inputs,
            job.bundle.task,
            others=job.others,
            masks=masks,
            config=job.distill_config(),
        )
    return row | {"best_step": refined.best_step} | job.figures("distilled", refined.model)


def torch_pruning(kind: str, globally: bool) -> Callable[[Job], Row]:
    def run(job: Job) -> Row:
        start = time.perf_counter()
        target, measure = (
            (job.options.latency, lambda model: job.latency(model, 3.0))
            if job.options.latency
            else (job.options.macs, job.macs)
        )
        model = torch_pruned(job.bundle, job.calibration, target, measure, kind=kind, globally=globally)
        return {"prune_s": time.perf_counter() - start, **job.size(model), **job.figures("pruned", model)}

    return run


METHODS: dict[str, Callable[[Job], Row]] = {
    "L2, uniform": plainly("l2", "uniform"),
    "Taylor, one threshold": plainly("taylor", "global", recovered=False),
    "Torch-Pruning, magnitude": torch_pruning("magnitude", False),
    "Torch-Pruning, Taylor, global": torch_pruning("taylor", True),
    "OBS, knapsack by sensitivity": by_sensitivity,
    "the same with low rank": partial(by_sensitivity, low_rank=True),
}


def masked(criterion: str, budget: str, *, anew: bool) -> Callable[[Job], Row]:
    """Zeros in the convolutions; ``anew``: which weights stay is chosen while layers are solved."""

    def run(job: Job) -> Row:
        row: Row = {}
        case = MaskCase("scored", job.options.zeros, layers=("conv",), criterion=criterion, budget=budget)
        scores = None
        model = sapwood.copy_model(job.bundle.model)
        with clocked(row, "mask"):
            if criterion != "magnitude":
                scores = weight_scores(job.bundle.model, job.bundle.example_inputs, criterion, job.calibration)
            uses = weight_uses(model, job.bundle.example_inputs)
            apply_masks_(model, case, scores=scores, uses=uses)
        row |= job.figures("masked", model)
        with clocked(row, "reconstruct"):
            recover_masked_(
                replace(job.bundle, model=model),
                job.bundle.model,
                job.inputs,
                "reconstruct",
                others=job.others,
                pattern=case.unit_pattern if anew else None,
                seed=job.options.seed,
            )
        row |= job.figures("reconstructed", model)
        if job.options.steps:
            masks = {slot.name: slot.mask != 0 for slot in find_slots(model) if slot.mask is not None}
            remove_masks_(model)
            row |= distilled(job, model, Plan(), masks)
        return row

    return run


MASKS: dict[str, Callable[[Job], Row]] = {
    "magnitude, global": masked("magnitude", "global", anew=False),
    "Taylor, global": masked("taylor", "global", anew=False),
    "magnitude, LAMP": masked("magnitude", "lamp", anew=False),
    "LAMP's numbers, weights chosen anew": masked("magnitude", "lamp", anew=True),
    "the same by uses, weights chosen anew": masked("magnitude", "lamp_macs", anew=True),
}


if __name__ == "__main__":
    main()
