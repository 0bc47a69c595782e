"""What recovery is decided by: variants of it, beside each other, on held-out train pictures.

    python benchmarks/recovery_trials.py batchnorm yolov3-tiny --own 88 --held-out 40 --size 192 --seeds 0 1
    python benchmarks/recovery_trials.py ridges resnet20 --own 200 --held-out 500 --macs 0.6 --seeds 0 1 2
    python benchmarks/recovery_trials.py growth resnet20 --own 200 --held-out 500 --macs 0.6 --seeds 0 1 2
    python benchmarks/recovery_trials.py others resnet20 --own 200 --others 200 --held-out 500 --macs 0.6
    python benchmarks/recovery_trials.py shares yolov3-tiny --own 32 --others 96 --held-out 40 --size 160
    python benchmarks/recovery_trials.py zeros resnet20 --own 300 --held-out 1000 --zeros 0.9
    python benchmarks/recovery_trials.py zeros yolov4-tiny-digits --own 256 --held-out 200 --budgets lamp lamp_macs

The figure is the agreement with the dense network on pictures that nothing else saw, with the interval of 95 of 100
samples, and the difference from the first variant on the same samples. A seed chooses the pictures that are held
out and those that are looked at. `batchnorm`: measured anew and repaired, at 70 and 90 % zeros and two
numbers of channels. `ridges`: larger ridges of reconstruction. `growth`: whether large weights count
against a ridge. `others`: what a row of another folder's pictures counts. `shares`: how many of a step's pictures are
of the other folder, in distillation. `zeros`: how layers share them; which weights stay is chosen while layers are
solved, from one look at each picture.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from torch import nn

import sapwood
from sapwood.data import open_detection, open_unlabelled
from sapwood.masks import MaskCase, apply_masks_, find_slots, remove_masks_
from sapwood.measure import weight_uses
from sapwood.models import Plan
from sapwood.recovery import (
    DistillConfig,
    Rule,
    distill,
    reconstruct,
    reestimate_batchnorm,
    repair_batchnorm,
)
from sapwood.recovery.reconstruction import least_squares
from sapwood.tasks import agreement, calibration_batches, evaluate
from sapwood.types import ModelBundle

sys.path.insert(0, str(Path(__file__).resolve().parent))
from subjects import CLASSIFIERS, DETECTORS, DIGITS, subject

RIDGES = {"to 1": (), "to 10": (3.0, 10.0), "to 100": (10.0, 100.0)}
WEIGHTS = {"none": (0.0,), "0.1": (0.1,), "1": (1.0,), "chosen by layer": (0.0, 0.1, 1.0)}
SHARES = (0.0, 0.25, 0.5)
PATCHES = 4096


@dataclass(frozen=True)
class Trial:
    """One seed's pictures."""

    bundle: ModelBundle
    own: list[Any]
    others: list[Any]
    judged: Any
    options: argparse.Namespace

    @property
    def pruned(self) -> Any:
        target = sapwood.Target(macs=self.options.macs)
        return sapwood.prune(
            self.bundle.model, self.bundle.example_inputs, target=target, criterion="l2", allocator="uniform"
        )

    def solved(self, pruned: Any, **options: Any) -> nn.Module:
        """Reconstructed; a line says how."""
        views = 1 if self.bundle.task.kind == "classification" else 4
        found = reconstruct(
            self.bundle.model, pruned.model, pruned.plan, self.own, views=views, num_patches=PATCHES, **options
        )
        ridges = Counter(str(layer.damping) for layer in found.layers)
        weights = Counter(str(layer.others_weight) for layer in found.layers)
        error = np.mean([layer.error_after for layer in found.layers])
        print(f"  mean error {error:.4f}, ridges {dict(ridges)}, weights {dict(weights)}, {found.seconds:.0f} s")
        return found.model

    def show(self, title: str, models: Mapping[str, nn.Module]) -> None:
        size = 100 if self.bundle.task.kind == "classification" else 8
        networks = {name: replace(self.bundle, model=model) for name, model in models.items()}
        found = agreement(self.bundle, networks, self.judged, batch_size=size)
        print(f"{title}: " + "  ".join(f"{name} {one.value:.3f}" for name, one in found.networks.items()))
        first = next(iter(models))
        for pair in found.differences:
            if pair.other == first:
                low, high = pair.estimate.low, pair.estimate.high
                print(f"  {pair.network} over {first}: {pair.estimate.value:+.3f} ({low:+.3f} to {high:+.3f})")
        sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=TRIALS)
    parser.add_argument("model", choices=(*CLASSIFIERS, *DETECTORS, DIGITS))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--own", type=int, default=88, help="Pictures that are looked at")
    parser.add_argument("--others", type=int, default=0, help="Pictures of the folder `pictures` beside them")
    parser.add_argument("--held-out", type=int, default=40)
    parser.add_argument("--size", type=int, default=192, help="Of a detector's input")
    parser.add_argument("--macs", type=float, default=0.7)
    parser.add_argument("--zeros", type=float, default=0.9)
    parser.add_argument("--budgets", nargs="+", default=["lamp", "lamp_macs", "uniform", "erk", "global"])
    parser.add_argument("--steps", type=int, default=60, help="Of distillation")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    for seed in options.seeds:
        trial = trial_of(options, seed)
        for title, models in TRIALS[options.what](trial):
            trial.show(f"{options.model}, seed {seed}, {title}", models)


