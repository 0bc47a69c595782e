"""What an op rule works on: the axes of every tensor so far, and ways to join, freeze and broadcast them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sapwood.ops.atoms import Atoms, Axis, fixed_axis
from sapwood.ops.call import Call, TensorRef
from sapwood.ops.derived import Derived, Way
from sapwood.ops.facts import full_name, note
from sapwood.registry import Registry

NEVER_CHANNELS = "is a kernel or spatial dimension"
POSITION = "is a position of"


@dataclass(frozen=True)
class EqualParts:
    """A cut that the model's code makes at equal distances: every part must keep the same number of indices.

    Attributes:
        parts: One axis a part.
        call: The call that cuts.
    """

    parts: tuple[Axis, ...]
    call: Call


class Context:
    """The axes of every tensor of a recorded run, filled in call by call.

    Args:
        by_position: Indices of grouped convolutions that keep all of their groups, each of which loses the same
            positions of what it reads and as many, of any, of what it makes.

    Attributes:
        balanced: What each of these makes, a part a group.
    """

    def __init__(self, by_position: Collection[int] = ()) -> None:
        self.atoms = Atoms()
        self.by_position = frozenset(by_position)
        self.balanced: list[EqualParts] = []
        self.equal_parts: list[EqualParts] = []
        self.barriers: list[Call] = []
        self.derived: list[Derived] = []
        self._following: dict[int, tuple[Axis, Axis]] = {}
        self._axes: dict[int, list[Axis]] = {}

    def axes(self, tensor: TensorRef) -> list[Axis]:
        """One axis a dimension of ``tensor``; a tensor that no rule has met yet is of fixed size."""
        if tensor.id not in self._axes:
            self._axes[tensor.id] = [fixed_axis(size) for size in tensor.shape]
        return list(self._axes[tensor.id])

    def set(self, tensor: TensorRef, axes: Sequence[Axis]) -> None:
        """Gives ``tensor`` its axes; the only index of a dimension stays, for without it the tensor would be empty."""
        sizes = tuple(map(len, axes))
        if sizes != tensor.shape:
            raise ValueError(f"axes of sizes {sizes} for a tensor of shape {tensor.shape}")
        if 1 in sizes:
            self.freeze((axis for axis in axes if len(axis) == 1), "is the only channel of a part that is cut off")
            self._axes[tensor.id] = [fixed_axis(1) if len(axis) == 1 else axis for axis in axes]
        else:
            self._axes[tensor.id] = list(axes)

    def derive(self, made: Axis, sources: Sequence[Axis], way: Way) -> Axis:
        """Remembers how an axis was made, and returns it; one that carries nothing is of no interest."""
        if made.shape[1]:
            self.derived.append(Derived(made, tuple(sources), way))
        return made

    def following(self, size: int, source: Axis) -> Axis:
        """An axis that keeps the share that ``source`` keeps, whichever indices these are, as inside of a shuffle."""
        made: Axis = fixed_axis(size).copy()  # of its own, by which it is known
        self._following[id(made)] = (made, source)
        return made

    def followed(self, axis: Axis) -> Axis | None:
        """What an axis follows that :meth:`following` made."""
        return self._following.get(id(axis), (axis, None))[1]

    def set_fresh(self, tensor: TensorRef) -> None:
        """Gives every dimension of ``tensor`` new atoms."""
        self.set(tensor, [self.atoms.fresh(size) for size in tensor.shape])

    def set_fixed(self, tensor: TensorRef) -> None:
        """Makes every dimension of ``tensor`` fixed."""
        self.set(tensor, [fixed_axis(size) for size in tensor.shape])

    def join(self, first: Axis, second: Axis, call: Call) -> None:
        """Joins two axes; where one is fixed, the other is frozen and ``call`` is the reason."""
        self.atoms.join(first, second, f"meets a dimension of fixed size in {call}")

    def freeze(self, axes: Iterable[Axis], reason: str) -> None:
        """Freezes axes."""
        for axis in axes:
            if axis.shape[1]:
                self.atoms.freeze(axis, reason)

    def never_channels(self, axes: Iterable[Axis]) -> None:
        """Freezes kernel and spatial dimensions, which nobody expects to be pruned."""
        self.freeze(axes, NEVER_CHANNELS)

    def positions(self, axes: Iterable[Axis], call: Call) -> None:
        """Freezes dimensions along which ``call`` slides: mostly spatial, but a model may put its channels there."""
        self.freeze(axes, f"{POSITION} {call}")

    def fix(self, axes: Sequence[Axis], call: Call) -> list[Axis]:
        """Freezes axes because ``call`` reads their indices by position, and returns fixed ones in their place."""
        self.freeze(axes, f"read by position in {call}")
        return [fixed_axis(len(axis)) for axis in axes]

    def broadcast(self, tensors: Sequence[TensorRef], call: Call) -> list[Axis]:
        """Joins the dimensions that stand over each other when ``tensors`` are broadcast, and returns the result's.

        A dimension of size 1 that is stretched over a larger one ties nothing.
        """
        return self.broadcast_axes([self.axes(tensor) for tensor in tensors], call)

    def broadcast_axes(self, axes: Sequence[Sequence[Axis]], call: Call) -> list[Axis]:
        """As :meth:`broadcast`, for some dimensions of tensors, as those in front of matrices."""
        result: list[Axis] = []
        for dim in range(-max(map(len, axes), default=0), 0):
            there = [own[dim] for own in axes if len(own) >= -dim]
            size = max(len(axis) for axis in there) if all(len(axis) for axis in there) else 0
            wide = [axis for axis in there if len(axis) == size]
            for other in wide[1:]:
                self.join(wide[0], other, call)
            result.append(wide[0])
        return result


Rule: TypeAlias = Callable[[Context, Call], None]
"""Sets the axes of a call's outputs from those of its inputs, joining and freezing on the way."""


