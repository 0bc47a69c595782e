"""Where Sapwood remembers what it measured on this machine: one folder for all of it, chosen in one way."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """``$SAPWOOD_CACHE``, else ``sapwood`` in the user's cache folder (``$XDG_CACHE_HOME``, else ``~/.cache``)."""
    given = os.environ.get("SAPWOOD_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sapwood"
