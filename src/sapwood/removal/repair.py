"""Shapes written in a model's own code: find the integer attribute that each comes from, and set it.

The compact model is run beside the recorded one. Where a call differs from the plan, the attributes of the modules that
were running are searched for the old number; the one that brings the run further is kept, and the same attribute is set
on every other module that makes the same call.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from torch import nn

from sapwood.graph import Analysis, Structure
from sapwood.models import AttributeEdit
from sapwood.models.places import AttributePlace
from sapwood.ops import Call
from sapwood.removal.beside import Divergence, Followed, follow
from sapwood.removal.nearby import children, config_changes, listed_changes, own_changes, summed_changes
from sapwood.removal.numbers import numbers, wanted_numbers
from sapwood.removal.widths import Expectation

Change: TypeAlias = dict[AttributePlace, int]
"""Attributes, and what they are set to."""

MAX_REPAIRS = 400

MAX_IN_VAIN = 64
"""How many attributes are tried in vain for one model; each takes a run of its code. What comes next stays whole."""


FEW = 8
"""How many are tried in vain by an attempt that may be given up."""

MAX_BEFORE = 20
"""How many calls before one that fails are searched for the sizes that its code may have checked."""


@dataclass
class Tries:
    """What was tried for one model, round after round: what helped once is tried first, and costs nothing.

    Attributes:
        left: How many attributes may still be tried in vain.
        helped: By the line of code, the attributes that brought a run further there.
        guesses: Whether widths are set before a model ran; not again where its run was not as planned anyway.
        idle: What was set without any effect before a run came to a line of code, as :func:`_situation` tells it.
    """

    left: int = MAX_IN_VAIN
    helped: dict[str, set[tuple[str, ...]]] = field(default_factory=dict)
    idle: set[tuple[object, ...]] = field(default_factory=set)
    guesses: bool = True

    def ordered(self, divergence: Divergence, changes: Iterable[Change]) -> Iterator[Change]:
        """Changes, each once, as long as tries are left; those first that helped in the same line before.

        What the same line met in a layer like this one, and a change of the like there had no effect, is left out.
        """
        each: Iterable[Change] = self._each_once(divergence, changes)
        known = self.helped.get(divergence.call.location, set())
        if known:
            each = list(each)
            yield from (change for change in each if _names(change) in known)
        for change in each:  # looked for as they are tried: mostly one of the first helps
            if _names(change) not in known:
                if self.left <= 0:
                    return
                self.left -= 1
                yield change

    def _each_once(self, divergence: Divergence, changes: Iterable[Change]) -> Iterator[Change]:
        seen: set[frozenset[tuple[AttributePlace, int]]] = set()
        idle = frozenset(self.idle)  # what has no effect here is known for the next layer, not for the next attribute
        for change in changes:
            key = frozenset(change.items())
            if key not in seen and _situation(divergence, change) not in idle:
                seen.add(key)
                yield change

    def apart(self) -> Tries:
        """The same for an attempt that may be given up; what it finds is found again then."""
        helped = {line: set(names) for line, names in self.helped.items()}
        return replace(self, left=min(self.left, FEW), helped=helped, idle=set(self.idle))

    def keep(self, call: Call, change: Change) -> None:
        """Remembers what helped."""
        if _names(change) not in self.helped.setdefault(call.location, set()):
            self.helped[call.location].add(_names(change))
            self.left += 1  # it was not in vain


def _situation(divergence: Divergence, change: Change) -> tuple[object, ...]:
    """A change, and where it is tried: the same for layers that are alike, whose numbers in lists differ."""
    call = divergence.call
    own = call.module.split(".")
    places = sorted((*_beside(own, place.module.split(".")), place.text, new) for place, new in change.items())
    return call.location, call.name, tuple(divergence.wanted), str(divergence.found), tuple(places)


def _beside(own: Sequence[str], other: Sequence[str]) -> tuple[str, ...]:
    """The path of a module as one beside another: the same steps of both without the numbers of layers."""
    common = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(own, other, strict=False)))
    return (*("#" if part.isdigit() else part for part in own[:common]), *other[common:])


def _names(change: Change) -> tuple[str, ...]:
    """The attributes of a change, whichever module they are of."""
    return tuple(sorted(place.text for place in change))


@dataclass(frozen=True)
class Repaired:
    """What was changed, and how the model then ran.

    Attributes:
        edits: The attributes that were set.
        followed: How it ran.
    """

    edits: tuple[AttributeEdit, ...]
    followed: Followed


def repair_(
    model: nn.Module, structure: Structure, analysis: Analysis, expectation: Expectation, tries: Tries
) -> Repaired:
    """Sets attributes of ``model`` until it runs as planned, no attribute helps any more, or none may be tried."""
    edits: list[AttributeEdit] = []
    followed = follow(model, structure, analysis, expectation)
    for _ in range(MAX_REPAIRS):
        if followed.first is None:
            break
        found = _advance(model, structure, analysis, expectation, followed.first, tries=tries)
        if found is None:
            break
        more, followed = found
        edits += more
    return Repaired(tuple(edits), followed)


def _advance(
    model: nn.Module,
    structure: Structure,
    analysis: Analysis,
    expectation: Expectation,
    divergence: Divergence,
    *,
    tries: Tries,
) -> tuple[list[AttributeEdit], Followed] | None:
    """Finds attributes whose change brings the run further than ``divergence``."""
    call = divergence.call
    for change in tries.ordered(divergence, _candidates(model, analysis, divergence, expectation)):
        edits = _set_everywhere(model, analysis, expectation, call, change, dense=structure.model)
        after = follow(model, structure, analysis, expectation)
        if after.first is None or after.first.call.index > call.index:
            tries.keep(call, change)
            return edits, after
        if after.first == divergence:
            tries.idle.add(_situation(divergence, change))
        for edit in reversed(edits):
            AttributePlace.of(edit).set(model, edit.before)
    return None


def _candidates(
    model: nn.Module, analysis: Analysis, divergence: Divergence, expectation: Expectation
) -> Iterator[Change]:
    """Attributes of the running modules, innermost first, that hold a size this call is about to lose.

    One by one first, then all of a module together, then attributes of which the size is a multiple. Then the modules
    inside those that run, whose attributes the code around them may read, and configs, which many may share. At last
    pairs of attributes of which the size is a sum. Where this call loses no size, those that calls before it lose.
    """
    call = divergence.call
    sizes = [*_told(analysis, divergence, expectation), *_changes(analysis, call, expectation)]
    running = list(reversed(call.modules or ("",)))
    inside = children(model, running)
    ways = ((own_changes, running), (own_changes, inside), (listed_changes, running), (config_changes, running))
    for (changes, names), factor in itertools.product(ways, (1, 2, 3, 4)):
        wanted = {old // factor: new // factor for old, new in sizes if old % factor == 0 and new % factor == 0}
        yield from changes(model, names, wanted)
    padded = _padded(analysis, call, expectation)
    yield from own_changes(model, running, {old: new for old, new in padded.items() if old != new})
    yield from summed_changes(model, running, dict(sizes))
    if not sizes:  # nothing of this call changes: the code failed at what it reads earlier
        yield from own_changes(model, running, _lost_before(analysis, call, expectation))


def _lost_before(analysis: Analysis, call: Call, expectation: Expectation) -> dict[int, int]:
    """Sizes that tensors lost at the calls just before one, as a check knows them whose message names no number."""
    lost: dict[int, int] = {}
    for other in reversed(analysis.graph.calls[max(call.index - MAX_BEFORE, 0) : call.index]):
        for tensor in (*other.tensor_outputs(), *other.tensor_inputs()):
            for old, new in zip(tensor.shape, expectation.shape(tensor), strict=True):
                if old != new:
                    lost.setdefault(old, new)
    return lost


def _told(analysis: Analysis, divergence: Divergence, expectation: Expectation) -> dict[tuple[int, int], None]:
    """Pairs of old and new sizes before a call that an error names both, as a check of the code's own does."""
    mentioned = {int(number) for number in re.findall(r"\d+", str(divergence.found))}
    modules = divergence.call.modules
    before = [
        call for call in analysis.graph.calls[: divergence.call.index + 1] if call.modules[: len(modules)] == modules
    ]
    tensors = [tensor for call in before for tensor in (*call.tensor_inputs(), *call.tensor_outputs())]
    pairs = {pair for tensor in tensors for pair in zip(tensor.shape, expectation.shape(tensor), strict=True)}
    return {pair: None for pair in sorted(pairs) if pair[0] != pair[1] and mentioned.issuperset(pair)}


