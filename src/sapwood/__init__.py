"""Sapwood prunes trained PyTorch networks so that they really get smaller and faster, and proves it.

The names below load on first use, so that ``import sapwood`` and ``sapwood --help`` do not wait for PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sapwood import allocation as allocation
    from sapwood import calibration as calibration
    from sapwood import cases as cases
    from sapwood import compaction as compaction
    from sapwood import comparing as comparing
    from sapwood import config as config
    from sapwood import criteria as criteria
    from sapwood import data as data
    from sapwood import errors as errors
    from sapwood import export as export
    from sapwood import goals as goals
    from sapwood import graph as graph
    from sapwood import masks as masks
    from sapwood import measure as measure
    from sapwood import models as models
    from sapwood import pipeline as pipeline
    from sapwood import plugins as plugins
    from sapwood import recipe as recipe
    from sapwood import recovery as recovery
    from sapwood import report as report
    from sapwood import runtime as runtime
    from sapwood import tasks as tasks
    from sapwood import training as training
    from sapwood import types as types
    from sapwood.comparing import compare
    from sapwood.export import export_darknet, export_onnx, export_openvino, export_torch
    from sapwood.goals import Calibration, Deployment, Limits, Target
    from sapwood.graph import build_groups, trace
    from sapwood.masks import MaskCase, apply_masks_, masking_state, remove_masks_
    from sapwood.measure import count_macs, count_nonzeros, count_params, measure_latency
    from sapwood.models import apply_plan, copy_model, load, load_model, load_plans, load_saved, save, save_model
    from sapwood.pipeline import compact, prune
    from sapwood.recovery import distill, reconstruct
    from sapwood.tasks import agreement, detect, evaluate
    from sapwood.training import carry_optimizer_

__version__ = "0.2.0"

_HOMES = {
    "compare": "comparing",
    "load_model": "models",
    "load_saved": "models",
    "load": "models",
    "load_plans": "models",
    "save": "models",
    "apply_plan": "models",
    "save_model": "models",
    "copy_model": "models",
    "agreement": "tasks",
    "evaluate": "tasks",
    "detect": "tasks",
    "MaskCase": "masks",
    "apply_masks_": "masks",
    "masking_state": "masks",
    "remove_masks_": "masks",
    "count_params": "measure",
    "count_nonzeros": "measure",
    "count_macs": "measure",
    "measure_latency": "measure",
    "trace": "graph",
    "build_groups": "graph",
    "Calibration": "goals",
    "Deployment": "goals",
    "Limits": "goals",
    "Target": "goals",
    "prune": "pipeline",
    "carry_optimizer_": "training",
    "distill": "recovery",
    "reconstruct": "recovery",
    "export_darknet": "export",
    "export_onnx": "export",
    "export_openvino": "export",
    "export_torch": "export",
    "compact": "pipeline",
}

PARTS = (
    "allocation", "calibration", "cases", "compaction", "comparing", "config", "criteria", "data", "errors", "export",
    "goals", "graph", "masks", "measure", "models", "pipeline", "plugins", "recipe", "recovery", "report", "runtime",
    "tasks", "training", "types",
)  # fmt: skip
"""The public parts: ``sapwood.runtime.compile`` works after ``import sapwood``."""

__all__ = [
    "Calibration",
    "Deployment",
    "Limits",
    "MaskCase",
    "Target",
    "agreement",
    "apply_masks_",
    "apply_plan",
    "build_groups",
    "carry_optimizer_",
    "compact",
    "compare",
    "copy_model",
    "count_macs",
    "count_nonzeros",
    "count_params",
    "detect",
    "distill",
    "evaluate",
    "export_darknet",
    "export_onnx",
    "export_openvino",
    "export_torch",
    "load",
    "load_model",
    "load_plans",
    "load_saved",
    "masking_state",
    "measure_latency",
    "prune",
    "reconstruct",
    "remove_masks_",
    "save",
    "save_model",
    "trace",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *PARTS})


def __getattr__(name: str) -> Any:
    if name in PARTS:
        return importlib.import_module(f"sapwood.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'sapwood' has no attribute {name!r}")
    return getattr(importlib.import_module(f"sapwood.{_HOMES[name]}"), name)
