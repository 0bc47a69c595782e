"""The clock by which it is chosen who runs what: networks that were really assembled, on real inputs."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from sapwood.runtime.engine.assembly import Assembly, Sides, Timed
from sapwood.runtime.engine.nodes import Value

NODE_RUNS = 4
NODE_SECONDS = 0.3
"""Runs in which nodes are timed, or how long, whichever is less; twice at least. The least time of each counts, and the
first run does not."""

ROUNDS = 20
SECONDS = 0.4
"""How often wholes are run in turns, or how long, whichever is less; three times at least. The least time counts."""


class AssemblyClock:
    """Times assemblies, each made once.

    Args:
        make: Makes them.
        inputs: What they run on.
    """

    def __init__(self, make: Callable[[Sides], Assembly], inputs: Sequence[Tensor]) -> None:
        self._make, self._inputs = make, inputs
        self._made: dict[Sides, Assembly] = {}

    def assembly(self, sides: Sides) -> Assembly:
        """The network assembled so."""
        if sides not in self._made:
            self._made[sides] = self._make(sides)
        return self._made[sides]

    def nodes(self, sides: Sides) -> Mapping[Value, float]:
        """Milliseconds of each node, by what it makes."""
        picture = [one[:1] for one in self._inputs]
        least: dict[Value, float] = {}
        assembly, begun = self.assembly(sides), time.perf_counter()
        for number in range(NODE_RUNS):
            times: Timed = []
            assembly.run(picture, times)
            spent: dict[Value, float] = defaultdict(float)
            for step, milliseconds in times:
                if step.out is not None:
                    spent[step.out] += milliseconds
            if number:
                least = {value: min(one, least.get(value, one)) for value, one in spent.items()}
                if time.perf_counter() - begun > NODE_SECONDS:
                    break
        return least

    def wholes(self, candidates: Sequence[Sides]) -> Sequence[float]:
        """Milliseconds of a run of each, in turns: a machine that slows down slows all."""
        least = [float("inf")] * len(candidates)
        begun = time.perf_counter()
        for turn in range(ROUNDS):
            for number, sides in enumerate(candidates):
                start = time.perf_counter()
                self.assembly(sides).run(self._inputs)
                least[number] = min(least[number], 1e3 * (time.perf_counter() - start))
            if turn >= 2 and time.perf_counter() - begun > SECONDS * len(candidates):
                break
        return least
