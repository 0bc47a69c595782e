"""What was found to be fastest for whole networks on this machine, in a file of the user's cache folder."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sapwood.caches import cache_folder
from sapwood.errors import EngineError
from sapwood.files import keep_json
from sapwood.runtime.cores import processor
from sapwood.runtime.engine.assembly import Sides
from sapwood.runtime.engine.choice import ENGINE, MIXED, PYTORCH, SidesChoice, movable
from sapwood.runtime.engine.kept import read_kept
from sapwood.runtime.engine.library import instruction_set
from sapwood.runtime.engine.nodes import Network, Value
from sapwood.runtime.engine.packing import ConvSpec
from sapwood.runtime.engine.tuning import VERSION as KERNELS

VERSION = 1
"""The version of what is remembered."""

UNTOLD = frozenset({"label", "location", "reason"})
"""Fields of nodes that change nothing of the time."""


def choices_file() -> Path:
    """``sides-N.json`` in the folder of :func:`sapwood.caches.cache_folder`."""
    return cache_folder() / f"sides-{VERSION}.json"


def key_of(network: Network, threads: int, shapes: Sequence[Sequence[int]]) -> str:
    """What the times depend on: shapes, zeros (by twentieths), threads, versions, processor, instruction set."""
    described = [
        VERSION, KERNELS, torch.__version__, processor(), instruction_set(), threads,
        [tuple(shape) for shape in shapes],
        [(type(node).__name__, [_told(getattr(node, one.name)) for one in fields(node) if one.name not in UNTOLD])
         for node in network.nodes],
        sorted(network.sizes.items()), network.outputs,
    ]  # fmt: skip
    return hashlib.sha256(repr(described).encode()).hexdigest()[:40]


def _told(value: Any) -> Any:
    if isinstance(value, ConvSpec):
        zeros = round(20.0 * value.nonzeros / max(1, value.weight.size))
        return value.weight.shape, zeros, value.geometry, value.groups
    if isinstance(value, Tensor | np.ndarray):
        return tuple(value.shape), str(value.dtype)
    if isinstance(value, tuple | list):
        return [_told(one) for one in value]
    if isinstance(value, dict):
        return {name: _told(one) for name, one in value.items()}
    return value


def recall(network: Network, key: str) -> SidesChoice | None:
    """What was chosen for such a network; None if nothing was, or the file says what cannot be."""
    stored = _read(choices_file()).get(key)
    return None if stored is None else _decoded(network, stored)


def keep(network: Network, key: str, choice: SidesChoice) -> None:
    """Remembers a choice; a folder that cannot be written is a warning."""
    places = {node.out: place for place, node in enumerate(network.nodes)}
    stored = {
        "taken": choice.taken,
        "channels_last": choice.sides.channels_last,
        "moved": sorted(places[value] for value in choice.sides.moved),
        "wholes": dict(choice.wholes),
        "nodes": [[places[value], *times] for value, times in choice.nodes.items()],
    }
    keep_json(choices_file(), _read(choices_file()) | {key: stored})


def _read(path: Path) -> dict[str, Any]:
    what = "choices between the engine and PyTorch"
    return read_kept(path, what, "choices by network", lambda found: found if isinstance(found, dict) else {})


def _decoded(network: Network, stored: Any) -> SidesChoice | None:
    """Nothing is taken for granted: the file may say anything."""
    both = movable(network)
    try:
        moved = frozenset(_value(network, place) for place in stored["moved"])
        nodes = {_value(network, place): (_time(one), _time(other)) for place, one, other in stored["nodes"]}
        wholes = {name: _time(time) for name, time in stored["wholes"].items()}
        taken, last = stored["taken"], stored["channels_last"]
    except (KeyError, TypeError, ValueError, AttributeError, EngineError):
        return None
    known = {ENGINE, PYTORCH, MIXED}
    if not (moved <= both and set(nodes) <= both and set(wholes) <= known and taken in wholes and type(last) is bool):
        return None
    if (taken == ENGINE) != (not moved) or (taken == PYTORCH) != (moved == both):
        return None
    return SidesChoice(Sides(moved, last), taken, wholes, nodes)


def _value(network: Network, place: Any) -> Value:
    if type(place) is not int or not 0 <= place < len(network.nodes):
        raise EngineError(f"place {place!r} of {len(network.nodes)}")
    return network.nodes[place].out


def _time(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value) or value < 0:
        raise EngineError(f"{value!r} milliseconds")
    return float(value)
