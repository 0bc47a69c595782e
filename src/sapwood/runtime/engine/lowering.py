"""A recorded run becomes nodes: the engine's where a rule says how, and calls of PyTorch elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from sapwood.errors import EngineError
from sapwood.graph import trace
from sapwood.ops import Call, Graph, TensorRef, bound, mapped
from sapwood.registry import Registry
from sapwood.runtime.engine import nodes, seeing
from sapwood.runtime.engine.fusing import fused, without_unused
from sapwood.runtime.engine.layouts import TensorLayout
from sapwood.runtime.engine.nodes import Network, Node, Value
from sapwood.runtime.engine.seeing import Seen
from sapwood.runtime.engine.writing import Views, WriteBack, views_of, write_back
from sapwood.types import ExampleInputs


class UnsupportedError(EngineError):
    """The engine has no such operation: PyTorch runs it."""


@dataclass(frozen=True)
class Pending:
    """A result that was not computed yet.

    Attributes:
        calls: That make it, for PyTorch to run where something else reads it.
    """

    calls: tuple[Call, ...]


@dataclass
class Lowering:
    """The state of one lowering: which value each tensor of the run is.

    Attributes:
        tensors: Parameters, buffers and constants by the number of their tensor.
        network: What was made so far.
        values: Of each tensor of the run that follows from the input; in-place calls give theirs a new one.
        count: Values so far.
        outside: Those that PyTorch makes.
        known: Tensors that follow from weights alone.
        names: Of tensors whose memory has more than one name, all of them.
        last_read: The last call that reads a tensor; the number of calls if it is an output.
        views: The call that made a tensor as a view of another.
        padded: Maps with rows and columns of -inf around them: the call, the value, and how many before and behind.
        seen: Tensors that do not hold all values of theirs in order, and those still to be multiplied.
        pending: Results that only make sense to a later call, by tensor.
        copies: Values in another order, parts of values and multiples of them that were made, by what they are.
        module: That the call in question belongs to.
    """

    tensors: Mapping[int, Tensor]
    network: Network = field(default_factory=Network)
    values: dict[int, Value] = field(default_factory=dict)
    count: int = 0
    outside: set[Value] = field(default_factory=set)
    known: dict[int, Tensor] = field(default_factory=dict)
    names: dict[int, set[int]] = field(default_factory=dict)
    last_read: Mapping[int, int] = field(default_factory=dict)
    views: Views = field(default_factory=dict)
    padded: dict[int, tuple[Call, Value, tuple[int, int], tuple[int, int]]] = field(default_factory=dict)
    seen: dict[int, Seen] = field(default_factory=dict)
    pending: dict[int, Pending] = field(default_factory=dict)
    copies: dict[tuple[Any, ...], Value] = field(default_factory=dict)
    module: str = ""

    def alias(self, call: Call, value: Value, number: int = 0) -> None:
        """Result ``number`` of a call shares its memory with the call's first argument."""
        out = call.tensor_outputs()[number]
        self.values[out.id] = value
        self.share_memory((out.id, call.args[0].id))

    def alias_of(self, call: Call, seen: Seen, number: int = 0) -> None:
        """Result ``number`` of a call lies over a map, and shares its memory with the call's first argument."""
        self.show(call, seen, number)
        self.share_memory((call.tensor_outputs()[number].id, call.args[0].id))

    def share_memory(self, ids: Iterable[int]) -> None:
        """These tensors are names of one memory."""
        names = set().union(*(self.names.get(one, {one}) for one in ids))
        self.names.update(dict.fromkeys(names, names))

    def is_read_elsewhere(self, ref: TensorRef, index: int) -> bool:
        """Whether what call ``index`` changes in place is read later by another name."""
        return any(self.last_read.get(one, -1) > index for one in self.names.get(ref.id, ()) if one != ref.id)

    def value(self, argument: Any) -> Value:
        """The feature map that an argument is.

        Raises:
            UnsupportedError: If it is none.
        """
        size = _map_size(argument) if isinstance(argument, TensorRef) else None
        if size is None:
            raise UnsupportedError("one of its arguments is no feature map")
        return self.in_order(argument, size)

    def find(self, argument: Any) -> Seen:
        """How a tensor of the run lies over a map.

        Raises:
            UnsupportedError: If it does not.
        """
        value = self.values.get(argument.id) if isinstance(argument, TensorRef) else None
        if value is None or value not in self.network.sizes or argument.dtype is not torch.float32:
            raise UnsupportedError("one of its arguments is no feature map")
        return self.seen.get(argument.id) or Seen(value, TensorLayout.contiguous(argument.shape))

    def show(self, call: Call, seen: Seen, number: int = 0) -> None:
        """Result ``number`` of a call lies over a map."""
        self._set(call.tensor_outputs()[number], seen)

    def waiting(self, argument: Any) -> Pending | None:
        """What an argument is that was not computed yet."""
        waits = isinstance(argument, TensorRef) and argument.id not in self.values
        return self.pending.get(argument.id) if waits else None

    def in_order(self, ref: TensorRef, size: nodes.Size | None = None) -> Value:
        """A map, of a size or of any, whose values in order are the tensor's elements."""
        value = seeing.plain(self, self.find(ref), size)
        self._set(ref, Seen(value, TensorLayout.contiguous(ref.shape)))
        return value

    def _set(self, ref: TensorRef, seen: Seen) -> None:
        self.values[ref.id] = seen.value
        self.seen.pop(ref.id, None)
        whole = math.prod(seen.layout.shape) == math.prod(self.size(seen.value))
        if seen.factor != 1.0 or not whole or not seen.layout.is_contiguous():
            self.seen[ref.id] = seen

    def tensor(self, argument: Any) -> Tensor | None:
        """The weight that an argument is; None for None.

        Raises:
            UnsupportedError: If it depends on the input.
        """
        if argument is None:
            return None
        found = self.known.get(argument.id, self.tensors.get(argument.id)) if isinstance(argument, TensorRef) else None
        if found is None:
            raise UnsupportedError("one of its weights depends on the input")
        return found.detach()

    def size(self, value: Value) -> nodes.Size:
        """Channels, height and width."""
        return self.network.sizes[value]

    def new(self, size: nodes.Size | None) -> Value:
        """A new value: a map of a size, or another tensor."""
        value, self.count = self.count, self.count + 1
        if size is not None:
            self.network.sizes[value] = size
        return value

    def put(self, call: Call, node: Node, number: int = 0) -> None:
        """Adds the node of a call, whose result number ``number`` it makes."""
        self.network.nodes.append(node)
        self.values[call.tensor_outputs()[number].id] = node.out


