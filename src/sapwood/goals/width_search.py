"""Measures what widths a network should have on a runtime: multiples of 1, 2, 4, 8 or 16, on the user's machine.

Networks are made whose widths are multiples of one number, and not of twice as much, and timed side by side at equal
work. Whole networks are what counts, for a runtime that leaves its blocked layout pays between the layers as well.
Networks of mixed widths tell what each layer reads from what it writes, and so what each group should be; that is
believed only where a whole network of such widths does as well as one of one multiple for all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from torch import nn

from sapwood.errors import MeasureError
from sapwood.goals.bench import Bench
from sapwood.goals.group_keys import GroupKey, multiples_of
from sapwood.goals.group_multiples import group_multiples
from sapwood.goals.width_networks import LayerRuns, NetworkMaker, TimedNetwork, own_widths, time_layers
from sapwood.goals.width_steps import GroupMultiple, LayerSteps, WidthSteps, keep_steps
from sapwood.measure import (
    MULTIPLES,
    WORTH,
    LatencyTable,
    best_multiple,
    measure_latency,
    ratio_and_error,
    relative_times,
    told,
)
from sapwood.removal import Planner

FRACTIONS = (0.6, 0.74, 0.67, 0.81)
"""Of the channels: one set of networks each, in which all groups have widths of one kind."""

MIXED = 3
"""Sets in which groups have widths of different kinds: they tell what a layer reads from what it writes."""

FEWEST = 2
"""Sets that are timed at least: fewer have no error."""

SECONDS = 3.0
TIMED_ROUNDS = 120
"""How long the networks of a set are timed side by side: rounds or seconds, whichever is less."""

IN_ALL = 90.0
"""Seconds after which no set is begun that can be done without."""


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
        progress: Called with networks done and, at most, in all.

    Raises:
        MeasureError: If no group can be narrowed.
    """
    analysis = planner.analysis()
    if not analysis.groups:
        raise MeasureError("no channels can be removed; expected a model with some, to make it narrower")
    shown = _Shown(progress)
    found = _WidthSearch(NetworkMaker(planner, model, bench, dict(routes or {}), shown.step)).run()
    shown.end()
    keep_steps(analysis, bench, found)
    return found


@dataclass
class _Shown:
    """How far it is."""

    progress: Callable[[int, int], None] | None
    total: int = (len(FRACTIONS) + MIXED) * len(MULTIPLES) + 2 * len(FRACTIONS)
    done: int = 0

    def step(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)

    def end(self) -> None:
        if self.progress is not None:
            self.progress(self.total, self.total)


@dataclass
class _WidthSearch:
    """What was measured so far."""

    maker: NetworkMaker
    layers: dict[str, LayerRuns] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)
    over: float = field(default_factory=lambda: time.monotonic() + IN_ALL)

    def run(self) -> WidthSteps:
        """Whole networks first, then layers, then what layers say on whole networks."""
        times = relative_times(self._whole_networks())
        multiple = best_multiple(times)
        for seed in range(MIXED):
            if seed < FEWEST or time.monotonic() < self.over:
                time_layers(self.layers, self.maker.each_multiple(FRACTIONS[-1], seed))
        rows = [self._layer(name, runs) for name, runs in self.layers.items() if runs.varies]
        rows.sort(key=lambda row: -row.ms)
        groups = group_multiples(self.maker.planner.analysis(), rows, multiple)
        checked = self._with_groups(groups, multiple) if groups else None
        deployment = self.maker.bench.deployment
        return WidthSteps(
            runtime=deployment.runtime,
            multiple=multiple,
            times=times,
            layers=tuple(rows),
            measured=date.today().isoformat(),
            conditions={**self.conditions, "runtime": deployment.runtime, "threads": deployment.num_threads},
            groups=tuple(GroupMultiple(*key, own) for key, own in groups.items()) if _as_well(checked) else (),
            with_groups=checked,
        )

    def _whole_networks(self) -> list[dict[int, float]]:
        """Sets of networks, each of one multiple, until it is told which cost more, or time is over."""
        rows: list[dict[int, float]] = []
        for fraction in FRACTIONS:
            if len(rows) >= FEWEST and (told(relative_times(rows)) or time.monotonic() > self.over):
                break
            made = self.maker.each_multiple(fraction)
            rows.append(self._at_equal_work(made, MULTIPLES[-1]))
            time_layers(self.layers, made)
        return rows

    def _with_groups(self, groups: Mapping[GroupKey, int], usual: int) -> tuple[float, float]:
        """Time at equal work with each group's own multiple, relative to one for all, and its standard error."""
        analysis, ratios = self.maker.planner.analysis(), list[float]()
        own = multiples_of(analysis, groups, usual)
        for fraction in FRACTIONS:
            if len(ratios) >= FEWEST and (_clear(*ratio_and_error(ratios)) or time.monotonic() > self.over):
                break
            both = own_widths(own, fraction), own_widths([usual] * len(own), fraction)
            took = self._at_equal_work(dict(enumerate(map(self.maker.make, both))), 1)
            ratios.append(took[0] / took[1])
        ratio, error = ratio_and_error(ratios)
        return round(ratio, 6), round(error, 6)

    def _at_equal_work(self, made: Mapping[int, TimedNetwork], baseline: int) -> dict[int, float]:
        """Networks timed side by side: time over work, by number."""
        table = _side_by_side(made, baseline, self.maker.bench.deployment.num_threads)
        self.conditions = table.conditions
        return {int(row.name): row.ratio / made[int(row.name)].macs.total for row in table.rows}

    def _layer(self, name: str, runs: LayerRuns) -> LayerSteps:
        effects = runs.effects()
        return LayerSteps(name, runs.usual_ms, effects.reads, effects.writes, effects.error)


def _as_well(checked: tuple[float, float] | None) -> bool:
    """Whether it was seen that a network does as well, the clock's error counted against it."""
    return checked is not None and sum(checked) <= 1.0 + WORTH


def _clear(ratio: float, error: float) -> bool:
    """Whether a ratio is further from what would be too much than its error."""
    return abs(ratio - 1.0 - WORTH) > error


def _side_by_side(made: Mapping[int, TimedNetwork], baseline: int, threads: int) -> LatencyTable:
    sessions = {str(number): one.session for number, one in made.items()}
    return measure_latency(sessions, baseline=str(baseline), rounds=TIMED_ROUNDS, seconds=SECONDS, threads=threads)
