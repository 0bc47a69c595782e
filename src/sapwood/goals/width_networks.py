"""Networks whose widths are multiples of given numbers, loaded on a runtime to be timed, and their layers' times."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median

from torch import nn

from sapwood.goals.bench import ROUNDS, Bench, session_times
from sapwood.goals.drawn_widths import Draw, select_drawn
from sapwood.measure import (
    MULTIPLES,
    MacCount,
    WidthEffects,
    count_macs,
    model_layers,
    multiple_of,
    uneven_width,
    width_effects,
)
from sapwood.models import apply_plan
from sapwood.removal import Planner, unproven
from sapwood.runtime import Session


@dataclass(frozen=True)
class TimedNetwork:
    """A network that was made to be timed."""

    model: nn.Module
    session: Session
    macs: MacCount


@dataclass(frozen=True)
class NetworkMaker:
    """Makes networks of given widths.

    Attributes:
        planner: Of the model.
        model: The dense model.
        bench: Where they run.
        routes: The Darknet routes that take equal parts.
        done: Called after each.
    """

    planner: Planner
    model: nn.Module
    bench: Bench
    routes: Mapping[str, int]
    done: Callable[[], None]

    def make(self, draw: Draw) -> TimedNetwork:
        """One network, of the widths that ``draw`` says."""
        select = select_drawn(draw, whole_heads=False, routes=self.routes)
        solution = self.planner.solve(select, prove=unproven, as_config=False)
        small = apply_plan(self.model, solution.realised.plan)
        made = TimedNetwork(small, self.bench.load(small), count_macs(small, self.bench.inputs))
        self.done()
        return made

    def each_multiple(self, fraction: float, seed: int | None = None) -> dict[int, TimedNetwork]:
        """One network a multiple, of about that fraction of the channels.

        Args:
            fraction: Of the channels.
            seed: If given, the groups of each are of different multiples, drawn with it; every group has each once.
        """
        draws = {multiple: partial(_drawn, place, fraction, seed) for place, multiple in enumerate(MULTIPLES)}
        return {multiple: self.make(draw) for multiple, draw in draws.items()}


def own_widths(multiples: Sequence[int], fraction: float) -> Draw:
    """Widths of about that fraction, each group's a multiple of its own number and not of twice as much.

    Args:
        multiples: One a group.
        fraction: Of the channels.
    """

    def drawn(sizes: Sequence[int], equal: Sequence[Sequence[int]]) -> list[int]:
        own = list(multiples)
        for numbers in equal:
            for number in numbers:
                own[number] = max(multiples[other] for other in numbers)
        return [uneven_width(size, multiple, fraction) for size, multiple in zip(sizes, own, strict=True)]

    return drawn


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


@dataclass
class LayerRuns:
    """What was measured of a layer: times, times at equal work, and the multiples of what it reads and writes."""

    ms: list[float] = field(default_factory=list)
    at_equal_work: list[float] = field(default_factory=list)
    reads: list[int] = field(default_factory=list)
    writes: list[int] = field(default_factory=list)

    @property
    def varies(self) -> bool:
        """Whether its widths were of different multiples."""
        return len(set(self.reads)) > 1 or len(set(self.writes)) > 1

    @property
    def usual_ms(self) -> float:
        """Its median time."""
        return median(self.ms)

    def effects(self) -> WidthEffects:
        """What its multiples cost it."""
        return width_effects(self.at_equal_work, self.reads, self.writes)


def time_layers(seen: dict[str, LayerRuns], made: Mapping[int, TimedNetwork]) -> None:
    """Times the layers of networks, and adds what each took to ``seen``."""
    for one in made.values():
        took = session_times(one.session, ROUNDS)
        for layer in model_layers(one.model, one.macs):
            channels = _channels(one.model.get_submodule(layer.name))
            ms = 0.0 if took is None else took.get(layer.name, 0.0)
            if channels is not None and ms > 0.0 and layer.macs:
                runs = seen.setdefault(layer.name, LayerRuns())
                runs.ms.append(ms)
                runs.at_equal_work.append(ms / layer.macs)
                runs.reads.append(multiple_of(channels[0]))
                runs.writes.append(multiple_of(channels[1]))


def _channels(module: nn.Module) -> tuple[int, int] | None:
    """The channels that a layer reads and writes; None of what has no such numbers."""
    for kind in ("channels", "features"):
        read, written = (getattr(module, f"{side}_{kind}", None) for side in ("in", "out"))
        if isinstance(read, int) and isinstance(written, int):
            return read, written
    return None
