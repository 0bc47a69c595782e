"""What widths a network should have on a runtime: multiples of 1, 2, 4, 8 or 16, timed on the user's machine.

Networks are made whose widths are multiples of one number, and not of twice as much, and timed side by side at equal
work. Whole networks are what counts, for a runtime that leaves its blocked layout pays between the layers as well.
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from torch import nn

from sapwood.errors import MeasureError
from sapwood.files import keep_json
from sapwood.goals.bench import ROUNDS, Bench, cache_path, call_shapes, session_times
from sapwood.goals.drawn_widths import select_drawn
from sapwood.graph import Analysis
from sapwood.measure import (
    MULTIPLES,
    LatencyTable,
    MacCount,
    best_multiple,
    count_macs,
    measure_latency,
    model_layers,
    multiple_of,
    read_and_written,
    relative_times,
    uneven_width,
)
from sapwood.models import apply_plan
from sapwood.reading import read_json, reading
from sapwood.removal import Planner, unproven
from sapwood.runtime import Session

FORMAT = 1
"""The version of the cache; steps of another one are measured anew."""

FRACTIONS = (0.6, 0.67, 0.74, 0.81)
"""Of the channels: one set of networks each, in which all groups have widths of one kind."""

MIXED = 4
"""Sets in which groups have widths of different kinds: they tell what a layer reads from what it writes."""

SECONDS = 3.0
TIMED_ROUNDS = 120
"""How long the networks of a set are timed side by side: rounds or seconds, whichever is less."""


@dataclass(frozen=True)
class LayerSteps:
    """What widths that are no multiple of enough cost a layer.

    Attributes:
        layer: Its path.
        ms: Its median time in the networks that were made.
        reads: By multiple of the channels read: time at equal work, relative to the best.
        writes: The same of the channels written.
    """

    layer: str
    ms: float
    reads: Mapping[int, float]
    writes: Mapping[int, float]


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
    """

    runtime: str
    multiple: int
    times: Mapping[int, tuple[float, float]]
    layers: tuple[LayerSteps, ...]
    measured: str
    conditions: Mapping[str, Any]


