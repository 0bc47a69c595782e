"""What widths a network should have on a runtime, as it was measured, and where it is remembered."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sapwood.errors import MeasureError
from sapwood.files import keep_json
from sapwood.goals.bench import Bench, cache_path, call_shapes
from sapwood.goals.group_keys import GroupKey
from sapwood.graph import Analysis
from sapwood.measure import MULTIPLES
from sapwood.reading import read_json, reading

FORMAT = 2
"""The version of the cache; steps of another one are measured anew."""


@dataclass(frozen=True)
class LayerSteps:
    """What widths that are no multiple of enough cost a layer.

    Attributes:
        layer: Its path.
        ms: Its median time in the networks that were made.
        reads: By multiple of the channels read: time at equal work, relative to the best.
        writes: The same of the channels written.
        error: The standard error of such a ratio, as a fraction.
    """

    layer: str
    ms: float
    reads: Mapping[int, float]
    writes: Mapping[int, float]
    error: float = 0.0


@dataclass(frozen=True)
class GroupMultiple:
    """What the widths of one group should be multiples of.

    Attributes:
        group: Its name.
        first: The first index of that dimension that is its own; see :func:`sapwood.goals.group_key`.
        multiple: Of what.
    """

    group: str
    first: int
    multiple: int


@dataclass(frozen=True)
class WidthSteps:
    """What widths a network should have on a runtime.

    Attributes:
        runtime: Where it was timed.
        multiple: What widths should be multiples of; see :func:`sapwood.measure.best_multiple`.
        times: By multiple: the whole network's time at equal work, relative to the best, and its standard error.
        layers: The slowest first; empty where the runtime cannot tell layers apart.
        measured: The day.
        conditions: Of the times.
        groups: What the layers say of single groups, where it is another multiple than the network's; kept only where
            the whole network did as well with them.
        with_groups: The network's time at equal work with these, relative to one multiple for all, and its standard
            error; None where layers say nothing else than the network does.
    """

    runtime: str
    multiple: int
    times: Mapping[int, tuple[float, float]]
    layers: tuple[LayerSteps, ...]
    measured: str
    conditions: Mapping[str, Any]
    groups: tuple[GroupMultiple, ...] = ()
    with_groups: tuple[float, float] | None = None

    @property
    def by_group(self) -> dict[GroupKey, int]:
        """The multiples of :attr:`groups`, by what groups are known by."""
        return {(one.group, one.first): one.multiple for one in self.groups}


def known_steps(analysis: Analysis, bench: Bench) -> WidthSteps | None:
    """What was measured before of a model on a runtime; None where nothing was, or the file is damaged (a warning)."""
    path = _path(analysis, bench)
    if not path.exists():
        return None
    expected = "what widths a runtime likes"
    try:
        value = read_json(path, expected, MeasureError)
        with reading(path, expected, MeasureError):
            return _read(value)
    except MeasureError as error:
        warnings.warn(f"{error}; run `sapwood inspect --widths` again", stacklevel=2)
        return None


def keep_steps(analysis: Analysis, bench: Bench, found: WidthSteps) -> None:
    """Remembers what was measured, for this machine, model, runtime and threads."""
    keep_json(_path(analysis, bench), asdict(found))


def _path(analysis: Analysis, bench: Bench) -> Path:
    return cache_path("widths", call_shapes(analysis), bench, samples=[*MULTIPLES], version=FORMAT)


def _read(value: Any) -> WidthSteps:
    """What was written.

    Raises:
        ValueError: If a figure is none that a measurement gives; damage of other kinds raises as it may.
    """
    layers = tuple(
        LayerSteps(
            row["layer"],
            float(row["ms"]),
            _by_multiple(row["reads"]),
            _by_multiple(row["writes"]),
            float(row["error"]),
        )
        for row in value["layers"]
    )
    times = {int(multiple): (float(ratio), float(error)) for multiple, (ratio, error) in value["times"].items()}
    groups = tuple(GroupMultiple(str(row["group"]), int(row["first"]), row["multiple"]) for row in value["groups"])
    checked = None if value["with_groups"] is None else tuple(map(float, value["with_groups"]))
    if not {value["multiple"], *(one.multiple for one in groups)} <= set(MULTIPLES):
        raise ValueError(f"a multiple that is none of {MULTIPLES}")
    if not all(math.isfinite(one) for pair in (*times.values(), checked or ()) for one in pair):
        raise ValueError("a time that is no figure")
    return WidthSteps(
        value["runtime"],
        value["multiple"],
        times,
        layers,
        str(value["measured"]),
        dict(value["conditions"]),
        groups,
        None if checked is None else (checked[0], checked[1]),
    )


def _by_multiple(row: Mapping[str, Any]) -> dict[int, float]:
    return {int(multiple): float(ratio) for multiple, ratio in row.items()}
