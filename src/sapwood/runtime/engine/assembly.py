"""A network ready to run: programs of the engine and calls of PyTorch in turns, and what is thrown away in between."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from sapwood.errors import EngineError
from sapwood.runtime.calling import torch_threads
from sapwood.runtime.engine import nodes
from sapwood.runtime.engine.calls import Values, ready
from sapwood.runtime.engine.crew import ProgramCrew
from sapwood.runtime.engine.nodes import Input, Network, Node, Outside, Value
from sapwood.runtime.engine.partition import EnginePart, partition
from sapwood.runtime.engine.planning import Planned, Step, plan
from sapwood.runtime.engine.program import Program
from sapwood.runtime.engine.tuning import Tuner
from sapwood.runtime.engine.twins import Around

Timed: TypeAlias = list[tuple[Step, float]]


@dataclass(frozen=True)
class Sides:
    """Who runs what.

    Attributes:
        moved: What nodes make that PyTorch runs though the engine could.
        channels_last: Whether PyTorch keeps the channels of a place together.
    """

    moved: frozenset[Value] = frozenset()
    channels_last: bool = False


class AssembledPart(Protocol):
    """A turn of one side."""

    steps: list[Step]
    turns: list[Turn]

    @property
    def num_bytes(self) -> int:
        """Memory that the library holds for it."""

    def run(self, values: Values, count: int, times: Timed | None = None) -> None:
        """Adds what it makes of ``count`` pictures to the values, and leaves out those that nobody reads any more."""


class Assembly:
    """A network whose parts are planned.

    Args:
        network: Whole.
        sides: Who runs what.
        threads: Of a run, on both sides.
        tuner: As for :func:`sapwood.runtime.engine.planning.plan`.
        file: As there.

    Attributes:
        parts: In the order in which they run.
        inputs: Values of what it is called with.
        outputs: Values that it returns, with their shapes.
        takes_batches: Whether parts run several pictures at once.
    """

    def __init__(
        self, network: Network, sides: Sides, threads: int, tuner: Tuner | None = None, file: str | None = None
    ) -> None:
        self._threads, self._sides = threads, sides
        self.inputs = [node.out for node in network.nodes if isinstance(node, Input)]
        self.outputs = list(network.outputs)
        around = Around(dict(network.sizes), sides.channels_last)
        self.parts: list[AssembledPart] = [
            ProgramPart(part, threads, plan(part.network, tuner, file))
            if isinstance(part, EnginePart)
            else CallsPart(part.nodes, around)
            for part in partition(network, sides.moved)
        ]
        self._forget({value for value, _ in network.outputs})
        self._calls = any(isinstance(part, CallsPart) for part in self.parts)
        outside = any(isinstance(node, Outside) for node in network.nodes)
        self.takes_batches = not outside and all(shape[:1] == (1,) for _, shape in network.outputs)

    def _forget(self, kept: set[Value]) -> None:
        """Tells each part what nobody reads after it."""
        turns = [turn for part in self.parts for turn in part.turns]
        last = {value: number for number, turn in enumerate(turns) for value in (*turn.reads, *turn.makes)}
        for value, number in last.items():
            if value not in kept:
                turns[number].forgets.append(value)

    @property
    def steps(self) -> list[Step]:
        """Its operations, in order."""
        return [step for part in self.parts for step in part.steps]

    def described(self) -> list[object]:
        """Who runs what, and how: things that say of themselves all that they are."""
        sides = sorted(self._sides.moved), self._sides.channels_last, self._threads
        parts = [part.program.described if isinstance(part, ProgramPart) else len(part.steps) for part in self.parts]
        return [sides, parts]

    def run(self, inputs: Sequence[Tensor], times: Timed | None = None) -> list[Tensor]:
        """Runs a batch.

        Args:
            inputs: Checked, each a batch.
            times: Gets the operations' milliseconds; the batch is of one picture then.
        """
        count = len(inputs[0])
        with torch.no_grad(), torch_threads(self._threads) if self._calls else nullcontext():
            if count == 1 or self.takes_batches:
                return self._run(inputs, count, times)
            found = [self._run([one[number : number + 1] for one in inputs], 1, None) for number in range(count)]
        return [torch.cat(pictures) for pictures in zip(*found, strict=True)]

    def _run(self, inputs: Sequence[Tensor], count: int, times: Timed | None) -> list[Tensor]:
        values = dict(zip(self.inputs, inputs, strict=True))
        for part in self.parts:
            part.run(values, count, times)
        return [_returned(values[value], shape, count) for value, shape in self.outputs]


def _returned(tensor: Tensor, shape: tuple[int, ...], count: int) -> Tensor:
    wanted = (count, *shape[1:]) if count > 1 else shape
    tensor = _each(tensor, count)
    return tensor.contiguous() if tensor.shape == wanted else tensor.reshape(wanted)


def _each(tensor: Tensor, count: int) -> Tensor:
    """What is the same for all pictures, once for each."""
    return tensor.expand(count, -1, -1, -1) if count > 1 and tensor.dim() == 4 and len(tensor) == 1 else tensor


@dataclass
class Turn:
    """What one call reads, makes, and is the last to read.

    Attributes:
        reads: Values.
        makes: Values.
        forgets: Those that nobody reads afterwards.
    """

    reads: tuple[Value, ...]
    makes: tuple[Value, ...]
    forgets: list[Value] = field(default_factory=list)


class ProgramPart:
    """A part that is a program of the library."""

    def __init__(self, part: EnginePart, threads: int, planned: Planned) -> None:
        self._sizes = {value: part.network.sizes[value] for value in (*part.reads, *part.makes)}
        self._rows = part.network.numbers_of_rows()
        self._crew, self._threads = ProgramCrew(planned.program, threads), threads
        self.steps = planned.steps
        self.turns = [Turn(part.reads, part.makes)]

    @property
    def program(self) -> Program:
        """Of one picture."""
        return self._crew.first

    @property
    def num_bytes(self) -> int:
        """Memory that the library holds for it."""
        return self._crew.num_bytes

    def run(self, values: Values, count: int, times: Timed | None = None) -> None:
        """Adds what it makes of ``count`` pictures to the values."""
        (turn,) = self.turns
        given = [self._taken(values[value], value, count) for value in turn.reads]
        found = [torch.empty((count, *self._sizes[value])) for value in turn.makes]
        if times is None:
            self._crew.run(
                lambda number: _picture(given, number, count), lambda number: _picture(found, number, count), count
            )
        else:
            spent = self.program.timed(given, found, self._threads)
            times += [(step, time / 1e6) for step, time in zip(self.steps, spent, strict=True)]
        values.update(zip(turn.makes, found, strict=True))
        for value in turn.forgets:
            del values[value]

    def _taken(self, tensor: Tensor, value: Value, count: int) -> Tensor:
        size, tensor = self._sizes[value], _each(tensor, count)
        if value in self._rows:
            tensor = tensor.float()  # numbers of rows: each of them is exact
        if tensor.dtype is not torch.float32 or tensor.numel() != count * math.prod(size):
            raise EngineError(f"{tensor.dtype} of shape {tuple(tensor.shape)}; expected a float32 map of {size}")
        return tensor.contiguous().resolve_neg()


def _picture(tensors: Sequence[Tensor], number: int, count: int) -> Sequence[Tensor]:
    return tensors if count == 1 else [one.view(count, -1)[number] for one in tensors]


class CallsPart:
    """A part that PyTorch runs."""

    num_bytes = 0

    def __init__(self, members: Sequence[Node], around: Around) -> None:
        self.steps = [_step(node) for node in members]
        self.turns = [Turn(node.inputs, nodes.made(node)) for node in members]
        self._calls = [ready(node, around) for node in members]

    def run(self, values: Values, count: int, times: Timed | None = None) -> None:
        """Adds what it makes to the values; pictures go through it together."""
        del count
        for call, turn, step in zip(self._calls, self.turns, self.steps, strict=True):
            start = time.perf_counter()
            call(values)
            for value in turn.forgets:
                values.pop(value, None)
            if times is not None:
                times.append((step, 1e3 * (time.perf_counter() - start)))

    def __deepcopy__(self, memo: object) -> CallsPart:
        """The same: nothing in it changes."""
        return self


def _step(node: Node) -> Step:
    if isinstance(node, Outside):
        return Step(node.label, f"{node.op.overloadpacket} (PyTorch)")
    kind = f"{KINDS.get(type(node), type(node).__name__.lower())} (PyTorch)"
    if isinstance(node, nodes.Conv):
        return Step(node.label, kind, node.spec.weight.size, node.spec.nonzeros, out=node.out)
    return Step(node.label, kind, out=node.out)


KINDS = {nodes.Conv: "convolution", nodes.Pointwise: "activation"}
"""What nodes are called that have another name in :attr:`Step.kind`."""
