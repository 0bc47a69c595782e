"""A recorded run: the ATen calls of a model, with tensors named by number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch

from sapwood.nested import leaves
from sapwood.ops.facts import FACTS, UNKNOWN, Facts

_NAMES: dict[int, tuple[Any, str]] = {}
"""Operators by identity, each with its name: PyTorch works out their hashes in Python."""


def name_of(op: Any) -> str:
    """An operator's name without its overload: ``"aten.convolution"``."""
    entry = _NAMES.get(id(op))
    if entry is None:
        entry = _NAMES[id(op)] = (op, str(op.overloadpacket))
    return entry[1]


@dataclass(frozen=True)
class TensorRef:
    """Stands for one tensor of the recorded run.

    Attributes:
        id: Number of the tensor; the same tensor object always has the same number.
        shape: Its sizes.
        dtype: Its element type.
    """

    id: int
    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class Call:
    """One ATen call.

    Attributes:
        index: Position in the run, from 0.
        op: The operator, overload included.
        args: Positional arguments; tensors are :class:`TensorRef`.
        kwargs: Keyword arguments; tensors are :class:`TensorRef`.
        outputs: What it returned, flat; anything but tensors is kept as it is.
        modules: Names of the modules that were running, outermost first; ``""`` is the model itself.
        location: ``file:line`` of the model's code that made the call; empty where that is all PyTorch's.
    """

    index: int
    op: torch._ops.OpOverload
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outputs: tuple[Any, ...]
    modules: tuple[str, ...]
    location: str

    @cached_property
    def name(self) -> str:
        """The operator's name without its overload: ``"aten.convolution"``."""
        return name_of(self.op)

    @cached_property
    def facts(self) -> Facts:
        """What is known of the operator."""
        return FACTS.get(self.name, UNKNOWN)

    @property
    def bias(self) -> TensorRef | None:
        """The tensor that a weighted sum adds, if it adds one."""
        place = None if self.facts.sum is None else self.facts.sum.bias
        found = self.args[place] if place is not None and place < len(self.args) else None
        return found if isinstance(found, TensorRef) else None

    @property
    def holds_anything(self) -> bool:
        """Whether its result is memory as it was found."""
        facts = self.facts
        return facts.makes_nothing and (facts.constant or not self.tensor_inputs())

    @property
    def module(self) -> str:
        """The innermost module that was running."""
        return self.modules[-1] if self.modules else ""

    def tensor_inputs(self) -> list[TensorRef]:
        """All tensors among the arguments, in order."""
        return list(self._tensor_inputs)

    @cached_property
    def _tensor_inputs(self) -> tuple[TensorRef, ...]:
        return tuple([leaf for leaf in _flat(self.args, self.kwargs) if isinstance(leaf, TensorRef)])

    @cached_property
    def floats(self) -> tuple[float, ...]:
        """All floating-point numbers among the arguments, in order."""
        return floats_of(self.args, self.kwargs)

    def tensor_outputs(self) -> list[TensorRef]:
        """All tensors among the results, in order."""
        return list(self._tensor_outputs)

    @cached_property
    def _tensor_outputs(self) -> tuple[TensorRef, ...]:
        return tuple([leaf for leaf in self.outputs if isinstance(leaf, TensorRef)])

    def tensors_written(self) -> list[TensorRef]:
        """The tensors that it changes in place."""
        if not self.op._schema.is_mutable:
            return []
        arguments = self.op._schema.arguments
        given = zip(arguments, self.args, strict=False)
        by_name = [(one, self.kwargs[one.name]) for one in arguments if one.name in self.kwargs]
        return [
            value
            for argument, value in (*given, *by_name)
            if argument.alias_info is not None and argument.alias_info.is_write and isinstance(value, TensorRef)
        ]

    @property
    def reads_values(self) -> bool:
        """Whether what the code does next, or the size of the result, follows from values."""
        if self.facts.reads_values:
            return True
        indices = self.args[1] if self.name in {"aten.index", "aten._unsafe_index"} else ()
        return any(isinstance(index, TensorRef) and index.dtype is torch.bool for index in indices)

    @property
    def chooses(self) -> bool:
        """Whether its result jumps where its input moves a little; what is converted to a floating type does not."""
        if not self.facts.chooses:
            return False
        return not (self.facts.in_place and all(made.dtype.is_floating_point for made in self.tensor_outputs()))

    def __str__(self) -> str:
        place = f" at {self.location}" if self.location else ""
        return f"{self.name} in module {self.module or '(the model)'!r}{place}"