Rule: TypeAlias = Callable[[Lowering, Call], None]

LOWERINGS: Registry[Rule] = Registry("lowering")
"""How a call becomes nodes, by the operator's name; each file of ``rules`` registers an op family."""

FOLLOWING: Registry[Rule] = Registry("lowering of what was not computed yet")
"""How a call goes on with a :class:`Pending` result, by its class and the operator, as in ``Shares aten.mul``."""

AnyRule = TypeVar("AnyRule", bound=Rule)


def lowers(*names: str) -> Callable[[AnyRule], AnyRule]:
    """Registers a rule for some operators."""
    return _registers(LOWERINGS, names)


def follows(kind: type[Pending], *names: str) -> Callable[[AnyRule], AnyRule]:
    """Registers a rule for some operators that are given a result of a kind which was not computed yet."""
    return _registers(FOLLOWING, [f"{kind.__name__} {name}" for name in names])


def _registers(registry: Registry[Rule], names: Iterable[str]) -> Callable[[AnyRule], AnyRule]:
    def register(rule: AnyRule) -> AnyRule:
        for name in names:
            registry.register(name)(rule)
        return rule

    return register


def lower(model: nn.Module, example_inputs: ExampleInputs) -> Network:
    """The nodes of a model in evaluation mode.

    Args:
        model: Read only.
        example_inputs: Tensors of the size it is compiled for, batches of 1.

    Raises:
        EngineError: If weights are NaN or infinite, or a call cannot be run here; the message names the call.
    """
    graph = trace(model, example_inputs)
    return lower_run(graph, owned(model, graph))


