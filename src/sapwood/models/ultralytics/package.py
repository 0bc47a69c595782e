"""The package itself: imported on demand, and only one that reads files without executing them."""

from __future__ import annotations

import importlib
import inspect
import logging
from typing import Any

import torch

from sapwood.models.installed import import_framework, too_old

OLDEST = "8.4.100"
"""The first release that was found to rebuild networks from a list of its own classes."""

OLDEST_TORCH = "2.6"
EXTRA = "ultralytics"


def ultralytics_tasks() -> Any:
    """Returns ``ultralytics.nn.tasks``.

    Raises:
        MissingDependencyError: If the package is not there, or cannot read files safely.
    """
    tasks = import_framework("ultralytics.nn.tasks", needed_for="models of Ultralytics", extra=EXTRA, oldest=OLDEST)
    logging.getLogger("ultralytics").setLevel(logging.WARNING)
    safe = getattr(tasks, "_SafeLoad", None)
    if safe is None or "safe_only" not in inspect.signature(tasks.torch_safe_load).parameters:
        raise too_old("ultralytics", version(), ": it reads .pt files by executing what they hold", EXTRA, OLDEST)
    if not safe.SUPPORTED:
        why = ": beside it Ultralytics reads .pt files by executing what they hold"
        raise too_old("torch", torch.__version__, why, EXTRA, OLDEST_TORCH)
    return tasks


def settings(overrides: dict[str, Any]) -> Any:
    """Returns the settings of Ultralytics, with some of them changed."""
    return importlib.import_module("ultralytics.cfg").get_cfg(overrides=overrides)


def version() -> str:
    """The version that is installed."""
    return str(importlib.import_module("ultralytics").__version__)
