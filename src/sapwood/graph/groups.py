"""From a recorded run to channel groups: which slices of which tensors have to go together."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from sapwood.arguments import check_kind
from sapwood.graph.balance import ByPosition, balance, matching_no_grid
from sapwood.graph.caches import freeze_unmade
from sapwood.graph.frozen import freeze_outputs, freeze_requested, freeze_used_positions
from sapwood.graph.ladders import Ladder, ladders
from sapwood.graph.shuffles import Shuffle, find_shuffles
from sapwood.ops import (
    ALWAYS,
    CUT,
    TWO_WAYS,
    Atoms,
    Axis,
    Call,
    Context,
    EqualParts,
    Graph,
    TensorRef,
    apply_rule,
    is_expected,
    leave_out,
    sliced,
)

Flags: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"


Place: TypeAlias = tuple[str, int, int]
"""A column of a dimension of a parameter or buffer: its name, the dimension, which column of the dimension's axis."""

Dimension: TypeAlias = tuple[int, int, int]
"""A dimension of a tensor of a call: index of the call, number of the tensor of those it reads and makes, dimension."""


OVERLAP = "the cuts of its indices overlap, so that they can only go all together"
"""Why a dimension stays of which every index needs the same unit."""


NO_GRID = "widths that the groups of each convolution and shuffle on the way divide, or groups=1, would let them go"
"""What can be done where the groups of convolutions match in no way that lets channels go."""


@dataclass(frozen=True)
class Member:
    """One dimension of one parameter or buffer that loses indices with a group.

    Attributes:
        tensor: Name of the parameter or buffer (its first name where it is shared).
        dim: The dimension.
        column: For each index of the dimension, the position in the group's units of the one it needs, or -1.
    """

    tensor: str
    dim: int
    column: np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class ChannelGroup:
    """Channels of which each can go alone, with every slice that goes with it.

    Attributes:
        name: The dimension the group is known by, ``tensor[dim]``.
        units: The atoms, one a channel.
        members: Every dimension that loses indices with them.
    """

    name: str
    units: tuple[int, ...]
    members: tuple[Member, ...]

    @property
    def num_channels(self) -> int:
        """Channels in the group."""
        return len(self.units)


@dataclass(frozen=True)
class Unpruned:
    """A dimension of a parameter that cannot lose indices, with the reason."""

    tensor: str
    dim: int
    reason: str


@dataclass(frozen=True)
class Analysis:
    """What hangs on what in one model.

    Attributes:
        graph: The recorded run.
        context: The axes of every tensor.
        axes: For each parameter and buffer by (first) name: one resolved axis a dimension.
        shapes: Sizes of each parameter and buffer.
        aliases: (First) name -> all names of the same tensor.
        groups: The channel groups.
        unpruned: Dimensions of parameters that cannot lose indices.
        barriers: Calls without a rule that something prunable reached.
        equal_parts: Cuts whose parts must keep equal numbers.
        together: Sets of dimensions that must keep the same share of their indices.
        shuffles: Shuffles of which any channels may go, by the index of their first call.
        ladders: The numbers that groups may keep which are shuffled so.
        tied: Indices of the calls whose equal parts lose the same positions.
        by_position: The grouped convolutions whose groups match no grid.
    """

    graph: Graph
    context: Context
    axes: Mapping[str, tuple[Axis, ...]]
    shapes: Mapping[str, tuple[int, ...]]
    aliases: Mapping[str, tuple[str, ...]]
    groups: tuple[ChannelGroup, ...]
    unpruned: tuple[Unpruned, ...]
    barriers: tuple[Call, ...] = ()
    equal_parts: tuple[EqualParts, ...] = field(default=())
    together: tuple[tuple[Axis, ...], ...] = ()
    shuffles: Mapping[int, Shuffle] = field(default_factory=dict)
    ladders: tuple[Ladder, ...] = ()
    tied: frozenset[int] = frozenset()
    by_position: ByPosition = field(default_factory=ByPosition)


