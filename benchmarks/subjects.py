"""The networks that the benchmarks of accuracy prune, their pictures, and Torch-Pruning's way with them."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

import sapwood
from sapwood.data import open_classification, open_detection
from sapwood.pipeline import Calibration
from sapwood.types import ModelBundle

sys.path.insert(0, str(Path(__file__).resolve().parent))
CLASSIFIERS = {"resnet20": "resnet20-12fca82f.th", "resnet56": "resnet56-jpeg.pt"}
DETECTORS = ("yolov3-tiny", "yolo-fastest-1.1-xl")
DIGITS = "yolov4-tiny-digits"
NAMES = (*CLASSIFIERS, *DETECTORS, DIGITS)
TOLERANCE = 0.02
"""How close Torch-Pruning's ratio is bisected to the target, as a fraction of it."""


def subject(name: str, data: Path, held_out: int = 0) -> tuple[ModelBundle, Any, Any]:
    """The network, the pictures it may see, and those it is judged on.

    With ``held_out``, it is judged on so many pictures of the train folder instead, and may not see those. A directory
    is a network that ``sapwood train`` made for BCCD; it is judged on the test pictures.
    """
    if name in CLASSIFIERS:
        import cifar

        folder = Path(tempfile.gettempdir()) / "sapwood-cifar10"
        cifar.unpack(data / "cifar10" / "cifar10-jpeg.zip", folder)
        bundle = sapwood.load_model(f"cifar:{name}", weights=data / "resnet_cifar10" / CLASSIFIERS[name])
        classes = bundle.task.class_names
        train, judged = (open_classification(folder, split=split, class_names=classes) for split in ("train", "test"))
    elif name in DETECTORS:
        cfg = data / "detectors" / f"{name}.cfg"
        bundle = sapwood.load_model(str(cfg), weights=cfg.with_suffix(".weights"))
        train, judged = _detection(bundle, str(data / "coco"))
    elif name == DIGITS:
        bundle = sapwood.load_model("builtin:digits")
        train, judged = _detection(bundle, "digits")
    elif Path(name).is_dir():
        bundle = sapwood.load_model(name)
        train, judged = _detection(bundle, str(data / "bccd"), "test")
    else:
        raise SystemExit(f"{name}: expected a directory, or one of {', '.join(NAMES)}")
    if held_out:
        order = np.random.default_rng(7).permutation(len(train.samples)).tolist()
        samples = [train.samples[number] for number in order]
        judged = replace(train, samples=tuple(samples[:held_out]))
        train = replace(train, samples=tuple(samples[held_out:]))
    return bundle, train, judged


def _detection(bundle: ModelBundle, data: str, judged: str = "val") -> Any:
    classes = bundle.task.class_names
    return tuple(open_detection(data, split=split, class_names=classes) for split in ("train", judged))


def torch_pruned(
    bundle: ModelBundle,
    calibration: Calibration,
    target: float,
    measure: Callable[[nn.Module], float],
    *,
    kind: str,
    globally: bool,
) -> nn.Module:
    """Torch-Pruning's network whose measure is the target's: its ratio is bisected.

    Args:
        bundle: The dense network.
        calibration: What its Taylor score looks at.
        target: What ``measure`` should be.
        measure: Falls with the pruning ratio.
        kind: ``"magnitude"`` or ``"taylor"``.
        globally: One threshold for all groups.
    """
    low, high = 0.0, 0.95
    best: tuple[float, nn.Module] | None = None
    for _ in range(9):
        ratio = (low + high) / 2.0
        model = _torch_pruned_by(bundle, calibration, ratio, kind, globally)
        found = measure(model)
        distance = abs(found / target - 1.0)
        if best is None or distance < best[0]:
            best = (distance, model)
        if distance <= TOLERANCE:
            break
        low, high = (ratio, high) if found > target else (low, ratio)
    assert best is not None
    return best[1]


def _torch_pruned_by(
    bundle: ModelBundle, calibration: Calibration, ratio: float, kind: str, globally: bool
) -> nn.Module:
    import torch_pruning as tp

    model = sapwood.copy_model(bundle.model).eval()
    importance = tp.importance.TaylorImportance() if kind == "taylor" else tp.importance.MagnitudeImportance(p=2)
    last = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    kept = {module for module in last if module.bias is not None}  # the layers whose outputs are the model's
    if hasattr(model, "layer3"):  # its tracer breaks on shortcuts that pad with zeros: the blocks' inner widths only
        kept |= {module for name, module in model.named_modules() if name == "conv1" or name.endswith(".conv2")}
    pruner = tp.pruner.MetaPruner(
        model,
        bundle.example_inputs,
        importance=importance,
        pruning_ratio=ratio,
        global_pruning=globally,
        max_pruning_ratio=0.95,
        round_to=8,
        ignored_layers=list(kept),
    )
    if kind == "taylor":
        for batch in calibration.batches:
            calibration.loss(model, batch).backward()
    pruner.step()
    model.zero_grad()
    return model.eval()
