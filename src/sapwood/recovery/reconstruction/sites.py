"""Where a layer can be solved anew: the calls that use its weight, and what their results flow into."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sapwood.ops import Call, Graph, TensorRef


@dataclass(frozen=True)
class FollowingNorm:
    """A BatchNorm in evaluation mode right behind a layer: names of its tensors."""

    weight: str
    bias: str
    mean: str
    var: str
    eps: float


@dataclass(frozen=True)
class Use:
    """One call that uses the weight.

    Attributes:
        call: The contraction.
        branch: Index of the call whose output is compared with the dense network's: the contraction or its BatchNorm.
        sum: Index of the addition that this output goes into, where the other operand is there before; None otherwise.
        other: Position of that operand among the addition's arguments.
    """

    call: Call
    branch: int
    sum: int | None = None
    other: int = 0

    @property
    def last_read(self) -> int:
        """The last call whose arguments are looked at, where its own inputs are."""
        return self.call.index if self.sum is None else self.sum

    @property
    def last(self) -> int:
        """The last call that has to run."""
        return max(self.branch, -1 if self.sum is None else self.sum)


@dataclass(frozen=True)
class Site:
    """One layer to solve.

    Attributes:
        layer: The module that owns the weight.
        weight: Name of the weight.
        bias: Name of its bias, if it has one.
        norm: The BatchNorm that is solved with it.
        uses: The calls, in order; more than one where the layer is called several times.
        groups: Of a convolution; 1 otherwise.
        constant: Name of a bias that is added and stays as it is.
    """

    layer: str
    weight: str
    bias: str | None
    norm: FollowingNorm | None
    uses: tuple[Use, ...]
    groups: int
    constant: str | None = None

    def alone(self, held: Collection[str]) -> Site:
        """The site where a bias or BatchNorm is among those that are ``held``: its weight is solved without them."""
        norm = () if self.norm is None else (self.norm.weight, self.norm.bias)
        if not {self.bias, *norm} & {*held}:
            return self
        uses = tuple(Use(use.call, use.call.index) for use in self.uses)
        return replace(self, bias=None, norm=None, uses=uses, constant=self.bias)

    @property
    def last(self) -> int:
        """The last call that has to run."""
        return max(use.last for use in self.uses)


def find_sites(graph: Graph) -> tuple[list[Site], dict[str, str]]:
    """Finds the layers of a recorded run that can be solved.

    Args:
        graph: Of the network to solve, in evaluation mode.

    Returns:
        The sites in the order in which their values are there; and the weights of contractions that cannot be solved,
        each with its reason.
    """
    readers = _readers(graph)
    turned = {
        call.outputs[0].id: call.args[0].id
        for call in graph.calls
        if call.facts.turns and call.args[0].id in graph.parameters
    }
    calls: dict[int, list[Call]] = defaultdict(list)
    reasons: dict[str, str] = {}
    for call in graph.calls:
        number = _weight(call, graph, turned)
        if number is not None:
            calls[number].append(call)
    sites = []
    for number, own in calls.items():
        name = graph.parameters[number][0]
        reason = _obstacle(number, own, graph, readers, turned)
        if reason is None:
            sites.append(_site(name, own, graph, readers))
        else:
            reasons[name] = reason
    return sorted(sites, key=lambda site: site.uses[-1].call.index), reasons


def _readers(graph: Graph) -> Mapping[int, Sequence[Call]]:
    found: dict[int, list[Call]] = defaultdict(list)
    for call in graph.calls:
        for number in {tensor.id for tensor in call.tensor_inputs()}:
            found[number].append(call)
    return found


def _weight(call: Call, graph: Graph, turned: Mapping[int, int]) -> int | None:
    """The parameter that a call contracts its input with."""
    if not call.facts.is_convolution and not call.facts.is_product:
        return None
    weight = _factor(call)
    if not isinstance(weight, TensorRef):
        return None
    number = turned.get(weight.id, weight.id)
    return number if number in graph.parameters else None


def _factor(call: Call) -> Any:
    """What a contraction multiplies its input with."""
    assert call.facts.sum is not None
    return call.args[call.facts.sum.weight]


def _obstacle(
    number: int,
    calls: Sequence[Call],
    graph: Graph,
    readers: Mapping[int, Sequence[Call]],
    turned: Mapping[int, int],
) -> str | None:
    """Why a weight cannot be solved."""
    reason = next(filter(None, (_call_obstacle(call, graph, turned) for call in calls)), None)
    if reason is not None:
        return reason
    own = {call.index for call in calls}
    views = {reader.outputs[0].id for reader in readers[number] if reader.facts.turns}
    for reader in [*readers[number], *(reader for view in views for reader in readers[view])]:
        if reader.index not in own and not reader.facts.turns:
            return f"has a weight that {reader.name} reads, too"
    biases = {None if call.bias is None else call.bias.id for call in calls}
    if len(biases) > 1:
        return "is called with different biases"
    bias_id = biases.pop()
    if bias_id is not None and len(readers[bias_id]) != len(calls):
        return "shares its bias with another layer"
    return None


def _call_obstacle(call: Call, graph: Graph, turned: Mapping[int, int]) -> str | None:
    """Why the weight of one call cannot be solved."""
    found, bias = call.facts.sum, call.bias
    assert found is not None
    if found.kind == "convolution" and call.args[6]:
        return "is a transposed convolution"
    if found.kind == "product" and len(_factor(call).shape) != 2:
        return "is no matrix"
    if found.kind == "product" and not found.turned and _factor(call).id not in turned:
        return "multiplies from the right without being transposed"
    return "adds a bias that is no parameter" if bias is not None and bias.id not in graph.parameters else None


def _site(name: str, calls: Sequence[Call], graph: Graph, readers: Mapping[int, Sequence[Call]]) -> Site:
    bias = calls[0].bias
    norm, uses = None, tuple(Use(call, call.index) for call in calls)
    if len(calls) == 1:
        norm, use = _followed(calls[0], graph, readers)
        uses = (use,)
    return Site(
        layer=name.rpartition(".")[0],
        weight=name,
        bias=None if bias is None else graph.parameters[bias.id][0],
        norm=norm,
        uses=uses,
        groups=int(calls[0].args[8]) if calls[0].facts.is_convolution else 1,
    )


def _followed(call: Call, graph: Graph, readers: Mapping[int, Sequence[Call]]) -> tuple[FollowingNorm | None, Use]:
    """The BatchNorm behind a contraction and the addition behind that, where nothing else reads in between."""
    outputs = {ref.id for ref in graph.outputs}
    place, branch, norm = call.outputs[0], call.index, None
    reader = _only_reader(place, call.index, readers, outputs)
    if reader is not None and _is_batch_norm(reader) and reader.args[0].id == place.id:
        norm = _norm(reader, graph, readers)
        if norm is not None:
            place, branch = reader.outputs[0], reader.index
            reader = _only_reader(place, branch, readers, outputs)
    behind = branch
    while reader is not None and reader.facts.reshapes and reader.outputs[0].shape[-1] == place.shape[-1]:
        place, behind = reader.outputs[0], reader.index
        reader = _only_reader(place, behind, readers, outputs)
    if reader is None or not reader.facts.adds or reader.kwargs.get("alpha", 1) != 1:
        return norm, Use(call, branch)
    operands = reader.args[:2]
    if not all(isinstance(one, TensorRef) and one.shape == place.shape for one in operands):
        return norm, Use(call, branch)
    other = 1 if operands[0].id == place.id else 0
    if operands[other].id == place.id or _made_at(operands[other], graph, reader.index) > call.index:
        return norm, Use(call, branch)
    return norm, Use(call, branch, reader.index, other)


def _is_batch_norm(call: Call) -> bool:
    return call.facts.norm is not None and call.facts.norm.kind == "batch"


def _only_reader(place: TensorRef, after: int, readers: Mapping[int, Sequence[Call]], outputs: set[int]) -> Call | None:
    """The call that reads a value, if no other does; what changes it in place ends it."""
    later = [reader for reader in readers[place.id] if reader.index > after]
    if not later:
        return None
    first = later[0]
    in_place = first.name.endswith("_") and isinstance(first.args[0], TensorRef) and first.args[0].id == place.id
    return first if in_place or (len(later) == 1 and place.id not in outputs) else None


def _made_at(ref: TensorRef, graph: Graph, before: int) -> int:
    """The last call before another that made or changed a tensor; -1 if none did."""
    made = [call.index for call in graph.calls[:before] if any(out.id == ref.id for out in call.tensor_outputs())]
    return max(made, default=-1)


def _norm(call: Call, graph: Graph, readers: Mapping[int, Sequence[Call]]) -> FollowingNorm | None:
    """The names of a BatchNorm's tensors, where it uses its running statistics and is called once."""
    tensors = call.args[1:5]
    if len(tensors) < 4 or call.facts.pooled_dims(call):
        return None
    if not all(isinstance(one, TensorRef) for one in tensors) or any(len(readers[one.id]) > 1 for one in tensors):
        return None
    weight, bias, mean, var = tensors
    if weight.id not in graph.parameters or bias.id not in graph.parameters:
        return None
    if mean.id not in graph.buffers or var.id not in graph.buffers:
        return None
    return FollowingNorm(
        graph.parameters[weight.id][0],
        graph.parameters[bias.id][0],
        graph.buffers[mean.id][0],
        graph.buffers[var.id][0],
        float(call.floats[-1]),
    )