def find_width_steps(
    planner: Planner,
    model: nn.Module,
    bench: Bench,
    *,
    routes: Mapping[str, int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> WidthSteps:
    """Measures what widths of ``model`` a runtime likes, and remembers it for this machine and runtime.

    Args:
        planner: Of the model.
        model: The dense model, in float32.
        bench: Where it runs.
        routes: The Darknet routes that take equal parts.
        progress: Called with networks done and in all.

    Raises:
        MeasureError: If no group can be narrowed.
    """
    if not planner.analysis().groups:
        raise MeasureError("no channels can be removed; expected a model with some, to make it narrower")
    shown = _Shown(progress, (len(FRACTIONS) + MIXED) * len(MULTIPLES))
    maker = _Maker(planner, model, bench, dict(routes or {}))
    rows: list[dict[int, float]] = []
    seen: dict[str, _LayerRuns] = {}
    conditions: Mapping[str, Any] = {}
    for fraction in FRACTIONS:
        made = maker.networks(fraction, shown.step)
        table = _side_by_side(made, bench)
        rows.append({int(row.name): row.ratio / made[int(row.name)].macs.total for row in table.rows})
        conditions = table.conditions
        _add_all(seen, made)
    for seed in range(MIXED):
        _add_all(seen, maker.networks(FRACTIONS[-1], shown.step, seed))
    times = relative_times(rows)
    found = WidthSteps(
        runtime=bench.deployment.runtime,
        multiple=best_multiple(times),
        times=times,
        layers=tuple(sorted((one.split(name) for name, one in seen.items() if one.varies), key=lambda row: -row.ms)),
        measured=date.today().isoformat(),
        conditions={**conditions, "runtime": bench.deployment.runtime, "threads": bench.deployment.num_threads},
    )
    keep_json(_path(planner.analysis(), bench), asdict(found))
    return found


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


@dataclass
class _Shown:
    """How far it is."""

    progress: Callable[[int, int], None] | None
    total: int
    done: int = 0

    def step(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)


@dataclass
class _LayerRuns:
    """What was measured of a layer: times, times at equal work, and the multiples of what it reads and writes."""

    ms: list[float] = field(default_factory=list)
    at_equal_work: list[float] = field(default_factory=list)
    reads: list[int] = field(default_factory=list)
    writes: list[int] = field(default_factory=list)

    @property
    def varies(self) -> bool:
        return len(set(self.reads)) > 1 or len(set(self.writes)) > 1

    def add(self, ms: float, macs: int, read: int, written: int) -> None:
        self.ms.append(ms)
        self.at_equal_work.append(ms / macs)
        self.reads.append(multiple_of(read))
        self.writes.append(multiple_of(written))

    def split(self, name: str) -> LayerSteps:
        reads, writes = read_and_written(self.at_equal_work, self.reads, self.writes)
        return LayerSteps(name, median(self.ms), reads, writes)


@dataclass(frozen=True)
class _TimedNetwork:
    """A network that was made to be timed."""

    model: nn.Module
    session: Session
    macs: MacCount


@dataclass(frozen=True)
class _Maker:
    """Makes networks of given widths."""

    planner: Planner
    model: nn.Module
    bench: Bench
    routes: dict[str, int]

    def networks(self, fraction: float, done: Callable[[], None], seed: int | None = None) -> dict[int, _TimedNetwork]:
        """One network a multiple, of about that fraction of the channels.

        Args:
            fraction: Of the channels.
            done: Called after each.
            seed: If given, the groups of each are of different multiples, drawn with it; every group has each once.
        """
        made = {}
        for place, multiple in enumerate(MULTIPLES):
            select = select_drawn(partial(_drawn, place, fraction, seed), whole_heads=False, routes=self.routes)
            solution = self.planner.solve(select, prove=unproven, as_config=False)
            small = apply_plan(self.model, solution.realised.plan)
            made[multiple] = _TimedNetwork(small, self.bench.load(small), count_macs(small, self.bench.inputs))
            done()
        return made


def _drawn(
    place: int, fraction: float, seed: int | None, sizes: Sequence[int], equal: Sequence[Sequence[int]]
) -> list[int]:
    """The widths of the network at this place of its set."""
    draw = None if seed is None else random.Random(seed)
    shifts = [0 if draw is None else draw.randrange(len(MULTIPLES)) for _ in sizes]
    for numbers in equal:
        for number in numbers:
            shifts[number] = shifts[min(numbers)]
    kinds = [MULTIPLES[(place + shift) % len(MULTIPLES)] for shift in shifts]
    return [uneven_width(size, kind, fraction) for size, kind in zip(sizes, kinds, strict=True)]


def _side_by_side(made: Mapping[int, _TimedNetwork], bench: Bench) -> LatencyTable:
    sessions = {str(multiple): one.session for multiple, one in made.items()}
    threads = bench.deployment.num_threads
    return measure_latency(sessions, baseline=str(MULTIPLES[-1]), rounds=TIMED_ROUNDS, seconds=SECONDS, threads=threads)


def _add_all(seen: dict[str, _LayerRuns], made: Mapping[int, _TimedNetwork]) -> None:
    """Times the layers of networks, and adds what each took to ``seen``."""
    for one in made.values():
        took = session_times(one.session, ROUNDS)
        for layer in model_layers(one.model, one.macs):
            channels = _channels(one.model.get_submodule(layer.name))
            ms = 0.0 if took is None else took.get(layer.name, 0.0)
            if channels is not None and ms > 0.0 and layer.macs:
                seen.setdefault(layer.name, _LayerRuns()).add(ms, layer.macs, *channels)


def _channels(module: nn.Module) -> tuple[int, int] | None:
    """The channels that a layer reads and writes; None of what has no such numbers."""
    for kind in ("channels", "features"):
        read, written = (getattr(module, f"{side}_{kind}", None) for side in ("in", "out"))
        if isinstance(read, int) and isinstance(written, int):
            return read, written
    return None


def _path(analysis: Analysis, bench: Bench) -> Path:
    return cache_path("widths", call_shapes(analysis), bench, samples=[*MULTIPLES, *FRACTIONS, MIXED], version=FORMAT)


def _read(value: Any) -> WidthSteps:
    """What was written.

    Raises:
        ValueError: If a figure is none that a measurement gives; damage of other kinds raises as it may.
    """
    layers = tuple(
        LayerSteps(row["layer"], float(row["ms"]), _by_multiple(row["reads"]), _by_multiple(row["writes"]))
        for row in value["layers"]
    )
    times = {int(multiple): (float(ratio), float(error)) for multiple, (ratio, error) in value["times"].items()}
    if value["multiple"] not in MULTIPLES or not all(math.isfinite(one) for pair in times.values() for one in pair):
        raise ValueError(f"multiple {value['multiple']}")
    return WidthSteps(
        value["runtime"], value["multiple"], times, layers, str(value["measured"]), dict(value["conditions"])
    )


def _by_multiple(row: Mapping[str, Any]) -> dict[int, float]:
    return {int(multiple): float(ratio) for multiple, ratio in row.items()}
