"""Residual blocks of a recorded run: branches of which the result is added to what they were made of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from sapwood.ops import Call, Graph, TensorRef


@dataclass(frozen=True)
class Branch:
    """A branch f of ``x + f(x)``, both of one shape: what could go as a whole.

    Attributes:
        name: The innermost module that holds the layers of the branch and of no other; its first such part, where the
            next module holds another branch as well.
        add: Index of the call that adds it.
        operand: Which of the call's two tensors the branch is.
        calls: Indices of the calls that only the branch needs.
        modules: The outermost modules that work for the branch alone, in the order of the run.
        last: Those of them whose results are added, with nothing but cheap calls in between.
        refused: Why the branch cannot go; empty where nothing is known against it.
        of: Of branches with one such name one has to stay; all may go where it is empty.
    """

    name: str
    add: int
    operand: int
    calls: frozenset[int]
    modules: tuple[str, ...]
    last: frozenset[str]
    refused: str = ""
    of: str = ""

    def holds(self, module: str) -> bool:
        """Whether a module is of the branch alone."""
        return any(module == one or module.startswith(f"{one}.") for one in self.modules)


def find_blocks(graph: Graph) -> tuple[Branch, ...]:
    """The residual branches of a recorded run that hold layers, in the order in which they are added.

    Returns:
        Each with what is of it alone, and why it cannot go, where it cannot.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from sapwood.graph import trace
        >>> class Residual(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.layer = nn.Linear(4, 4)
        ...     def forward(self, x):
        ...         return x + self.layer(x)
        >>> [block.name for block in find_blocks(trace(nn.Sequential(Residual(), Residual()), torch.zeros(1, 4)))]
        ['0.layer', '1.layer']
    """
    uses = _Uses(graph)
    found = [_block(uses, call, operand) for call in graph.calls for operand in _branches(uses, call)]
    return tuple(_named(uses, [block for block in found if block is not None]))


@dataclass
class _Uses:
    """Who made what a call reads, and who reads what it made: by call, so that what is written in place is told apart.

    Attributes:
        graph: The run.
        made_by: For each call the calls that made or last wrote its tensors, -1 for those that came from outside.
        users: For each call the calls that read what it made, but those of which nothing is made.
        returned: The calls that made outputs of the model, with the name of the output.
        of_module: For each module the calls that it made.
        idle: The calls of which nothing is made that the model returns.
        fills: The calls that write into a part of a tensor, of which only the whole is read.
    """

    graph: Graph
    made_by: list[tuple[int, ...]] = field(default_factory=list)
    users: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    returned: dict[int, str] = field(default_factory=dict)
    of_module: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    idle: frozenset[int] = frozenset()
    fills: frozenset[int] = frozenset()
    _before: dict[int, frozenset[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.idle = self.graph.looked_at
        last: dict[int, int] = {}
        for call in self.graph.calls:
            self.made_by.append(tuple(last.get(ref.id, -1) for ref in call.tensor_inputs()))
            if call.index not in self.idle:
                for maker in self.made_by[-1]:
                    self.users[maker].add(call.index)
            last.update((ref.id, call.index) for ref in call.tensor_outputs())
            for module in set(call.modules):
                self.of_module[module].add(call.index)
        names = self.graph.output_names or ("",) * len(self.graph.outputs)
        for ref, name in zip(self.graph.outputs, names, strict=True):
            self.returned[last.get(ref.id, -1)] = name or "the output"
        self.fills = self._fills()

    def _fills(self) -> frozenset[int]:
        """The calls that write into a part of what another call made, and those that look at the part."""
        found: set[int] = set()
        for call in reversed(self.graph.calls):
            readers, own = self.users[call.index], call.index not in self.returned
            writes = not readers and call.op._schema.is_mutable and self.made_by[call.index][:1] > (-1,)
            if own and (writes or (call.op.is_view and readers and readers <= found)):
                found.add(call.index)
        return frozenset(found)

    def before(self, index: int) -> frozenset[int]:
        """The calls that a call follows from, itself among them."""
        if index not in self._before:
            self._before[index] = _reached(index, lambda one: self.made_by[one])
        return self._before[index]

    def after(self, index: int) -> frozenset[int]:
        """The calls that follow from a call, itself among them."""
        return _reached(index, lambda one: self.users[one])

    def alone(self, end: int, reader: int) -> frozenset[int]:
        """The calls whose results only ``reader`` gets, by way of the result of ``end``."""
        found: set[int] = set()
        for index in range(end, -1, -1):
            readers = self.users[index] - self.fills
            allowed = found | {reader} if index == end else found
            if readers and index not in self.returned and readers <= allowed:
                found.add(index)
        return frozenset(found)

    def whole_modules(self, calls: frozenset[int]) -> tuple[str, ...]:
        """The outermost modules all of whose calls are among some, in the order of the run."""
        own = calls | self.idle | self.fills
        whole = {name for name, made in self.of_module.items() if name and made <= own and made & calls}
        outer = [name for name in whole if not any(parent in whole for parent in _parents(name))]
        return tuple(sorted(outer, key=lambda name: min(self.of_module[name] & calls)))


def _branches(uses: _Uses, call: Call) -> Iterator[int]:
    """Which operands of a call are branches: made, among others, of the operand that they are added to."""
    refs = call.args[:2]
    if not call.facts.adds or len(refs) < 2 or not all(isinstance(ref, TensorRef) for ref in refs):
        return
    if call.kwargs.get("alpha", 1) != 1 or refs[0].shape != refs[1].shape or refs[0].id == refs[1].id:
        return
    makers = uses.made_by[call.index]
    for operand in (0, 1):
        end, stream = makers[operand], makers[1 - operand]
        if end >= 0 and stream != end and _is_made_of(uses, end, stream, refs[1 - operand]):
            yield operand


def _is_made_of(uses: _Uses, end: int, stream: int, ref: TensorRef) -> bool:
    """Whether a call follows from a tensor."""
    before = uses.before(end)
    if stream >= 0:
        return stream in before
    calls = uses.graph.calls
    return any(
        maker == -1 and one.id == ref.id
        for index in before
        if index >= 0
        for maker, one in zip(uses.made_by[index], calls[index].tensor_inputs(), strict=True)
    )


def _block(uses: _Uses, call: Call, operand: int) -> Branch | None:
    """A branch, or None where it holds no layers."""
    makers, calls = uses.made_by[call.index], uses.graph.calls
    end, stream = makers[operand], makers[1 - operand]
    between = uses.before(end) & uses.after(stream) - {stream}
    sums = sorted(index for index in between if index >= 0 and calls[index].facts.sum is not None)
    if not sums:
        return None
    alone = uses.alone(end, call.index)
    modules = uses.whole_modules(alone)
    last = _last(uses, end, alone, modules)
    refused = _left_over(uses, [end, *sums], {*alone, call.index}) or _unlike_a_function(uses, alone, modules)
    if not refused and not last:
        refused = f"its code is in no module of its own: {calls[end]}"
    layers = [calls[index].module for index in sums if index in alone] or [calls[index].module for index in sums]
    return Branch(_common(layers), call.index, operand, alone, modules, last, refused)


def _left_over(uses: _Uses, wanted: Sequence[int], own: Collection[int]) -> str:
    """Why a branch cannot go of which the result, or a layer on the way to it, is read elsewhere."""
    return next((_read_elsewhere(uses, index, own) for index in wanted if index not in own), "")


def _unlike_a_function(uses: _Uses, alone: frozenset[int], modules: Collection[str]) -> str:
    """Why a branch cannot go that does more than to compute, or that computes outside of modules."""
    for one in (uses.graph.calls[index] for index in sorted(alone)):
        inside = any(module in modules for module in one.modules)
        if one.facts.random:
            return f"it draws random numbers: {one}"
        if any(ref.id in uses.graph.buffers for ref in one.tensor_outputs()):
            return f"it writes into a buffer: {one}"
        if one.facts.sum is not None and not inside:
            return _shared_module(uses, one, alone)
    return ""


def _shared_module(uses: _Uses, call: Call, alone: frozenset[int]) -> str:
    """Why the module that makes a call of a branch is not of the branch alone."""
    for index in sorted(uses.of_module[call.module] - alone - uses.idle - uses.fills):
        return f"its code is in no module of its own: {call}. {_read_elsewhere(uses, index, alone)}"
    return f"its code is in no module of its own: {call}"


def _read_elsewhere(uses: _Uses, index: int, known: Collection[int]) -> str:
    """Who else gets what a call of a branch leads to: an output of the model, or another call."""
    seen, calls = [index], uses.graph.calls
    for one in seen:
        if one in uses.returned:
            return f"what it makes is returned as well, as {uses.returned[one]}"
        seen += sorted(uses.users[one] - {*seen, *known})
    other = next((calls[one] for one in seen[1:] if not calls[one].op.is_view), None)
    return f"what it makes is read elsewhere as well, by {other}" if other else "it writes into what is read elsewhere"


def _last(uses: _Uses, end: int, alone: frozenset[int], modules: Collection[str]) -> frozenset[str]:
    """The modules whose results reach the end of a branch by calls outside of modules of its own."""
    found: set[str] = set()
    waiting, seen = [end], {end}
    while waiting:
        index = waiting.pop()
        inside = next((name for name in uses.graph.calls[index].modules if name in modules), None)
        if inside is not None:
            found.add(inside)
            continue
        more = [maker for maker in uses.made_by[index] if maker in alone and maker not in seen]
        seen.update(more)
        waiting += more
    return frozenset(found)


def _named(uses: _Uses, blocks: Sequence[Branch]) -> Iterator[Branch]:
    """Blocks with names of their own, where one module holds several."""
    taken: set[str] = set()
    for block in blocks:
        others = {module for other in blocks if other.add != block.add for module in other.modules}
        shared = any(module.startswith(f"{block.name}.") and not block.holds(module) for module in others)
        name = next(iter(_with_layers(uses, block)), block.name) if shared or not block.name else block.name
        while name in taken:
            name = f"{name}+"
        taken.add(name)
        yield replace(block, name=name)


def _with_layers(uses: _Uses, block: Branch) -> Iterator[str]:
    """The modules of a block that hold weighted sums."""
    for module in block.modules:
        if any(uses.graph.calls[index].facts.sum is not None for index in uses.of_module[module]):
            yield module


def _common(names: Iterable[str]) -> str:
    """The innermost module that holds all of some."""
    parts = [name.split(".") for name in names]
    found = []
    for column in zip(*parts, strict=False):
        if len(set(column)) > 1:
            break
        found.append(column[0])
    return ".".join(found)


def _parents(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _reached(start: int, step: Callable[[int], Iterable[int]]) -> frozenset[int]:
    """What can be reached from a call, itself among it; what came from outside has no calls before it."""
    found, waiting = {start}, [start]
    while waiting:
        more = [one for one in step(waiting.pop()) if one not in found]
        found.update(more)
        waiting += [one for one in more if one >= 0]
    return frozenset(found)