def _flat(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterable[Any]:
    """All arguments; mostly nothing has to be unpacked."""
    if kwargs:
        return leaves((args, dict(kwargs)))
    for one in args:
        if isinstance(one, (tuple, list, dict)):
            return leaves(args)
    return args


def floats_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[float, ...]:
    """All floating-point numbers among arguments, in order.

    Examples:
        >>> floats_of((1, [2.0]), {"a": 3.0})
        (2.0, 3.0)
    """
    return tuple([leaf for leaf in _flat(args, kwargs) if type(leaf) is float])


WRAPS_A_NUMBER = frozenset({"aten.lift_fresh", "aten.scalar_tensor"})
"""How a Python number becomes a tensor: which of the two depends on the device."""


LOOKS_AS = frozenset({"aten.view", "aten._unsafe_view"})
"""How a tensor gets another shape: which of the two depends on whether it had to be copied before."""


def same_op(call: Call, op: torch._ops.OpOverload) -> bool:
    """Whether another run makes ``call`` when it calls ``op``."""
    return call.op is op or (call.name != name_of(op) and {call.name, name_of(op)} in (WRAPS_A_NUMBER, LOOKS_AS))


def looks(op: torch._ops.OpOverload) -> bool:
    """Whether ``op`` gives a tensor another shape."""
    return name_of(op) in LOOKS_AS


def copies(op: torch._ops.OpOverload) -> bool:
    """Whether ``op`` only copies, as is done to a tensor that has to be contiguous and is not."""
    return name_of(op) == "aten.clone"


def restrides(op: torch._ops.OpOverload, args: Any) -> bool:
    """Whether a call only says in another way how a tensor lies in memory, where dimensions of size 1 leave a choice.

    Pooling a map to one position does so, if the map's channels lie side by side: a run of the same code on a tensor
    that lies otherwise makes no such call.

    Args:
        op: The operator.
        args: Its arguments; the first is a tensor, or the one that stands for it in a recorded run.
    """
    if name_of(op) != "aten.as_strided_" or tuple(args[0].shape) != tuple(args[1]):
        return False
    places, step = [], 1
    for size, stride in zip(reversed(args[1]), reversed(args[2]), strict=True):
        places.append(size == 1 or stride == step)
        step *= size
    return all(places)


def hides_calls(op: torch._ops.OpOverload) -> bool:
    """Whether ``op`` hides what it is made of: PyTorch takes such operators apart, except in inference mode."""
    if not torch.is_inference_mode_enabled() or not isinstance(op, torch._ops.OpOverload):
        return False
    return op.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd)


def _indices(found: Iterable[tuple[int, Iterable[TensorRef]]]) -> dict[int, tuple[int, ...]]:
    """The indices of calls by the tensors that were found at them."""
    by_tensor: dict[int, list[int]] = {}
    for index, references in found:
        for reference in references:
            by_tensor.setdefault(reference.id, []).append(index)
    return {number: tuple(indices) for number, indices in by_tensor.items()}


