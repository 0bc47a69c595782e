"""Numbers of a model's code that follow a width: Python numbers in calls, and small tensors that calls make of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from sapwood.graph import Analysis, KeepDouble
from sapwood.ops import Call, TensorRef, leaves, mapped
from sapwood.removal.widths import Expectation

LARGEST = 1 << 16
"""Elements of a tensor that is worked out a second time to tell whether it follows a width."""

EQUAL = 1e-12
"""Relative; both runs work a number out by the same operations."""


@dataclass(frozen=True)
class Made:
    """A call that reads nothing of the model, with its arguments in the compact run.

    Attributes:
        call: The call of the recorded run.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
    """

    call: Call
    args: Any
    kwargs: Any


def are_alike(one: Made, other: Made) -> bool:
    """Whether two are the same call of the same numbers; of tensors too large, or without values, the same sizes."""
    own, others = (list(leaves((made.args, made.kwargs))) for made in (one, other))
    return one.call is other.call and len(own) == len(others) and all(map(_is_same, own, others))


def _is_same(one: Any, other: Any) -> bool:
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return bool(one == other)
    if (one.shape, one.dtype, one.is_meta) != (other.shape, other.dtype, other.is_meta):
        return False
    return one.is_meta or one.numel() > LARGEST or torch.equal(one, other)


@dataclass(frozen=True)
class NumberChange:
    """A number in the code that follows a pruned width, as attention's ``1 / sqrt(width)`` does.

    Attributes:
        call: The call that reads it.
        before: The number in the dense model.
        after: The number in the compact one.
        factors: Tensors that the call is proportional to, each alone.
        factor: What one of them has to be multiplied by to undo the change; None where nothing undoes it.
    """

    call: Call
    before: float
    after: float
    factors: tuple[TensorRef, ...] = ()
    factor: float | None = None

    @property
    def kind(self) -> str:
        """What the number is to its call, for a reason."""
        return "its scale" if self.factors else "a number"


def value_numbers(call: Call, args: Any, kwargs: Mapping[str, Any]) -> tuple[float, ...]:
    """The numbers of a call that stand for values: no sizes, dimensions or positions."""
    found: list[float] = []
    for number, (name, holds_values) in enumerate(_arguments_of(call.op)):
        value = args[number] if number < len(args) else kwargs.get(name)
        if type(value) is float or (type(value) is int and holds_values):
            found.append(value)
        elif type(value) in {list, tuple}:
            found += [leaf for leaf in leaves(value) if type(leaf) is float]
    return tuple(found)


_ARGUMENTS: dict[int, tuple[Any, tuple[tuple[str, bool], ...]]] = {}
"""Operators by identity, each with what :func:`_arguments_of` says: PyTorch works out their hashes in Python."""


def _arguments_of(op: Any) -> tuple[tuple[str, bool], ...]:
    """The names of an operator's arguments, each with whether an integer there is a value."""
    entry = _ARGUMENTS.get(id(op))
    if entry is None:
        found = tuple((argument.name, str(argument.type) in VALUES) for argument in op._schema.arguments)
        entry = _ARGUMENTS[id(op)] = (op, found)
    return entry[1]


VALUES = frozenset({"number", "Optional[number]", "Tensor", "Optional[Tensor]", "float", "Optional[float]"})
"""Types of arguments in which an integer is a value."""


def _own_numbers(call: Call) -> tuple[float, ...]:
    """The recorded call's numbers, which each run beside it asks for."""
    held = vars(call)
    if "_value_numbers" not in held:
        held["_value_numbers"] = value_numbers(call, call.args, call.kwargs)
    return held["_value_numbers"]  # type: ignore[no-any-return]


def change_of_numbers(call: Call, args: Any, kwargs: Mapping[str, Any]) -> NumberChange | None:
    """What a call's own numbers, of which one differs from the recorded call's, make of it."""
    wanted, found = _own_numbers(call), value_numbers(call, args, kwargs)
    if wanted == found:
        return None
    differing = [pair for pair in zip(wanted, found, strict=False) if pair[0] != pair[1]]
    if not differing and len(wanted) == len(found):
        return None
    before, after = differing[0] if differing else (math.nan, math.nan)
    factors = _proportional_to(call, args, kwargs)
    ratio = before / after if after and before and len(differing) == 1 else None
    if ratio is None or not factors:
        return NumberChange(call, before, after)
    return NumberChange(call, before, after, factors, 1 / ratio if call.facts.scales == "over" else ratio)


def _proportional_to(call: Call, args: Any, kwargs: Mapping[str, Any]) -> tuple[TensorRef, ...]:
    """The tensors that a call, or what it adds of a product, is proportional to, where it is to its number, too."""
    if call.facts.scales is not None and not isinstance(call.args[1], TensorRef):
        return tuple(call.args[:1])
    if call.facts.is_attention and call.kwargs.get("scale") is not None:
        return tuple(call.args[:2])
    if call.facts.is_product and call.kwargs.get("alpha") != kwargs.get("alpha"):
        return tuple(call.args[1:3])
    return ()


