"""Grouped convolutions whose groups match no grid: all groups stay, and lose equal numbers of channels.

Behind a shuffle the channels of one convolution group come from several groups of the convolution before, in numbers
that differ where the groups do not divide the channels of one (ShuffleNetV1 with 3 or 4 groups); behind a
concatenation a group begins in the middle of another's channels. Channels are then tied only by being read at the same
position of every group. What goes together besides is found here, by removing it and looking: so many channels of every
group that makes them, and such as leave a shuffle, which code makes of fewer channels, in the order of what stays.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from sapwood.graph.shuffles import Shuffle, find_shuffles
from sapwood.ops import ALWAYS, Axis, Call, Context, EqualParts, Graph

MOST_TOGETHER = 64
"""How many classes of channels are tried together at most, for the order of a shuffle."""

Classes: TypeAlias = list[int]

Flags: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"


@dataclass(frozen=True)
class ByPosition:
    """What is read by position.

    Attributes:
        convolutions: Indices of the calls.
        shuffles: Where the shuffles begin that they meet.
    """

    convolutions: frozenset[int] = frozenset()
    shuffles: frozenset[int] = frozenset()


def matching_no_grid(graph: Graph, context: Context, names: Collection[str]) -> ByPosition:
    """The grouped convolutions, depthwise ones left out, that cannot be read as grids, and all that share channels.

    Args:
        graph: The run.
        context: Its axes.
        names: Parameters of which something stays since grids do not match; nothing is found unless such a convolution
            reads one of them.
    """
    waiting = [call for call in graph.calls if _is_grouped(call)]
    found = [call for call in waiting if any(name in names for name in graph.parameters.get(call.args[1].id, ()))]
    if not found:
        return ByPosition()
    shuffles = find_shuffles(graph)
    met = np.zeros(len(context.atoms), dtype=np.bool_)
    starts: set[int] = set()
    near = found
    while near:
        for ref in (ref for call in near for ref in (*call.tensor_inputs(), *call.tensor_outputs())):
            for axis in context.axes(ref):
                met[context.atoms.resolve(axis)] = True
        met[ALWAYS] = False
        more = {start for start, one in shuffles.items() if start not in starts and _meets(context, met, one.all_calls)}
        starts |= more
        near = [call for call in waiting if call not in found and _meets(context, met, (call,))]
        found += near
        near += [call for start in more for call in shuffles[start].all_calls]
    return ByPosition(frozenset(call.index for call in found), frozenset(starts))


def _is_grouped(call: Call) -> bool:
    """Whether a call is a convolution of which each group reads several channels."""
    if not call.facts.is_convolution or call.facts.groups_at is None or call.args[1].shape[1] == 1:
        return False
    return int(call.args[call.facts.groups_at]) > 1


def _meets(context: Context, met: Flags, calls: Iterable[Call]) -> bool:
    """Whether tensors that some calls read or make have channels that were met."""
    refs = (ref for call in calls for ref in (*call.tensor_inputs(), *call.tensor_outputs()))
    return any(bool(met[context.atoms.resolve(axis)].any()) for ref in refs for axis in context.axes(ref))


def balance(context: Context, shuffles: Iterable[Shuffle]) -> None:
    """Ties what has to go together so that every convolution group keeps as many channels, in their order.

    Args:
        context: The axes, where some convolutions are read by position.
        shuffles: Those that keep the order of what stays.
    """
    kept = list(shuffles)
    while kept or context.balanced:
        before = _classes_of(context)
        for shuffle in kept:
            _keep_order(context, shuffle)
        for parts in context.balanced:
            _keep_numbers(context, parts)
        if _classes_of(context) == before:
            return


def _classes_of(context: Context) -> tuple[int, int]:
    atoms = context.atoms
    roots = atoms.find(np.arange(len(atoms)))
    return len(np.unique(roots)), int(atoms.is_frozen(roots).sum())


def _column(context: Context, axis: Axis) -> Axis | None:
    """The one atom of each index; None where an index needs several."""
    resolved = context.atoms.resolve(axis)
    if resolved.shape[1] > 1:
        return None
    return resolved[:, 0] if resolved.shape[1] else np.full(len(axis), ALWAYS, dtype=np.int64)


def _keep_order(context: Context, shuffle: Shuffle) -> None:
    """Ties neighbours behind a shuffle until what goes of them leaves the others in their order."""
    reason = f"is shuffled in another order than what stays, in {shuffle.calls[0]}"
    axis = context.axes(shuffle.source)[shuffle.dim]
    column = _column(context, axis)
    if column is None:
        context.freeze([axis], reason)
        return
    behind = column[shuffle.turned.places()]
    free = [atom for atom in dict.fromkeys(behind.tolist()) if not context.atoms.is_frozen(np.array([atom]))[0]]
    best: list[Classes] = []
    for size in range(1, min(MOST_TOGETHER, len(free)) + 1):
        sets = [free[start : start + size] for start in range(0, len(free) - size + 1, size)]
        right = [one for one in sets if _leaves_order(shuffle, column, behind, one)]
        if sum(map(len, right)) > sum(map(len, best)):
            best = right
        if len(best) * size * 2 > len(free):
            break
    used = {atom for one in best for atom in one}
    _tie(context, best, [atom for atom in free if atom not in used], reason)


def _leaves_order(shuffle: Shuffle, column: Axis, behind: Axis, gone: Classes) -> bool:
    """Whether the code makes of a tensor without some channels what stays of its result."""
    made = shuffle.turned.of([column[~np.isin(column, gone)]])
    return made is not None and np.array_equal(made, behind[~np.isin(behind, gone)])


def _keep_numbers(context: Context, cut: EqualParts) -> None:
    """Ties channels of which parts hold different numbers to others that make up for it: one of each kind."""
    reason = f"cut into equal parts by {cut.call}"
    columns = [_column(context, part) for part in cut.parts]
    if any(column is None for column in columns):
        context.freeze(cut.parts, reason)
        return
    kinds: dict[tuple[int, ...], Classes] = defaultdict(list)
    for atom in dict.fromkeys(np.concatenate(columns).tolist()):  # type: ignore[arg-type]
        numbers = tuple(int((column == atom).sum()) for column in columns)
        if atom != ALWAYS and not context.atoms.is_frozen(np.array([atom]))[0] and len(set(numbers)) > 1:
            kinds[numbers].append(atom)
    if not kinds:
        return
    suits = len(set(np.sum([*kinds], axis=0).tolist())) == 1
    together = [list(one) for one in zip(*kinds.values(), strict=False)] if suits else []
    used = {atom for one in together for atom in one}
    _tie(context, together, [atom for own in kinds.values() for atom in own if atom not in used], reason)


def _tie(context: Context, together: Sequence[Classes], staying: Classes, reason: str) -> None:
    """Joins the atoms of each set, and freezes those that are in none."""
    for own in together:
        for other in own[1:]:
            context.atoms.join(np.array([own[:1]]), np.array([[other]]), reason)
    if staying:
        context.freeze([np.array(staying)[:, None]], reason)