def _changes(analysis: Analysis, call: Call, expectation: Expectation) -> list[tuple[int, int]]:
    """Pairs of old and new sizes at this call and the rest of its line of code, in the order they come."""
    pairs: dict[tuple[int, int], None] = {}
    line = _line(analysis, call)
    for tensor in [tensor for other in line for tensor in (*other.tensor_inputs(), *other.tensor_outputs())]:
        for old, new in zip(tensor.shape, expectation.shape(tensor), strict=True):
            if old != new:
                pairs[old, new] = None
    for old, new in [pair for other in line for pair in _places(other, expectation)]:
        pairs = {pair: None for pair in pairs if pair[0] != old}
        if old != new:
            pairs[old, new] = None
    return list(pairs)


def _line(analysis: Analysis, call: Call) -> list[Call]:
    """This call and those behind it in the same line of code."""
    return list(
        itertools.takewhile(
            lambda other: (other.location, other.modules) == (call.location, call.modules),
            analysis.graph.calls[call.index :],
        )
    )


def _padded(analysis: Analysis, call: Call, expectation: Expectation) -> dict[int, int]:
    """What is added to a dimension on both sides together, in a line of code: the old amount and the new one.

    A shortcut that pads its channels half in front and half behind keeps one number for both.
    """
    found: dict[int, int] = {}
    for other in _line(analysis, call):
        if other.facts.pads:
            old, new = numbers(other, other.args), wanted_numbers(other, expectation)
            sums = [[before + after for before, after in zip(one[::2], one[1::2], strict=True)] for one in (old, new)]
            found |= dict(zip(*sums, strict=True))
    return found