Values: TypeAlias = dict[int, Tensor]
"""Number of a tensor -> its value."""


class CodeNumbers:
    """What the code makes of numbers alone, in the recorded run and in the compact one."""

    def __init__(self, analysis: Analysis, expectation: Expectation, made: Sequence[Made]) -> None:
        self._calls = [one.call for one in made]
        self._expectation = expectation
        graph = analysis.graph
        constants = {number: value for number, value in graph.constants.items() if not value.is_meta}
        with KeepDouble():
            self._dense = _worked_out([Made(one.call, one.call.args, one.call.kwargs) for one in made], constants)
            self._compact = _worked_out(made, {})

    def changes(self, calls: Sequence[Call]) -> Iterator[NumberChange]:
        """Where a call reads such a value that is not what the plan expects."""
        own = {call.index for call in self._calls}
        for call in calls:
            if call.index not in own and not call.facts.makes_nothing:
                for ref in call.tensor_inputs():
                    if self._differs(ref):
                        yield self._change(call, ref)

    def _due(self, ref: TensorRef) -> Tensor:
        return self._expectation.kept(self._dense[ref.id], ref)

    def _differs(self, ref: TensorRef) -> bool:
        dense, compact = self._dense.get(ref.id), self._compact.get(ref.id)
        if dense is None or compact is None or dense.shape != ref.shape:
            return False
        if any(value.layout is not torch.strided or value.is_complex() for value in (dense, compact)):
            return False  # for the proof to find
        due, found = self._due(ref), self._compact[ref.id]
        return due.shape == found.shape and not _equal(due, found)

    def _change(self, call: Call, ref: TensorRef) -> NumberChange:
        """What it makes of a call that it reads a value which follows a width."""
        before, after = self._origin(ref)
        ratio = _ratio(self._due(ref), self._compact[ref.id])
        if ratio is None or call.facts.scales is None:
            return NumberChange(call, before, after)
        others = tuple(one for one in call.tensor_inputs() if one.id != ref.id)
        if call.facts.scales == "times":
            return NumberChange(call, before, after, others, ratio)
        if call.args[1] == ref:
            return NumberChange(call, before, after, others, 1 / ratio)
        return NumberChange(call, before, after)

    def _origin(self, ref: TensorRef) -> tuple[float, float]:
        """The first number on the way to a value that differs between the runs."""
        dense, compact = self._dense[ref.id], self._compact[ref.id]
        for call in self._calls:
            for one in (*call.tensor_inputs(), *call.tensor_outputs()):
                if (
                    one.id in self._dense
                    and one.id in self._compact
                    and math.prod(one.shape) == 1
                    and self._differs(one)
                ):
                    dense, compact = self._dense[one.id], self._compact[one.id]
                    return float(dense), float(compact)
        return float(dense.flatten()[0]), float(compact.flatten()[0])


def _ratio(due: Tensor, found: Tensor) -> float | None:
    """What all of ``found`` has to be multiplied by to be ``due``."""
    if not due.numel() or due.is_complex() or bool((found == 0).any()):
        return None
    ratios = (due.to(torch.float64) / found.to(torch.float64)).flatten()
    return float(ratios[0]) if _equal(ratios, ratios[:1].expand_as(ratios)) else None


def _equal(one: Tensor, other: Tensor) -> bool:
    if not one.is_floating_point():
        return torch.equal(one, other)
    return torch.allclose(one, other.to(one.dtype), rtol=EQUAL, atol=0.0, equal_nan=True)


def _worked_out(made: Sequence[Made], values: Values) -> Values:
    """Makes calls again, on the values that calls before them made."""
    values = {number: value.clone() for number, value in values.items()}
    for one in made:
        refs = list(leaves((one.call.args, dict(one.call.kwargs))))
        live = list(leaves((one.args, dict(one.kwargs))))
        outputs = one.call.tensor_outputs()
        try:
            for ref, leaf in zip(refs, live, strict=True):
                if (
                    isinstance(ref, TensorRef)
                    and isinstance(leaf, Tensor)
                    and ref.id not in values
                    and not leaf.is_meta
                ):
                    values[ref.id] = leaf
            if any(math.prod(ref.shape) > LARGEST for ref in outputs):
                raise ValueError("too large to work out twice")
            results = list(leaves(_again(one, refs, values)))
            values.update({ref.id: value for ref, value in zip(outputs, results, strict=True)})
        except Exception:  # a value that is not known, or sizes that are for the planner to find
            for ref in outputs:
                values.pop(ref.id, None)
    return values


def _again(one: Made, refs: Sequence[Any], values: Values) -> Any:
    """Makes one call on the processor."""
    known = iter(refs)

    def value(leaf: Any) -> Any:
        ref = next(known)
        return values[ref.id] if isinstance(ref, TensorRef) else leaf

    args, kwargs = mapped(value, (one.args, dict(one.kwargs)))
    if kwargs.get("device") is not None:
        kwargs["device"] = torch.device("cpu")
    return one.call.op(*args, **kwargs)
