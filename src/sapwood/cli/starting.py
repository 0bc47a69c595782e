"""What takes seconds before a verb has anything to say, named on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from sapwood.cli.progress import doing


def begun(verb: Callable[..., None]) -> Callable[..., None]:
    """Has a verb begin with importing PyTorch, which each does, where a terminal can say so."""

    @wraps(verb)
    def at_start(**options: Any) -> None:
        if sys.stderr.isatty() and "torch" not in sys.modules:
            with doing("loading PyTorch"):
                import torch  # noqa: F401
        verb(**options)

    return at_start