def build_groups(
    graph: Graph,
    *,
    frozen: Mapping[str, str] | None = None,
    tied: Collection[int] = (),
    fixed: Mapping[int, tuple[str, bool]] | None = None,
    held: Mapping[Dimension, str] | None = None,
    together: Collection[Collection[Dimension]] = (),
    loose: Mapping[int, Shuffle] | None = None,
    climbed: bool = True,
    by_position: ByPosition | None = None,
) -> Analysis:
    """Finds the channel groups of a recorded run.

    Args:
        graph: From :func:`sapwood.graph.trace`.
        frozen: Tensors (``"name"``) or dimensions (``"name[dim]"``) that must stay whole, with the reason.
        tied: Indices of calls that cut at equal distances, or slice, and whose parts must lose the same positions.
        fixed: Indices of calls whose outputs must keep their sizes: the reason, and whether the inputs must, too.
        held: Dimensions that must stay whole, with the reason: index of a call, number of a tensor of those that it
            reads and then makes, dimension.
        together: Sets of such dimensions that must keep the same share of their indices.
        loose: Shuffles, of those of :func:`sapwood.graph.find_shuffles`, of which any channels may go, in numbers that
            the code's order allows (:attr:`Analysis.ladders`). Of others the same positions go of every part.
        climbed: Whether these numbers are wanted; a shuffle for which only the full width is right is then not loose.
        by_position: Grouped convolutions of which all groups stay (:mod:`sapwood.graph.balance`). Where None, those
            whose groups match no grid, if less stays whole then.

    Returns:
        The groups, and for each dimension that is in none, why.
    """
    check_kind("graph", graph, Graph, "what sapwood.trace returned")
    check_kind("frozen", frozen or {}, Mapping, "a dict of tensors or dimensions and reasons")
    shuffles = dict(loose or {})
    read = by_position or ByPosition()
    for start, shuffle in find_shuffles(graph).items() if read.shuffles else ():
        if start in read.shuffles:
            shuffles[start] = replace(shuffle, keeps_order=True)
    context = Context(read.convolutions)
    owned = {**graph.buffers, **graph.parameters}
    references = _owned_references(graph, owned)
    for reference in references.values():
        context.set_fresh(reference)
    freeze_requested(context, owned, references, frozen or {})
    for reference in graph.inputs:
        context.set_fixed(reference)
    _apply_rules(context, graph, shuffles, fixed or {})
    for place, reason in (held or {}).items():
        context.freeze([_axis_at(graph, context, place)], reason)
    freeze_used_positions(graph, context)
    freeze_unmade(graph, context)
    freeze_outputs(graph, context)
    _tie(graph, context, tied)
    balance(context, [one for one in shuffles.values() if one.keeps_order])
    shuffles = {start: one for start, one in shuffles.items() if not one.keeps_order}
    analysis = _collect(graph, context, owned, references)
    units = [group.units for group in analysis.groups]
    found, stiff = ladders(context.atoms, context.derived, units) if shuffles and climbed else ((), [])
    again = partial(build_groups, graph, frozen=frozen, tied=tied, fixed=fixed, held=held, together=together)
    if stiff:
        left = {start: one for start, one in shuffles.items() if not any(one.turned is other for other in stiff)}
        return again(loose=left, by_position=by_position)
    analysis = replace(
        analysis,
        together=tuple(tuple(_axis_at(graph, context, place) for place in places) for places in together),
        shuffles=shuffles,
        ladders=found,
        tied=frozenset(tied),
        by_position=read,
    )
    return analysis if by_position is not None else _or_by_position(analysis, partial(again, loose=loose))


def _or_by_position(analysis: Analysis, again: Callable[..., Analysis]) -> Analysis:
    """An analysis, or another one in which groups that match no grid are read by position, if less stays whole then."""
    marks = (TWO_WAYS, CUT, OVERLAP)
    names = {entry.tensor for entry in analysis.unpruned if any(mark in entry.reason for mark in marks)}
    found = matching_no_grid(analysis.graph, analysis.context, names)
    if not found.convolutions:
        return analysis
    other = again(by_position=found)
    if len(other.unpruned) < len(analysis.unpruned):
        return other
    weights = {analysis.graph.parameters[analysis.graph.calls[index].args[1].id][0] for index in found.convolutions}
    told = [
        replace(entry, reason=f"{entry.reason}; {NO_GRID}") if entry.tensor in weights & names else entry
        for entry in analysis.unpruned
    ]
    return replace(analysis, unpruned=tuple(told))


def _apply_rules(
    context: Context, graph: Graph, shuffles: dict[int, Shuffle], fixed: Mapping[int, tuple[str, bool]]
) -> None:
    """Gives every tensor its axes, call by call; shuffles that are views like others are taken out of ``shuffles``."""
    inside: dict[int, Shuffle] = {}
    for call in graph.calls:
        begun = shuffles.get(call.index)
        if begun is not None and begun.suits(context):
            inside.update((one.index, begun) for one in begun.all_calls)
        elif begun is not None:
            del shuffles[call.index]
        if call.index in inside:
            inside[call.index].apply(context, call)
        elif call.facts.picks and call.index in graph.unread:  # for its shape: which index that was is all the same
            leave_out(context, call)
        else:
            apply_rule(context, call)
        if call.index in fixed:
            reason, inputs_too = fixed[call.index]
            tensors = [*call.tensor_outputs(), *(call.tensor_inputs() if inputs_too else [])]
            context.freeze([axis for tensor in tensors for axis in context.axes(tensor)], reason)


