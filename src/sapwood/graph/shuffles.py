"""Shuffles of channels: views and permutations behind which every dimension but one is as it was.

The channels may go one by one, for their producers and readers can be permuted alike: what the code makes of fewer
channels is one of their orders. Which numbers of them its order allows is said by :mod:`sapwood.graph.ladders`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sapwood.ops import Axis, Call, Context, Graph, Part, TensorRef, Turned, Way, fixed_axis, order_of

Factor: TypeAlias = tuple[int, int, int]
"""Of which dimension, how far its steps are apart there, how many there are."""

State: TypeAlias = tuple[tuple[Factor, ...], ...]
"""What each dimension of a tensor is made of, outermost first."""


@dataclass(frozen=True)
class Shuffle:
    """Calls that shuffle the channels of one tensor.

    Attributes:
        calls: They, in order; what one makes only the next one reads.
        dim: The dimension of the channels.
        turned: What becomes of it.
        states: What the tensor that each call makes is made of.
        picked: Where the outermost factor is a dimension of its own in the end: the calls that pick its indices.
        keeps_order: Whether what goes is to leave the others in the order that the code makes of them.
    """

    calls: tuple[Call, ...]
    dim: int
    turned: Turned
    states: tuple[State, ...]
    picked: tuple[Call, ...] = ()
    keeps_order: bool = False

    @property
    def all_calls(self) -> tuple[Call, ...]:
        """The calls, and those that pick parts."""
        return (*self.calls, *self.picked)

    @property
    def source(self) -> TensorRef:
        """The tensor whose channels are shuffled."""
        return self.calls[0].tensor_inputs()[0]

    def suits(self, context: Context) -> bool:
        """Whether something can go of the channels, and nothing of a dimension that is cut on the way."""
        axes = context.axes(self.source)
        wide = {dim for dim, axis in enumerate(axes) if context.atoms.resolve(axis).shape[1]}
        cut = {
            dim
            for state in self.states
            for made in state
            for dim, _, size in made
            if (len(made), size) != (1, len(axes[dim]))
        }
        return self.dim in wide and not wide & (cut - {self.dim})

    def apply(self, context: Context, call: Call) -> None:
        """Sets the axes of what one of the calls makes."""
        axes, number = context.axes(self.source), [one.index for one in self.all_calls].index(call.index)
        if call in self.picked:
            whole = self._turned(context, axes[self.dim])
            size = len(whole) // self.turned.factors[self.turned.order[0]]
            begin = int(call.args[2]) % (len(whole) // size) * size
            part = Part(begin, begin + size, len(whole))
            axes[self.dim] = self._derived(context, whole[begin : begin + size], whole, part)
            context.set(call.outputs[0], axes)
        elif call is self.calls[-1] and not self.picked:
            axes[self.dim] = self._turned(context, axes[self.dim])
            context.set(call.outputs[0], axes)
        else:
            made = zip(self.states[number], call.outputs[0].shape, strict=True)
            context.set(call.outputs[0], [self._inside(context, axes, factors, size) for factors, size in made])

    def _turned(self, context: Context, source: Axis) -> Axis:
        return self._derived(context, source[self.turned.places()], source, self.turned)

    def _derived(self, context: Context, made: Axis, source: Axis, way: Way) -> Axis:
        return made if self.keeps_order else context.derive(made, [source], way)

    def _inside(self, context: Context, axes: Sequence[Axis], factors: Sequence[Factor], size: int) -> Axis:
        """The axis of a dimension of a tensor on the way."""
        if len(factors) == 1 and factors[0][0] != self.dim and factors[0][2] == len(axes[factors[0][0]]):
            return axes[factors[0][0]]
        sizes = self.turned.factors
        step = 1
        for later in sizes[self.turned.follows + 1 :]:
            step *= later
        if any(dim == self.dim and stride <= step < stride * count for dim, stride, count in factors):
            return context.following(size, axes[self.dim])
        return fixed_axis(size)


def find_shuffles(graph: Graph) -> dict[int, Shuffle]:
    """Finds the shuffles of a recorded run, by the index of their first call."""
    readers: dict[int, list[Call | None]] = defaultdict(list)
    for call in graph.calls:
        for tensor in call.tensor_inputs():
            readers[tensor.id].append(call)
    for tensor in graph.outputs:
        readers[tensor.id].append(None)
    found: dict[int, Shuffle] = {}
    for call in graph.calls:
        shuffle = _by_one_call(call) if call.facts.shuffles_at is not None else _by_views(call, readers)
        if shuffle is not None:
            found[call.index] = shuffle
    return found


def _by_one_call(call: Call) -> Shuffle | None:
    """A shuffle by an operator of its own, between the groups of the channels."""
    place = call.facts.shuffles_at
    shape, groups = call.args[0].shape, int(call.args[place or 0])
    if not 1 < groups < shape[1]:
        return None
    return Shuffle((call,), 1, Turned((groups, shape[1] // groups), (1, 0)), ())


def _by_views(first: Call, readers: Mapping[int, Sequence[Call | None]]) -> Shuffle | None:
    """A shuffle that begins with a view."""
    shape = first.args[0].shape if first.facts.reshapes else (0,)
    if 0 in shape:
        return None
    state: State = tuple(((dim, 1, size),) if size > 1 else () for dim, size in enumerate(shape))
    calls: list[Call] = []
    states: list[State] = []
    call: Call | None = first
    while call is not None and len(call.tensor_inputs()) == len(call.tensor_outputs()) == 1:
        moved = _moved(state, call)
        if moved is None:
            return None
        state = moved
        calls.append(call)
        states.append(state)
        turned = _turned(state, shape)
        if turned is not None:
            return Shuffle(tuple(calls), turned[0], turned[1], tuple(states))
        own = readers[call.outputs[0].id]
        parted = _parted(state, shape)
        if parted is not None:
            picked = tuple(one for one in own if one is not None and one.facts.picks and _dim(one) == parted[2])
            if picked and len(picked) == len(own):
                return Shuffle(tuple(calls), parted[0], parted[1], tuple(states), picked)
        call = own[0] if len(own) == 1 else None
    return None


def _moved(state: State, call: Call) -> State | None:
    """What a call makes of a tensor that is made of this; None where it does more than to move."""
    if call.facts.reshapes:
        return _regrouped([factor for made in state for factor in made], call.outputs[0].shape)
    if call.facts.turns:
        return tuple(state[dim] for dim in order_of(call))
    return state if call.facts.moves and call.facts.in_place else None


def _regrouped(factors: Sequence[Factor], sizes: Sequence[int]) -> State | None:
    """Factors in order, put together to dimensions of these sizes; None where a size cuts none of them evenly."""
    waiting = list(factors)[::-1]
    found = []
    for size in sizes:
        own: list[Factor] = []
        left = size
        while left > 1:
            dim, stride, count = waiting.pop()
            taken = min(count, left)
            if count % taken or left % taken:
                return None
            if taken < count:
                waiting.append((dim, stride, count // taken))
            own.append((dim, stride * (count // taken), taken))
            left //= taken
        found.append(_whole(own))
    return tuple(found)


def _whole(factors: Sequence[Factor]) -> tuple[Factor, ...]:
    """Factors of which neighbours that were never parted are one."""
    found: list[Factor] = []
    for dim, stride, count in factors:
        if found and found[-1][0] == dim and found[-1][1] == stride * count:
            found[-1] = (dim, stride, found[-1][2] * count)
        else:
            found.append((dim, stride, count))
    return tuple(found)


def _turned(state: State, shape: Sequence[int]) -> tuple[int, Turned] | None:
    """The one dimension whose factors stand in another order, where all the others are as they were."""
    plain = [((dim, 1, size),) if size > 1 else () for dim, size in enumerate(shape)]
    if len(state) != len(plain):
        return None
    other = [dim for dim, (made, whole) in enumerate(zip(state, plain, strict=True)) if made != whole]
    if len(other) != 1 or any(dim != other[0] for dim, _, _ in state[other[0]]):
        return None
    made = state[other[0]]
    outwards = sorted(made, key=lambda factor: -factor[1])
    return other[0], Turned(tuple(count for _, _, count in outwards), tuple(outwards.index(one) for one in made))


def _parted(state: State, shape: Sequence[int]) -> tuple[int, Turned, int] | None:
    """As :func:`_turned`, where one dimension more holds the outermost factor alone; it is told, too."""
    for place, made in enumerate(state if len(state) == len(shape) + 1 else ()):
        if len(made) == 1:
            dim = made[0][0]
            rest = [*state[:place], *state[place + 1 :]]
            rest[dim] = (*made, *rest[dim])
            found = _turned(tuple(rest), shape)
            if found is not None:
                return *found, place
    return None


def _dim(call: Call) -> int:
    """The dimension of which a call picks an index."""
    return int(call.args[1]) % len(call.args[0].shape)
