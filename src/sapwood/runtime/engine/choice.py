"""Who runs what: each node is timed on the engine and in PyTorch, then the networks that this suggests as wholes.

The fastest whole is taken, so that a compiled network is never slower than PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sapwood.runtime.engine.assembly import Assembly, ProgramPart, Sides
from sapwood.runtime.engine.cheapest import cheapest
from sapwood.runtime.engine.nodes import Network, Value
from sapwood.runtime.engine.twins import Around, minds_order, twin

ENGINE, PYTORCH, MIXED = "the engine", "PyTorch", "both in turns"

ALIKE = 1.02
"""What is slower by less is as fast: then the simpler one is taken."""


class Clock(Protocol):
    """Times a network that is assembled one way or another."""

    def nodes(self, sides: Sides) -> Mapping[Value, float]:
        """Milliseconds of each node, by what it makes; what takes no time of its own is left out."""

    def wholes(self, candidates: Sequence[Sides]) -> Sequence[float]:
        """Milliseconds of a run of each."""


@dataclass(frozen=True)
class SidesChoice:
    """Who runs what, and the figures that speak for it.

    Attributes:
        sides: Who runs what.
        taken: Which of the wholes that is.
        wholes: Milliseconds of those that were tried, by their name; empty where nothing was.
        nodes: Milliseconds of what each node makes, on the engine and in PyTorch.
        untried: Why nothing was tried; empty where something was.
    """

    sides: Sides = field(default_factory=Sides)
    taken: str = ENGINE
    wholes: Mapping[str, float] = field(default_factory=dict)
    nodes: Mapping[Value, tuple[float, float]] = field(default_factory=dict)
    untried: str = ""


def movable(network: Network) -> frozenset[Value]:
    """What nodes make that both sides can run."""
    around = Around(network.sizes)
    return frozenset(node.out for node in network.nodes if twin(node, around) is not None)


def choose(network: Network, clock: Clock) -> SidesChoice:
    """Times and decides."""
    both = movable(network)
    if not both:
        return SidesChoice(untried="PyTorch has no part of it that the engine has")
    own = clock.nodes(Sides())
    orders = (False, True) if any(minds_order(node, Around(network.sizes)) for node in network.nodes) else (False,)
    ways = {sides: clock.nodes(sides) for sides in (Sides(both, channels_last=last) for last in orders)}
    whole = min(ways, key=lambda sides: sum(ways[sides].values()))
    theirs = ways[whole]
    moved = cheapest(network, own, theirs, both)
    candidates = {ENGINE: Sides(), PYTORCH: whole, MIXED: Sides(moved, whole.channels_last)}
    mixed = sum((theirs if value in moved else own).get(value, 0.0) for value in both)
    if not moved or moved == both or ALIKE * mixed > min(sum(own.values()), sum(theirs.values())):
        del candidates[MIXED]
    wholes = dict(zip(candidates, clock.wholes(list(candidates.values())), strict=True))
    taken = next(name for name in candidates if wholes[name] <= ALIKE * min(wholes.values()))
    nodes = {value: (own.get(value, 0.0), theirs.get(value, 0.0)) for value in both}
    return SidesChoice(candidates[taken], taken, wholes, nodes)


def told(choice: SidesChoice, assembly: Assembly) -> list[str]:
    """The choice in words: the wholes that were tried, then each part with what it takes on both sides."""
    if not choice.wholes:
        return [f"PyTorch was not tried in place of the engine: {choice.untried}"]
    times = ", ".join(f"{name} {milliseconds:.3f} ms" for name, milliseconds in choice.wholes.items())
    last = ", which keeps channels last" if choice.sides.channels_last else ""
    lines = [f"the whole network: {times}; it is run by {choice.taken}{last}"]
    for part in assembly.parts:
        steps = [(step.label, step.out) for step in part.steps if step.out is not None and step.out in choice.nodes]
        if not steps:
            continue
        figures = [choice.nodes[value] for value in dict.fromkeys(value for _, value in steps)]
        own, theirs = (sum(times[side] for times in figures) for side in (0, 1))
        labels = dict.fromkeys((steps[0][0], steps[-1][0]))
        side = "the engine" if isinstance(part, ProgramPart) else "PyTorch"
        lines.append(
            f"{' to '.join(one or '(the model)' for one in labels)}: "
            f"the engine {own:.3f} ms, PyTorch {theirs:.3f} ms; it is run by {side}"
        )
    return lines