def trial_of(options: argparse.Namespace, seed: int) -> Trial:
    bundle, train = opened(options)
    order = np.random.default_rng(100 + seed).permutation(len(train.samples)).tolist()
    samples = [train.samples[number] for number in order]
    held, own = options.held_out, options.own
    seen, judged = (replace(train, samples=tuple(part)) for part in (samples[held : held + own], samples[:held]))
    how = {"batch_size": 100 if bundle.task.kind == "classification" else 8, "seed": seed}
    inputs = [batch.inputs for batch in calibration_batches(bundle, seen, num_pictures=own, **how)]
    others = []
    if options.others:
        folder = open_unlabelled(options.data / "pictures", bundle.task.kind)
        others = [batch.inputs for batch in calibration_batches(bundle, folder, num_pictures=options.others, **how)]
    return Trial(bundle, inputs, others, judged, options)


def opened(options: argparse.Namespace) -> tuple[ModelBundle, Any]:
    """The network, a detector with a smaller input, and its train pictures."""
    if options.model in (*CLASSIFIERS, DIGITS):
        return subject(options.model, options.data)[:2]
    given = options.data / "detectors" / f"{options.model}.cfg"
    with tempfile.TemporaryDirectory() as folder:
        cfg = Path(folder) / given.name
        cfg.write_text(re.sub(r"(?m)^(width|height)=\d+", rf"\1={options.size}", given.read_text()))
        bundle = sapwood.load_model(str(cfg), weights=given.with_suffix(".weights"))
    return bundle, open_detection(str(options.data / "coco"), split="train", class_names=bundle.task.class_names)


Rows = Iterator[tuple[str, Mapping[str, nn.Module]]]


def batchnorm(trial: Trial) -> Rows:
    dense, inputs = trial.bundle.model, trial.own
    cuts: dict[str, tuple[nn.Module, Plan]] = {}
    for zeros in (0.7, 0.9):
        model = sapwood.copy_model(dense)
        apply_masks_(model, MaskCase("scored", zeros, layers=("conv",), criterion="magnitude", budget="lamp"))
        remove_masks_(model)
        cuts[f"zeros {zeros}"] = model, Plan()
    for macs in (0.85, 0.7):
        options = argparse.Namespace(**{**vars(trial.options), "macs": macs})
        pruned = replace(trial, options=options).pruned
        cuts[f"MACs {macs}"] = pruned.model, pruned.plan
    for cut, (model, plan) in cuts.items():
        anew = reestimate_batchnorm(model, inputs).model
        yield cut, {"anew": anew, "as it was": model, "repaired": repair_batchnorm(dense, model, plan, inputs).model}


def ridges(trial: Trial) -> Rows:
    pruned, models = trial.pruned, {}
    for name, more in RIDGES.items():
        known = {**(least_squares.solve.__kwdefaults__ or {}), "dampings": (*least_squares.DAMPINGS, *more)}
        with mock.patch.object(least_squares.solve, "__kwdefaults__", known):
            models[name] = trial.solved(pruned)
    models["to 1, then repaired"] = repair_batchnorm(trial.bundle.model, models["to 1"], pruned.plan, trial.own).model
    yield "ridges", models


def growth(trial: Trial) -> Rows:
    pruned, models = trial.pruned, {}
    for name, power in (("error alone", 0.0), ("growth counts", least_squares.GROWTH)):
        with mock.patch.object(least_squares, "GROWTH", power):
            models[name] = trial.solved(pruned)
    yield "growth", models


def others(trial: Trial) -> Rows:
    pruned = trial.pruned
    yield (
        "others",
        {name: trial.solved(pruned, others=trial.others, others_weights=weights) for name, weights in WEIGHTS.items()},
    )


def shares(trial: Trial) -> Rows:
    pruned, models = trial.pruned, {}
    start = replace(pruned, model=repair_batchnorm(trial.bundle.model, pruned.model, pruned.plan, trial.own).model)
    for share in SHARES:
        config = DistillConfig(steps=trial.options.steps, batch_size=8, others_share=share, lr=1e-4)
        found = distill(
            trial.bundle.model,
            start.model,
            pruned.plan,
            trial.own,
            trial.bundle.task,
            others=trial.others,
            config=config,
        )
        models[f"share {share}"] = found.model
    yield "shares", models


def zeros(trial: Trial) -> Rows:
    dense, models = trial.bundle.model, {}
    uses = weight_uses(dense, trial.bundle.example_inputs)
    for budget in trial.options.budgets:
        masked = sapwood.copy_model(dense)
        case = MaskCase("scored", trial.options.zeros, layers=("conv",), budget=budget)
        apply_masks_(masked, case, uses=uses)
        slots = [slot for slot in find_slots(masked) if slot.mask is not None]
        rules = {slot.name: Rule(slot.mask != 0, case.unit_pattern) for slot in slots}
        macs = sum(uses[slot.name] * float(slot.mask.sum()) for slot in slots)
        models[budget] = solved_by(trial, f"{budget}, {macs / 1e6:.1f} M MACs", rules)
    yield f"zeros {trial.options.zeros}", models


def solved_by(trial: Trial, name: str, rules: dict[str, Rule]) -> nn.Module:
    """Reconstructed under rules; a line says how many weights layers keep."""
    dense = trial.bundle.model
    found = reconstruct(dense, dense, Plan(), trial.own, rules=rules, num_patches=PATCHES)
    print(f"  {name}: {[round(float(rule.mask.float().mean()), 3) for rule in rules.values()]}, {found.seconds:.0f} s")
    accuracy = evaluate(replace(trial.bundle, model=found.model), trial.judged).metrics
    print("    " + "  ".join(f"{metric} {value:.3f}" for metric, value in accuracy.items()), flush=True)
    return found.model


TRIALS: dict[str, Callable[[Trial], Rows]] = {
    "batchnorm": batchnorm,
    "ridges": ridges,
    "growth": growth,
    "others": others,
    "shares": shares,
    "zeros": zeros,
}

if __name__ == "__main__":
    main()