@dataclass(frozen=True)
class Graph:
    """A recorded run.

    Attributes:
        calls: Every ATen call, in order.
        inputs: The tensors of the example inputs.
        outputs: The tensors that the model returned.
        output_names: What each is called in what the model returned; empty for a single tensor.
        resizable: Numbers of the outputs that may change their sizes: nobody counts on them.
        parameters: Number of a tensor -> the parameter names it goes by (more than one where it is shared).
        buffers: Number of a tensor -> the buffer names it goes by.
        constants: Number of a tensor that neither a call made nor the model owns (numbers, closures, attributes that
            are no buffers) -> a copy of what it was when a call first read it.
        unsaved: Numbers of buffers that are not saved with the model, which makes them anew, as a cache.
        trained_from: Where the model ran as in training, too: the index of the first call of that run.
        trained_outputs: Numbers of the outputs of that run. They may change their sizes where others' channels go.
        written: Names of parameters that the run writes to, as of a teacher that follows the weights of a student.
        num_evaluated: How many of the outputs are of the run in evaluation mode; the others come behind.
    """

    calls: tuple[Call, ...]
    inputs: tuple[TensorRef, ...]
    outputs: tuple[TensorRef, ...]
    parameters: Mapping[int, tuple[str, ...]]
    buffers: Mapping[int, tuple[str, ...]]
    constants: Mapping[int, torch.Tensor]
    unsaved: frozenset[int] = frozenset()
    output_names: tuple[str, ...] = ()
    resizable: frozenset[int] = frozenset()
    trained_from: int | None = None
    trained_outputs: frozenset[int] = frozenset()
    written: frozenset[str] = frozenset()
    num_evaluated: int | None = None

    @property
    def evaluated(self) -> tuple[Call, ...]:
        """The calls of the run in evaluation mode."""
        return self.calls[: self.trained_from]

    @property
    def evaluated_alone(self) -> Graph:
        """The record of that run."""
        outputs = self.outputs[: self.num_evaluated]
        return replace(
            self,
            calls=self.evaluated,
            outputs=outputs,
            output_names=self.output_names[: self.num_evaluated],
            resizable=self.resizable & {ref.id for ref in outputs},
            trained_from=None,
            trained_outputs=frozenset(),
        )

    @property
    def reads_values(self) -> bool:
        """Whether another run on other values could make other calls."""
        return any(call.reads_values for call in self.calls)

    @cached_property
    def unread(self) -> frozenset[int]:
        """Indices of calls whose results nothing reads, that the model returns or that is written into."""
        return self._leading_nowhere(lambda call: call.facts.reads_values or not call.tensor_outputs())

    @cached_property
    def looked_at(self) -> frozenset[int]:
        """Indices of calls of which nothing is made that the model returns: the code only looks at their values."""
        return self._leading_nowhere(lambda call: False)

    def _leading_nowhere(self, ends: Callable[[Call], bool]) -> frozenset[int]:
        """Indices of calls whose results reach no output, and no call that is such an end by itself."""
        wanted = {tensor.id for tensor in self.outputs}
        found = set()
        for call in reversed(self.calls):
            made = {tensor.id for tensor in call.tensor_outputs()}
            if call.op._schema.is_mutable or ends(call) or made & wanted:
                wanted |= {tensor.id for tensor in call.tensor_inputs()}
            else:
                found.add(call.index)
        return frozenset(found)

    @cached_property
    def writers(self) -> Mapping[int, tuple[int, ...]]:
        """Number of a tensor -> the indices of the calls that made it or wrote into it, in order."""
        return _indices((call.index, call.tensor_outputs()) for call in self.calls)

    @cached_property
    def overwritten(self) -> frozenset[int]:
        """Numbers of buffers that calls write into, whole or through a view, as into a cache of keys and values."""
        base, found = {number: number for number in self.buffers}, set()
        for call in self.calls:
            source = base.get(call.args[0].id) if call.args and isinstance(call.args[0], TensorRef) else None
            if source is None:
                continue
            if call.op._schema.is_mutable:
                found.add(source)
            if any(value.alias_info is not None for value in call.op._schema.returns):
                base.update((made.id, source) for made in call.tensor_outputs())
        return frozenset(found)

    @cached_property
    def readers(self) -> Mapping[int, tuple[int, ...]]:
        """Number of a tensor -> the indices of the calls that read it, in order."""
        return _indices((call.index, call.tensor_inputs()) for call in self.calls)

    @cached_property
    def is_settled(self) -> bool:
        """Whether what it reads and chooses by values follows from inputs, tables and numbers of the code alone.

        Then it follows from no channel. What is written into a view is written into all that shares its memory.
        """
        known = {*self.constants, *self.buffers, *(reference.id for reference in self.inputs)}
        base: dict[int, int] = {}  # of a view: whose memory it is
        for call in self.calls:
            read = {base.get(reference.id, reference.id) for reference in call.tensor_inputs()}
            settled = call.facts is not UNKNOWN and not call.facts.random and read <= known
            if not settled and (call.reads_values or call.chooses):
                return False
            made, source = call.tensor_outputs(), call.args[0] if call.args else None
            if isinstance(source, TensorRef) and any(one.alias_info is not None for one in call.op._schema.returns):
                base.update((reference.id, base.get(source.id, source.id)) for reference in made)
            changed = {base.get(reference.id, reference.id) for reference in (*made, *call.tensors_written())}
            known = known | changed if settled else known - changed
        return True

    @cached_property
    def writes_numbers(self) -> bool:
        """Whether numbers were written into parts of tensors without values: with values, these are other calls."""
        numbers = {ref.id for call in self.calls if call.name in WRAPS_A_NUMBER for ref in call.tensor_outputs()}
        return any(call.facts.reshapes and call.args[0].id in numbers for call in self.calls)

    @cached_property
    def draws(self) -> bool:
        """Whether random numbers were drawn."""
        return any(call.facts.random for call in self.calls)

    @cached_property
    def of_numbers(self) -> frozenset[int]:
        """Indices of the calls that read numbers of the code alone: no parameter, buffer, input, or random number."""
        owned = {*self.parameters, *self.buffers, *(reference.id for reference in self.inputs)}
        known, found = set(self.constants) - owned, set()
        for call in self.calls:
            outputs = [reference.id for reference in call.tensor_outputs()]
            alone = call.facts is not UNKNOWN and all(reference.id in known for reference in call.tensor_inputs())
            if alone and (outputs or call.tensor_inputs()) and not call.facts.random and not call.holds_anything:
                found.add(call.index)
                known.update(outputs)
            else:
                known.difference_update(outputs)
        return frozenset(found)

    def sites(self) -> dict[tuple[str, str, str, int], Call]:
        """The calls by where they are made: module, line of code, operator, and how often that came before.

        Unlike the index of a call it stays the same when another part of the code runs more or less often.
        """
        seen: Counter[tuple[str, str, str]] = Counter()
        found = {}
        for call in self.calls:
            place = (call.module, call.location, call.name)
            found[call.module, call.location, call.name, seen[place]] = call
            seen[place] += 1
        return found