def lower_run(graph: Graph, tensors: Mapping[int, Tensor]) -> Network:
    """The nodes of a recorded run; raises what :func:`lower` does.

    Args:
        graph: The run.
        tensors: Parameters, buffers and constants by the number of their tensor.
    """
    last_read = {ref.id: call.index for call in graph.calls for ref in call.tensor_inputs()}
    last_read |= {ref.id: len(graph.calls) for ref in graph.outputs}
    state = Lowering(tensors, last_read=last_read, views=views_of(graph))
    for index, ref in enumerate(graph.inputs):
        value = state.new(_any_size(ref))
        state.network.nodes.append(nodes.Input(value, (), "", index))
        state.values[ref.id] = value
    for call in graph.calls:
        _lower_call(state, call)
    for ref in graph.outputs:
        if ref.id in state.pending and ref.id not in state.values:
            _run_pending(state, ref)
        if ref.id not in state.values:
            raise EngineError("an output of the model does not depend on its input")
        value = state.in_order(ref) if ref.id in state.seen else state.values[ref.id]
        state.network.outputs.append((value, tuple(ref.shape)))
    return without_unused(fused(state.network))


def _lower_call(state: Lowering, call: Call) -> None:
    state.module = call.module
    known = (state.values, state.padded, state.pending)
    depends = any(ref.id in found for ref in call.tensor_inputs() for found in known)
    if not depends or _made_from_a_shape(call):
        _evaluate(state, call)
        return
    try:
        backs = [
            _write_back_of(state, ref) for ref in call.tensors_written() if state.is_read_elsewhere(ref, call.index)
        ]
        _lower_by_rule(state, call)
        for back in backs:
            _write_back(state, back)
    except EngineError as error:
        raise EngineError(f"the engine cannot run {call}: {error}") from None


def _lower_by_rule(state: Lowering, call: Call) -> None:
    try:
        rules, name = LOWERINGS, call.name
        if waiting := next(filter(None, map(state.waiting, call.tensor_inputs())), None):
            rules, name = FOLLOWING, f"{type(waiting).__name__} {call.name}"
        if name not in rules:
            raise UnsupportedError("there is no such operation in it")
        if not _worth_bringing_in(call) and _is_outside(state, call):
            raise UnsupportedError("what it reads is PyTorch's")
        rules[name](state, call)
    except UnsupportedError as error:
        _run_outside(state, call, str(error))


def _write_back_of(state: Lowering, written: TensorRef) -> WriteBack:
    """What follows a call that changes a tensor which has other names."""
    names = state.names[written.id]
    if any(one in found for one in names for found in (state.tensors, state.padded, state.pending)):
        raise EngineError("it changes a map in place that has another name, too, which is the model's or waits")
    return write_back(written, names, state.views)


def _write_back(state: Lowering, back: WriteBack) -> None:
    """All names of a memory get the values that were written by one of them."""
    for call in back.inward:
        _lower_call(state, call)
        state.known.pop(call.outputs[0].id, None)
    for call in back.again:
        for ref in call.tensor_outputs():
            for found in (state.values, state.seen, state.known):
                found.pop(ref.id, None)
        _lower_call(state, call)


def _made_from_a_shape(call: Call) -> bool:
    """Whether the result does not depend on the values of what the call is given."""
    return call.facts.constant and not call.tensors_written()


def _worth_bringing_in(call: Call) -> bool:
    """Whether a tensor of PyTorch's is brought into the engine for it."""
    return call.facts.is_convolution or call.facts.is_product


def _is_outside(state: Lowering, call: Call) -> bool:
    """Whether all that a call reads of the network is made by PyTorch, so that it had better go on there."""
    read = [state.values[ref.id] for ref in call.tensor_inputs() if ref.id in state.values]
    return bool(read) and all(value in state.outside for value in read)


def _run_outside(state: Lowering, call: Call, reason: str) -> None:
    """PyTorch runs it; a tensor that it changes is copied before, and has another value from then on."""
    written = call.tensors_written()
    if written and (len(written) > 1 or written[0] is not call.args[0]):
        raise EngineError("it changes other tensors than its first argument in place")
    if not _keeps_order(call):
        raise EngineError("it depends on where values stand in memory")
    if call.reads_values:
        raise EngineError("what follows depends on the values that it reads, and would be those of the example inputs")
    read: list[Value] = []

    def argument(given: Any) -> Any:
        if not isinstance(given, TensorRef):
            return given
        if given.id in state.padded:
            padding, *_ = state.padded.pop(given.id)
            _run_outside(state, padding, reason)
        if given.id in state.pending and given.id not in state.values:
            _run_pending(state, given)
        if given.id not in state.values:
            found = state.tensor(given)
            return None if found is None else found.clone()  # the model's own weight goes on changing
        value = state.in_order(given) if given.id in state.seen else state.values[given.id]
        read.append(value)
        return nodes.Read(value, tuple(given.shape))

    args, kwargs = mapped(argument, call.args), mapped(argument, dict(call.kwargs))
    refs = call.tensor_outputs()
    outs = tuple(state.new(_any_size(ref)) for ref in refs)
    if not outs:
        raise EngineError("it returns no tensor")
    state.network.nodes.append(
        nodes.Outside(outs[0], tuple(read), call.module, outs, call.op, args, kwargs, call.location, reason)
    )
    state.outside.update(outs)
    state.values.update((ref.id, value) for ref, value in zip(refs, outs, strict=True))
    _share_views(state, call)