def _tie(graph: Graph, context: Context, tied: Collection[int]) -> None:
    """Parts that some calls cut lose the same positions; what is sliced counts as cut where all slices could begin."""
    for cut in context.equal_parts:
        if cut.call.index in tied:
            for part in cut.parts[1:]:
                context.join(cut.parts[0], part, cut.call)
    for call in (graph.calls[index] for index in sorted(tied) if graph.calls[index].facts.slices):
        dim, begin, stop = sliced(call)
        axis = context.axes(call.args[0])[dim]
        step = math.gcd(begin, stop, len(axis))
        for start in range(step, len(axis) if step > 1 else 0, step):
            context.join(axis[:step], axis[start : start + step], call)


def _axis_at(graph: Graph, context: Context, place: Dimension) -> Axis:
    index, number, dim = place
    call = graph.calls[index]
    return context.axes([*call.tensor_inputs(), *call.tensor_outputs()][number])[dim]


def _owned_references(graph: Graph, owned: Mapping[int, tuple[str, ...]]) -> dict[int, TensorRef]:
    """The parameters and buffers that the run touched."""
    return {
        reference.id: reference for call in graph.calls for reference in call.tensor_inputs() if reference.id in owned
    }


def _collect(
    graph: Graph, context: Context, owned: Mapping[int, tuple[str, ...]], references: Mapping[int, TensorRef]
) -> Analysis:
    atoms = context.atoms
    unresolved = {owned[number][0]: context.axes(reference) for number, reference in references.items()}
    resolved = iter(atoms.resolve_all([axis for own in unresolved.values() for axis in own]))
    axes = {name: tuple(next(resolved) for _ in own) for name, own in unresolved.items()}
    parameters = {graph.parameters[number][0] for number in references if number in graph.parameters}
    places: list[Place] = []
    found: list[Axis] = []
    inside = np.zeros(len(atoms), dtype=np.bool_)
    unpruned = []
    known: dict[int, tuple[Axis, list[tuple[int, Axis]], str | None]] = {}  # parameters share most axes
    for name, dims in axes.items():
        for dim, axis in enumerate(dims):
            if id(axis) not in known:
                known[id(axis)] = _in_columns(atoms, axis, inside)
            roots, own, reason = known[id(axis)]
            if not len(roots):
                continue
            places += [(name, dim, number) for number, _ in own]
            found += [units for _, units in own]
            if reason is not None and not is_expected(reason, dim) and name in parameters:
                unpruned.append(Unpruned(name, dim, reason))
    groups = _groups_by_signature(axes, places, found, parameters)

    def why(name: str, dim: int) -> str | None:
        roots = _each_once(axes[name][dim])
        return next((atoms.frozen_reason(root) for root in roots.tolist() if root and atoms.frozen_reason(root)), None)

    unpruned += _all_or_none(groups, parameters, why)
    return Analysis(
        graph=graph,
        context=context,
        axes=axes,
        shapes={owned[number][0]: reference.shape for number, reference in references.items()},
        aliases={owned[number][0]: owned[number] for number in references},
        groups=groups,
        unpruned=tuple(unpruned),
        barriers=tuple(context.barriers),
        equal_parts=tuple(context.equal_parts),
    )


def _in_columns(atoms: Atoms, axis: Axis, inside: Flags) -> tuple[Axis, list[tuple[int, Axis]], str | None]:
    """The atoms of an axis; the free ones in each of its columns that has any; why it stays, where none is free.

    ``inside`` is false for every atom, and is so again afterwards.
    """
    roots = _each_once(axis) if axis.shape[1] else axis[:, :0].reshape(-1)
    if not len(roots):
        return roots, [], None
    free = roots[~atoms.is_frozen(roots)]
    if not len(free):
        return roots, [], atoms.frozen_reason(int(roots[0]))
    if axis.shape[1] == 1:
        return roots, [(0, free)], None
    columns = []
    for number, column in enumerate(axis.T):
        inside[column] = True
        own = free[inside[free]]
        inside[column] = False
        if len(own):
            columns.append((number, own))
    return roots, columns, None


