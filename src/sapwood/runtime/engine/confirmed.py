"""Which programs were found to compute what their models do, in a file of the user's cache folder.

A new program is run beside its model before anybody gets it. Where the same program, made of the same calls and the
same numbers, was run beside the model on the same inputs before, its results would be the same again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sapwood.caches import cache_folder
from sapwood.files import keep_json
from sapwood.ops import RULES, Graph
from sapwood.runtime.cores import processor
from sapwood.runtime.engine.hashing import ContentHash, code, take_run
from sapwood.runtime.engine.kept import read_kept
from sapwood.runtime.engine.library import instruction_set
from sapwood.runtime.engine.lowering import FOLLOWING, LOWERINGS

VERSION = 1
"""The version of what is remembered."""

MOST = 1000
"""Hashes that are remembered, the last ones."""


def confirmed_file() -> Path:
    """``confirmed-N.json`` in the folder of :func:`sapwood.caches.cache_folder`."""
    return cache_folder() / f"confirmed-{VERSION}.json"


def run_hash(graph: Graph, tensors: Mapping[int, Tensor]) -> str | None:
    """A hash of all that decides what a program of a recorded run computes and what its model does.

    Args:
        graph: The recorded run of the model.
        tensors: What the model owns, by the number of its tensor in the run.

    Returns:
        None where something has a part in it that cannot be told: operators of other packages, code without files.
    """
    if not all(registry.is_sapwoods() for registry in (RULES, LOWERINGS, FOLLOWING)):
        return None
    hashed = ContentHash()
    try:
        hashed.text(repr((VERSION, code(), processor(), instruction_set(), torch.get_num_threads())))
    except OSError:
        return None
    take_run(hashed, graph, tensors)
    return hashed.hexdigest()


def confirmation_key(run: str | None, inputs: Sequence[Tensor], how: Sequence[Any]) -> str | None:
    """The key under which an answer about a run is kept.

    Args:
        run: Its :func:`run_hash`.
        inputs: What program and model are run on.
        how: Who runs what, with which tilings and threads, and what is returned; things that say of themselves all that
            they are.

    Returns:
        None for a run without a hash.
    """
    if run is None:
        return None
    hashed = ContentHash()
    hashed.text(repr((run, how)))
    for tensor in inputs:
        hashed.tensor(tensor)
    return hashed.hexdigest()


def is_confirmed(key: str | None) -> bool:
    """Whether it was kept."""
    return key is not None and key in _read(confirmed_file())


def confirm(key: str | None) -> None:
    """Keeps a key; a folder that cannot be written is a warning."""
    if key is not None:
        keep_json(confirmed_file(), [*_read(confirmed_file()), key][-MOST:])


def _read(path: Path) -> list[str]:
    return read_kept(path, "programs that were compared with their models", "a list of hashes", _hashes)


def _hashes(found: Any) -> list[str]:
    return found if isinstance(found, list) and all(isinstance(one, str) for one in found) else []
