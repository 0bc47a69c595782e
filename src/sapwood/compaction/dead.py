"""Which channels are dead: nothing that follows the input reaches the outputs through them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from sapwood.compaction.constants import Fold
from sapwood.compaction.contributions import Bools
from sapwood.graph import Analysis, alive_rows, flags
from sapwood.ops import Axis, Call


@dataclass(frozen=True)
class Dead:
    """The channels that can go.

    Attributes:
        removed: Their units, sorted.
        held: Units that are dead as well, and why they cannot go.
        mixed: Units that a norm or a reduction combines with others, and where.
    """

    removed: Axis
    held: dict[int, str]
    mixed: dict[int, str]


def find_dead(analysis: Analysis, folds: Sequence[Fold]) -> Dead:
    """Finds every unit whose removal leaves the outputs as they are, once its constants are folded.

    All units are taken for dead at first; those that an index needs whose sum is still read come back, until none
    does. So channels that only feed each other go, too.

    Args:
        analysis: The channel groups.
        folds: What the summed-over indices of the recorded run add, and where constants can go.
    """
    units = np.array(sorted(unit for group in analysis.groups for unit in group.units), dtype=np.int64)
    live = [_Need(analysis, fold, fold.contribution.live, f"is read by {fold.contribution.call}") for fold in folds]
    search = _DeadSearch(analysis, units)
    search.bring(live)
    dead, search = search.removed, _DeadSearch(analysis, search.removed)
    mixed: dict[int, str] = {}
    for axis, reason in _mixed(analysis):
        mixed.update(dict.fromkeys(np.unique(analysis.context.atoms.resolve(axis)).tolist(), reason))
        search.put_back(axis, reason)
    search.settle([*live, *(_Need(analysis, fold, fold.needed, fold.reason) for fold in folds)])
    return Dead(search.removed, {unit: search.held[unit] for unit in dead.tolist() if unit in search.held}, mixed)


class _Need:
    """Pairs of an index that is summed over and an output of the sum, which must not be parted."""

    def __init__(self, analysis: Analysis, fold: Fold, needed: Bools, reason: str) -> None:
        one = fold.contribution
        context = analysis.context
        self.needed = needed
        self.reason = reason
        self.source = context.atoms.resolve(context.axes(one.source)[one.dim])
        output = None if one.output_dim is None else context.axes(one.call.outputs[0])[one.output_dim]
        self.output = None if output is None else context.atoms.resolve(output)


@dataclass
class _DeadSearch:
    """Units that are taken for dead, fewer at every step."""

    analysis: Analysis
    removed: Axis
    held: dict[int, str] = field(default_factory=dict)

    def bring(self, needs: Sequence[_Need]) -> bool:
        """Puts units back until everything that is needed is there; returns whether any came back."""
        rounds = 0
        while sum([self._bring(need) for need in needs]):
            rounds += 1
        return rounds > 0

    def settle(self, needs: Sequence[_Need]) -> None:
        """The same with what the model's code asks for: equal parts, and a channel in every group."""
        while self.bring(needs) or self._level_parts() or self._keep_one():
            pass

    def put_back(self, atoms: Axis, reason: str) -> bool:
        """Takes units off the dead; returns whether any of them was on."""
        back = np.intersect1d(self.analysis.context.atoms.resolve(atoms), self.removed)
        self.removed = np.setdiff1d(self.removed, back)
        for unit in back.tolist():
            self.held.setdefault(unit, reason)
        return bool(len(back))

    def _gone(self, resolved: Axis) -> Bools:
        return np.asarray(np.isin(resolved, self.removed).any(axis=1))

    def _bring(self, need: _Need) -> bool:
        gone = self._gone(need.source)
        if not gone.any():
            return False
        read = need.needed if need.output is None else need.needed[:, ~self._gone(need.output)]
        back = gone & read.any(axis=1)
        return bool(back.any()) and self.put_back(need.source[back], need.reason)

    def _level_parts(self) -> bool:
        """Parts that the code cuts at equal distances lose equal numbers."""
        atoms = self.analysis.context.atoms
        removed = flags(atoms, self.removed)
        for cut in self.analysis.equal_parts:
            gone = [np.flatnonzero(~alive_rows(part, removed)) for part in cut.parts]
            fewest = min(map(len, gone))
            for part, rows in zip(cut.parts, gone, strict=True):
                if self.put_back(part[rows[fewest:]], f"cut into equal parts by {cut.call}"):
                    return True
        return False

    def _keep_one(self) -> bool:
        for group in self.analysis.groups:
            if np.isin(group.units, self.removed).all():
                return self.put_back(np.array([group.units[:1]], dtype=np.int64), "the last channel always stays")
        return False


def _mixed(analysis: Analysis) -> Iterator[tuple[Axis, str]]:
    """Axes that a call combines other than by a weighted sum: what is left would change without them."""
    for call in analysis.graph.calls:
        for axis in _mixed_axes(analysis, call):
            if axis.shape[1]:
                yield axis, f"combined with others by {call}"


def _mixed_axes(analysis: Analysis, call: Call) -> list[Axis]:
    """The axes of what a call reads along which it mixes indices."""
    facts, tensors = call.facts, call.tensor_inputs()
    if facts.is_attention:
        return [analysis.context.axes(call.args[1])[-2]]
    if not tensors or (facts.sum is not None and not facts.is_deformed) or facts.passes:
        return []
    if facts.pools is not None:
        axes = analysis.context.axes(tensors[0])
        return [*(axes[dim] for dim in facts.pooled_dims(call)), *_vanished(analysis, call)]
    return [axis for tensor in tensors for axis in analysis.context.axes(tensor)]


def _vanished(analysis: Analysis, call: Call) -> list[Axis]:
    """The axes of the second and further tensors that a call reads of which no output has anything."""
    context = analysis.context
    resolved = context.atoms.resolve
    made = [resolved(axis) for output in call.tensor_outputs() for axis in context.axes(output)]
    there = np.unique(np.concatenate([axis.ravel() for axis in made])) if made else np.zeros(0, dtype=np.int64)
    read = [axis for tensor in call.tensor_inputs()[1:] for axis in context.axes(tensor)]
    return [axis for axis in read if not np.isin(resolved(axis), there).any()]