def _places(call: Call, expectation: Expectation) -> Iterator[tuple[int, int]]:
    """Numbers that no shape shows, and what they have to be; they beat an equal size."""
    pairs = zip(numbers(call, call.args), wanted_numbers(call, expectation), strict=True)
    yield from ((old, new) for old, new in pairs if old)


def _set_everywhere(
    model: nn.Module, analysis: Analysis, expectation: Expectation, call: Call, change: Change, *, dense: nn.Module
) -> list[AttributeEdit]:
    """Sets attributes, and their like on every module that makes the same call from the same line and was not set."""
    edits = []
    for place, new in change.items():
        edits.append(AttributeEdit(place.module, place.text, place.get(model), new))
    factor = _factor(analysis, call, expectation, edits[0])
    for place, new in change.items():
        place.set(model, new)
    module, *others = {place.module for place in change}
    if others or any("." in place.attribute for place in change):
        return edits  # what several modules hold, or share, is set for all of them
    if call.modules and module not in call.modules:
        return edits  # a module inside one that runs: its like are met in their turn
    depth = call.modules.index(module) - len(call.modules) if call.modules else -1
    own_class = type(model.get_submodule(module))
    done = {module}
    for other in analysis.graph.calls:
        name = other.modules[depth] if len(other.modules) >= -depth else ""
        if other.location != call.location or other.op is not call.op or name in done:
            continue
        if type(model.get_submodule(name)) is not own_class:
            continue
        sizes = {old // factor: new // factor for old, new in _changes(analysis, other, expectation)}
        padded = _padded(analysis, other, expectation)
        sizes = {old: new for old, new in sizes.items() if padded.get(old, new) == new}  # else met in its turn
        peers = {AttributePlace(name, place.attribute, place.position) for place in change}
        if all(peer.get(model) in sizes and peer.get(model) == peer.get(dense) for peer in peers):
            done.add(name)
            for peer in sorted(peers):
                before = peer.get(model)
                edits.append(AttributeEdit(name, peer.text, before, sizes[before]))
                peer.set(model, sizes[before])
    return edits


def _factor(analysis: Analysis, call: Call, expectation: Expectation, edit: AttributeEdit) -> int:
    """How many times the attribute's value stands in the size it explains."""
    for factor in (1, 2, 3, 4):
        if (edit.before * factor, edit.after * factor) in _changes(analysis, call, expectation):
            return factor
    return 1
