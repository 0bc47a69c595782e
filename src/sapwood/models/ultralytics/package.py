"""The package itself: imported on demand, and only one that reads files without executing them."""

from __future__ import annotations

import importlib
import inspect
import logging
from typing import Any

from sapwood.errors import MissingDependencyError
from sapwood.models.installed import not_importable

OLDEST = "8.4.100"
"""The first release that was found to rebuild networks from a list of its own classes."""


def ultralytics_tasks() -> Any:
    """Returns ``ultralytics.nn.tasks``.

    Raises:
        MissingDependencyError: If the package is not there, or cannot read files safely.
    """
    try:
        tasks = importlib.import_module("ultralytics.nn.tasks")
    except ImportError as error:
        raise not_importable(
            "ultralytics", error, needed_for="models of Ultralytics", extra="ultralytics", oldest=OLDEST
        ) from error
    logging.getLogger("ultralytics").setLevel(logging.WARNING)
    safe = getattr(tasks, "_SafeLoad", None)
    if not getattr(safe, "SUPPORTED", False) or "safe_only" not in inspect.signature(tasks.torch_safe_load).parameters:
        raise MissingDependencyError(
            f"ultralytics {version()} reads .pt files by executing what they hold; expected {OLDEST} or later, with "
            "PyTorch 2.6 or later"
        )
    return tasks


def settings(overrides: dict[str, Any]) -> Any:
    """Returns the settings of Ultralytics, with some of them changed."""
    return importlib.import_module("ultralytics.cfg").get_cfg(overrides=overrides)


def version() -> str:
    """The version that is installed."""
    return str(importlib.import_module("ultralytics").__version__)
