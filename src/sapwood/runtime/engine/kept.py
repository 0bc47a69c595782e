"""Reads what the engine remembers in files of the user's cache folder; one that is damaged is named, once."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sapwood.errors import EngineError
from sapwood.reading import read_json

T = TypeVar("T")

_warned: set[Path] = set()
"""Files that were named as damaged."""


def read_kept(path: Path, what: str, expected: str, sound: Callable[[Any], T]) -> T:
    """Returns what a file holds, as far as it can be taken.

    Args:
        path: The file, which may not be there.
        what: What it holds, for messages.
        expected: What is expected in it, for messages.
        sound: What of the file's content can be taken; of None, which stands for no file, nothing.

    Examples:
        >>> read_kept(Path("nowhere.json"), "hashes", "a list", lambda found: found or [])
        []
    """
    if not os.path.lexists(path):
        return sound(None)
    try:
        found = read_json(path, what, EngineError)
    except EngineError as error:
        warn_once(path, str(error).removeprefix(f"{path}: ").removeprefix(f"{path}:"))
        return sound(None)
    known = sound(found)
    if known != found:
        warn_once(path, f"is damaged; expected {expected}")
    return known


def warn_once(path: Path, fault: str) -> None:
    """Says what is wrong with a file, unless that was said of it before."""
    if path not in _warned:
        _warned.add(path)
        warnings.warn(f"{path}: {fault}; what is needed is tried and remembered anew", stacklevel=2)
