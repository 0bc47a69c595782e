"""From removed units to a plan whose model runs as expected, or the obstacle that is in the way."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from torch import nn

from sapwood.graph import Analysis, Structure
from sapwood.models import AttributeEdit, ConfigFields, Gain, Plan, apply_plan
from sapwood.ops import Axis, Call
from sapwood.removal.arrived import Arrived
from sapwood.removal.attributes import fix_known_attributes_
from sapwood.removal.beside import Divergence, Followed
from sapwood.removal.cancelling import cancelling
from sapwood.removal.code_numbers import NumberChange
from sapwood.removal.cuts import cuts_of, cuts_of_unread_biases
from sapwood.removal.described import describe_
from sapwood.removal.gains import changed_norms
from sapwood.removal.numbers import numbers, wanted_numbers
from sapwood.removal.orders import Orders, find_orders
from sapwood.removal.proportions import proportions
from sapwood.removal.repair import MAX_IN_VAIN, Repaired, Tries, repair_
from sapwood.removal.rescale import Producers, attention_changes, producers, rescales
from sapwood.removal.unread import Unread, run_with_guesses_, set_unread_
from sapwood.removal.widths import Expectation
from sapwood.removal.widths_behind import Width, counts_what_is_summed, widths_behind

BOUND = f"{MAX_IN_VAIN} attributes were tried in vain for this model, more are not"
"""Why a part may stay whole that one more attribute would have let go."""


@dataclass(frozen=True)
class Obstacle:
    """A call whose sizes the model's code does not let change.

    Attributes:
        call: The call.
        tie: The call cuts into parts, which could lose the same positions instead of staying whole.
        reason: What is in the way, for the user.
        widths: Dimensions that are in the way, where they are known: of the tensors that a call reads and makes.
        together: Sets of dimensions that could lose the same share instead of staying whole.
        peers: The same in other layers, which was found at the same time: what one line of code does in each of them.
    """

    call: Call
    tie: bool
    reason: str
    widths: tuple[Width, ...] = ()
    together: tuple[tuple[Width, ...], ...] = ()
    peers: tuple[Obstacle, ...] = ()


@dataclass(frozen=True)
class Realised:
    """A plan whose model runs.

    Attributes:
        plan: The plan.
        expectation: What it makes of every tensor.
        doubt: Where the compact model took another way through its code than the dense one, should the proof fail.
        unset: Attributes that no run reads and that may be widths, of which it cannot be told what they should be.
        undone: Numbers of the code that follow a width, and what is scaled to undo it.
        followed: Numbers of the code that are right to follow a width: the index of the call, and the number.
    """

    plan: Plan
    expectation: Expectation
    doubt: Obstacle | None
    unset: tuple[str, ...] = ()
    undone: tuple[tuple[NumberChange, Producers], ...] = ()
    followed: Mapping[int, float] = field(default_factory=dict)


class OnlyWithValuesError(Exception):
    """With values the model makes other calls than without, or what it does where widths are others needs values."""


def realise(
    structure: Structure,
    analysis: Analysis,
    removed: Axis,
    fields: ConfigFields | None = None,
    *,
    tries: Tries | None = None,
) -> Realised | Obstacle:
    """Makes the plan that removes ``removed`` from a model, with every attribute that has to follow.

    Args:
        structure: The dense model's recorded run.
        analysis: Its groups.
        removed: The units that go.
        fields: What a config says of the widths, if the compact model is to be what one builds.
        tries: What rounds before tried.

    Returns:
        The plan and what it makes of every tensor, or what stands in its way.

    Raises:
        OnlyWithValuesError: If the run was recorded on shapes alone and the compact model asks for values.
    """
    expectation = Expectation(analysis, removed)
    uneven = _uneven_cut(analysis, expectation)
    if uneven is not None:
        return uneven
    plan = Plan(cuts_of(analysis, expectation), aliases=analysis.aliases)
    compact = apply_plan(structure.model, plan)
    edits = fix_known_attributes_(compact, plan.cuts, _kept_groups(analysis, expectation))
    if fields is not None:
        edits += describe_(compact, fields, analysis, expectation)
    guessed, repaired = _made_to_run(compact, structure, analysis, expectation, edits, tries=tries or Tries())
    if repaired.followed.divergence is not None:
        if "meta tensor" in str(repaired.followed.divergence.found).lower():
            raise OnlyWithValuesError(str(repaired.followed.divergence.found))
        first = repaired.followed.first or repaired.followed.divergence
        found = _obstacle(analysis, expectation, first, repaired.edits)
        return replace(
            found,
            reason=found.reason if tries is None or tries.left else f"{found.reason} ({BOUND})",
            together=() if _to_one(found, expectation) else proportions(structure, analysis, expectation, first),
        )
    moved = [one for one in analysis.shuffles.values() if expectation.changed(one.source)]
    if moved:
        orders = _orders(structure, analysis, expectation, compact)
        if orders is None:
            begin = moved[0].calls[0]
            return Obstacle(begin, False, f"is shuffled in another order than what stays, in {begin}")
        expectation = expectation.ordered(orders)
        plan = replace(plan, cuts=orders.cuts(plan.cuts))
    numbers_due = _numbers(analysis, expectation, repaired.followed)
    if isinstance(numbers_due, Obstacle):
        return numbers_due
    undone, followed = numbers_due
    gains = _gains(analysis, expectation)
    if isinstance(gains, Obstacle):
        return gains
    done = Repaired((*edits, *repaired.edits), repaired.followed)
    unread, unset = guessed or set_unread_(compact, structure, analysis, expectation, done)
    edits = [*done.edits, *unread]
    cuts = (*plan.cuts, *cuts_of_unread_biases(structure.model, plan.cuts, analysis.shapes))
    plan = replace(plan, cuts=cuts, attributes=tuple(edits), rescales=rescales(undone), gains=gains)
    strayed = repaired.followed.strayed
    return Realised(
        plan,
        expectation,
        None if strayed is None else _obstacle(analysis, expectation, strayed),
        unset,
        undone,
        followed,
    )


def _made_to_run(
    compact: nn.Module,
    structure: Structure,
    analysis: Analysis,
    expectation: Expectation,
    edits: Sequence[AttributeEdit],
    *,
    tries: Tries,
) -> tuple[Unread | None, Repaired]:
    """Sets attributes until the compact model runs as planned; those that nothing reads at once, if it then does."""
    if tries.guesses:
        guessed = run_with_guesses_(compact, structure, analysis, expectation, edits, tries=tries)
        if guessed is not None:
            return guessed
    repaired = repair_(compact, structure, analysis, expectation, tries)
    tries.guesses = repaired.followed.is_as_planned
    return None, repaired


def _orders(structure: Structure, analysis: Analysis, expectation: Expectation, compact: nn.Module) -> Orders | None:
    """In which order the channels of the compact model stand."""
    alive = {
        (name, dim): expectation.alive(axis) for name, axes in analysis.axes.items() for dim, axis in enumerate(axes)
    }
    return find_orders(analysis, alive, compact, structure.inputs)


def _gains(analysis: Analysis, expectation: Expectation) -> tuple[Gain, ...] | Obstacle:
    """The gains that make up for what norms of weights lose, or a norm that has none."""
    found: dict[Gain, None] = {}
    for call, gain in changed_norms(analysis, expectation):
        if gain is None:
            return Obstacle(call, False, f"its norm is taken over a width that is pruned, in {call}")
        found[gain] = None
    return tuple(found)


Numbers: TypeAlias = tuple[tuple[tuple[NumberChange, Producers], ...], dict[int, float]]
"""Numbers that are undone by scaling, and those that are right to follow."""


def _numbers(analysis: Analysis, expectation: Expectation, run: Followed) -> Numbers | Obstacle:
    """What becomes of the numbers of the code that follow widths, or the first of which nothing can be made."""
    changes = [*run.number_changes, *attention_changes(analysis, expectation)]
    undone: list[tuple[NumberChange, Producers]] = []
    followed: dict[int, float] = {}
    found: list[Obstacle] = []
    arrived = Arrived()
    without_effect = analysis.graph.looked_at | cancelling(analysis, changes)
    for change in sorted(changes, key=lambda change: change.call.index):
        if change.call.index in without_effect:
            continue  # a check of sizes, as that a picture has as many features as a text has places for, among them
        if counts_what_is_summed(analysis, expectation, change):
            followed[change.call.index] = change.after
            continue
        own = producers(analysis, change, [done for _, done in undone], arrived=arrived)
        if own is None:
            found.append(number_obstacle(analysis, expectation, change))
        else:
            undone.append((change, own))
    return _with_peers(found) if found else (tuple(undone), followed)


def _with_peers(found: Sequence[Obstacle]) -> Obstacle:
    """The first of some obstacles, with those that the same line of code makes in other layers."""
    first = found[0]
    peers: dict[str, Obstacle] = {first.call.module: first}
    for other in found:
        if (other.call.op, other.call.location) == (first.call.op, first.call.location):
            peers.setdefault(other.call.module, other)
    return replace(first, peers=tuple(peers.values())[1:])


def number_obstacle(analysis: Analysis, expectation: Expectation, change: NumberChange) -> Obstacle:
    """A number that follows a width, which then has to stay."""
    reason = f"{change.kind} follows a width that is pruned, in {change.call}"
    return Obstacle(change.call, False, reason, widths_behind(analysis, expectation, change))


def _uneven_cut(analysis: Analysis, expectation: Expectation) -> Obstacle | None:
    """A cut into equal parts that would no longer be equal."""
    found = [
        Obstacle(cut.call, True, f"cut into equal parts by {cut.call}")
        for cut in analysis.equal_parts
        if len({int(expectation.alive(part).sum()) for part in cut.parts}) > 1
    ]
    return _with_peers(found) if found else None


def _kept_groups(analysis: Analysis, expectation: Expectation) -> dict[str, int]:
    """Module name -> conv groups or norm groups that stay, for every module that cuts channels into groups."""
    kept = {}
    for call in analysis.graph.calls:
        if call.facts.groups_at is None or numbers(call, call.args) == (1,):
            continue
        named = analysis.graph.parameters.get(call.args[1].id, ()) if call.facts.is_convolution else ()
        for module in [name.rpartition(".")[0] for name in named] or [call.module]:
            (kept[module],) = wanted_numbers(call, expectation)
    return kept


def _obstacle(
    analysis: Analysis, expectation: Expectation, divergence: Divergence, edits: Sequence[AttributeEdit] = ()
) -> Obstacle:
    """A call whose sizes do not follow: the dimensions that it was to make smaller are in the way, before all others.

    Where it was to make none smaller, those of a call before it, for which an attribute was set that both read. Those
    of which one index was to be left come first: products and views treat such a dimension as none, and go other ways.
    """
    call = divergence.call
    wanted = f"expected {divergence.wanted}, came {divergence.found}"
    told = {(edit.before, edit.after) for edit in edits if edit.module in call.modules}
    before = reversed([one for one in analysis.graph.calls[: call.index] if one.modules == call.modules])
    earlier = (_made_smaller(one, expectation, told) for one in before if one.name == call.name)
    widths = _made_smaller(call, expectation) or next(filter(None, earlier), ())
    widths = tuple(one for one in widths if _is_one(one, expectation)) or widths
    reason = f"a shape in the code that no attribute explains, in {call}: {wanted}"
    return Obstacle(call, call.facts.slices, reason, widths)


def _to_one(obstacle: Obstacle, expectation: Expectation) -> bool:
    """Whether an obstacle is that of some dimensions one index alone is left."""
    return bool(obstacle.widths) and all(_is_one(one, expectation) for one in obstacle.widths)


def _is_one(width: Width, expectation: Expectation) -> bool:
    """Whether one index alone is left of a dimension of a call's results."""
    ref = width.call.tensor_outputs()[width.number - len(width.call.tensor_inputs())]
    return expectation.shape(ref)[width.dim] == 1


def _made_smaller(
    call: Call, expectation: Expectation, sizes: Collection[tuple[object, object]] | None = None
) -> tuple[Width, ...]:
    """The dimensions of a call's results that lose indices: all, or those whose old and new size is in a list."""
    first = len(call.tensor_inputs())
    return tuple(
        Width(call, number, dim)
        for number, ref in enumerate(call.tensor_outputs(), first)
        for dim, pair in enumerate(zip(ref.shape, expectation.shape(ref), strict=True))
        if pair[0] != pair[1] and (sizes is None or pair in sizes)
    )
