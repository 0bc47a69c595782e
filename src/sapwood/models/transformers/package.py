"""The package itself: imported on demand, and only one whose folders are read as Sapwood reads them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sapwood.models.installed import import_framework, numbers, too_old

OLDEST = "5.24"
"""The first release that folders were found to be read with as they are here."""


def transformers() -> Any:
    """Returns the package.

    Raises:
        MissingDependencyError: If it is not there, or too old.
    """
    package = import_framework("transformers", needed_for="transformers:FOLDER", extra="transformers", oldest=OLDEST)
    if numbers(package.__version__) < numbers(OLDEST):
        raise too_old("transformers", package.__version__, "", "transformers", OLDEST)
    return package


def table(name: str) -> dict[str, Any]:
    """One of the tables from a type of model to its classes, as ``MODEL_FOR_CAUSAL_LM_MAPPING_NAMES``."""
    found: dict[str, Any] = getattr(importlib.import_module("transformers.models.auto.modeling_auto"), name)
    return found


@contextmanager
def quietly() -> Iterator[None]:
    """Keeps bars and remarks of the package from the console; what matters of them is said by Sapwood."""
    logging = importlib.import_module("transformers.utils.logging")
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