def _run_pending(state: Lowering, ref: TensorRef) -> None:
    """PyTorch runs the calls that make a result which something reads that cannot wait for it."""
    for call in state.pending[ref.id].calls:
        if call.tensor_outputs()[0].id not in state.values:
            _run_outside(state, call, "what it is part of is no operation of it")


def _keeps_order(call: Call) -> bool:
    """Whether a call says nothing of where values stand in memory, or only of sides of one element."""
    values: dict[str, Any] = bound(call)
    if "storage_offset" not in values:
        return True
    sides = [(one, stride) for one, stride in zip(values["size"], values["stride"], strict=True) if one > 1]
    same = tuple(values["size"]) == tuple(call.args[0].shape)
    return same and (not sides or (len(sides) == 1 and sides[0][1] == 1))


def _evaluate(state: Lowering, call: Call) -> None:
    """Runs a call on weights alone; what cannot be run is left out, and missed where it is used."""
    made_from_a_shape = _made_from_a_shape(call)

    def argument(given: Any) -> Any:
        if isinstance(given, TensorRef) and made_from_a_shape:
            return torch.empty(given.shape, dtype=given.dtype)
        return state.tensor(given) if isinstance(given, TensorRef) else given

    try:
        args, kwargs = mapped(argument, call.args), mapped(argument, dict(call.kwargs))
    except UnsupportedError:
        for ref in call.tensors_written():
            for one in state.names.get(ref.id, {ref.id}):
                state.known.pop(one, None)
        return
    results = call.op(*args, **kwargs)
    if call.holds_anything:
        results.zero_()  # or a network would differ from run to run
    for ref, tensor in zip(call.outputs, results if isinstance(results, tuple | list) else (results,), strict=False):
        if isinstance(ref, TensorRef) and isinstance(tensor, Tensor):
            state.known[ref.id] = tensor
    _share_views(state, call)


def _share_views(state: Lowering, call: Call) -> None:
    if any(one.alias_info is not None and not one.alias_info.is_write for one in call.op._schema.returns):
        state.share_memory(ref.id for ref in (*call.tensor_outputs(), *call.tensor_inputs()))


def owned(model: nn.Module, graph: Graph) -> dict[int, Tensor]:
    """Parameters, buffers and constants of a recorded run of a model, by the number of their tensor."""
    named = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))
    owned = {**graph.parameters, **graph.buffers}
    return {**graph.constants, **{number: named[names[0]] for number, names in owned.items()}}


def _map_size(ref: TensorRef) -> nodes.Size | None:
    """The size of a tensor as a map, (1, C, H, W) or (1, C); None if it is none."""
    shape = ref.shape
    if len(shape) not in (2, 4) or shape[0] != 1 or ref.dtype is not torch.float32:
        return None
    channels, height, width = (*shape[1:], 1, 1)[:3]
    return channels, height, width


def _any_size(ref: TensorRef) -> nodes.Size | None:
    """The size of a map whose values in order are those of a tensor; None for what is not of float32, or empty."""
    if ref.dtype is not torch.float32 or 0 in ref.shape:
        return None
    return seeing.plain_size(ref.shape)


def pair(values: Any) -> tuple[int, int]:
    """Rows and columns, where one number stands for both.

    Examples:
        >>> pair(3), pair([2]), pair((1, 2))
        ((3, 3), (2, 2), (1, 2))
    """
    first, second = (values, values) if isinstance(values, int) else (*values, *values)[:2]
    return int(first), int(second)