def _groups_by_signature(
    axes: Mapping[str, tuple[Axis, ...]], places: Sequence[Place], found: Sequence[Axis], parameters: Collection[str]
) -> tuple[ChannelGroup, ...]:
    """Units that stand in the same columns of the same dimensions form a group.

    Args:
        axes: The axes of each parameter and buffer.
        places: Columns of dimensions.
        found: The units in each of them.
        parameters: Names of parameters; units that stand in buffers alone form no group.
    """
    if not places:
        return ()
    units = np.concatenate(found)
    numbers = np.repeat(np.arange(len(places)), [len(own) for own in found])
    order = np.lexsort((numbers, units))
    units, numbers = units[order], numbers[order]
    starts = np.flatnonzero(np.r_[True, units[1:] != units[:-1]])
    ends = np.r_[starts[1:], len(units)]
    keys = np.random.default_rng(0).integers(0, 2**63, size=len(places), dtype=np.uint64)
    signatures = np.add.reduceat(keys[numbers], starts)
    _, first, which = np.unique(signatures, return_index=True, return_inverse=True)
    members = [numbers[starts[one] : ends[one]] for one in first]
    by_group = np.argsort(which, kind="stable")
    bounds = np.searchsorted(which[by_group], np.arange(len(first) + 1))
    groups = []
    for group in sorted(range(len(first)), key=lambda group: (members[group][0], units[starts[first[group]]])):
        own = [places[number] for number in members[group]]
        name, dim = next(
            ((name, dim) for name, dim, _ in own if name in parameters and dim == 0),
            next(((name, dim) for name, dim, _ in own if name in parameters), ("", 0)),
        )
        if not name:
            continue
        ordered = units[starts[by_group[bounds[group] : bounds[group + 1]]]]
        slices = tuple(_members(axes, own, ordered))
        groups.append(ChannelGroup(f"{name}[{dim}]", tuple(ordered.tolist()), slices))
    return tuple(groups)


def _members(axes: Mapping[str, tuple[Axis, ...]], places: Sequence[Place], units: Axis) -> Iterator[Member]:
    """What loses indices with some units; places that share an axis share the array."""
    known: dict[tuple[int, int], Axis] = {}
    for name, dim, column in places:
        axis = axes[name][dim]
        if (id(axis), column) not in known:
            known[id(axis), column] = _positions(axis[:, column], units)
        yield Member(name, dim, known[id(axis), column])


def _all_or_none(
    groups: Collection[ChannelGroup], parameters: Collection[str], why: Callable[[str, int], str | None]
) -> list[Unpruned]:
    """Dimensions whose indices need units that are alone in their groups, which then can never go.

    ``why`` tells of a dimension why what needs no unit stays.
    """
    free: set[tuple[str, int]] = set()
    covered: dict[tuple[str, int], Flags] = {}
    for group in groups:
        for member in group.members:
            place = (member.tensor, member.dim)
            if group.num_channels > 1:
                free.add(place)
            elif member.tensor in parameters:
                covered[place] = covered.get(place, np.False_) | (member.column >= 0)
    return [
        Unpruned(*place, OVERLAP if those.all() else why(*place) or OVERLAP)
        for place, those in covered.items()  # a dimension may need such units in several columns, here and there
        if place not in free
    ]


def _each_once(axis: Axis) -> Axis:
    """The atoms of an axis, each once and in order, but for what always stays."""
    column: Axis = axis[:, 0] if axis.shape[1] == 1 else axis.reshape(-1)
    if len(column) and column[0] > ALWAYS and not np.count_nonzero(column[1:] <= column[:-1]):  # as in most axes
        return column
    roots: Axis = np.unique(column)
    return np.asarray(roots[roots != ALWAYS], dtype=np.int64)


def _positions(column: Axis, units: Axis) -> Axis:
    """For each entry of ``column``, its position in ``units``, or -1."""
    if np.array_equal(column, units):
        return np.arange(len(units))
    position = np.minimum(np.searchsorted(units, column), len(units) - 1)
    return np.where(units[position] == column, position, -1)


def alive_rows(axis: Axis, gone: Flags) -> Flags:
    """For each index of ``axis``, whether all of its atoms stay; ``gone`` is what :func:`flags` returned."""
    if axis.shape[1] == 1:
        return np.logical_not(gone[axis[:, 0]])
    if not axis.shape[1]:
        return np.ones(len(axis), dtype=np.bool_)
    return np.asarray(~gone[axis].any(axis=1), dtype=np.bool_)


def flags(atoms: Atoms, removed: Axis) -> Flags:
    """For each atom, whether it goes with ``removed`` (representatives)."""
    gone = np.zeros(len(atoms), dtype=np.bool_)
    gone[removed] = True
    return atoms.spread(gone)