def is_expected(reason: str, dim: int) -> bool:
    """Whether nobody wonders why dimension ``dim`` of a parameter stays whole: kernels, and maps behind channels."""
    return dim > 1 and (reason == NEVER_CHANNELS or reason.startswith(POSITION))


RULES: Registry[Rule] = Registry("op rule", entry_points="sapwood.operators")


def rule(*names: str, **found: Any) -> Callable[[Rule], Rule]:
    """Registers a rule for ATen operators, named without ``aten.``, with the facts that hold for all of them.

    Args:
        names: The operators.
        found: Fields of :class:`~sapwood.ops.facts.Facts` by name.
    """

    def add(function: Rule) -> Rule:
        for name in map(full_name, names):
            RULES.register(name)(function)
        note(*names, **found)
        return function

    return add


def apply_rule(context: Context, call: Call) -> None:
    """Applies the rule of ``call``; an operator without a rule is a barrier: all that reaches it is frozen."""
    if call.name in RULES:
        RULES[call.name](context, call)
        return
    inputs = [axis for tensor in call.tensor_inputs() for axis in context.axes(tensor)]
    if any(context.atoms.resolve(axis).shape[1] for axis in inputs):
        context.barriers.append(call)
    context.freeze(inputs, f"reaches {call}, an operator without a rule")
    for tensor in call.tensor_outputs():
        context.set_fixed(tensor)


def bound(call: Call) -> dict[str, object]:
    """The call's arguments by the names of the operator's schema, defaults filled in."""
    values: dict[str, object] = {}
    for number, (name, kwarg_only, default) in enumerate(_arguments(call.op)):
        if number < len(call.args) and not kwarg_only:
            values[name] = call.args[number]
        elif name in call.kwargs:
            values[name] = call.kwargs[name]
        else:
            values[name] = default
    return values


_ARGUMENTS: dict[int, tuple[Any, list[tuple[str, bool, object]]]] = {}
"""Operators by identity, each with its arguments: reading a schema takes longer than all that is done with it."""


def _arguments(op: Any) -> list[tuple[str, bool, object]]:
    """Name, whether it is given by name only, and default of each argument."""
    entry = _ARGUMENTS.get(id(op))
    if entry is None:
        found = [(one.name, one.kwarg_only, one.default_value) for one in op._schema.arguments]
        entry = _ARGUMENTS[id(op)] = (op, found)
    return entry[1]
