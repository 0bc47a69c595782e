"""The shortest way to call a network that is one program: as few steps of Python as there can be.

Between two calls the engine goes through all of its weights, which puts the interpreter's own code and objects out of
the fastest caches: each step of Python then takes ten times as long as in a loop by itself, a tenth of the time of a
small network.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from sapwood.runtime.engine.assembly import Assembly, ProgramPart
from sapwood.runtime.engine.inputs import InputSpec
from sapwood.runtime.engine.interface import PictureStruct
from sapwood.runtime.engine.program import Program


@dataclass(eq=False)
class QuickCall:
    """Calls a network that is one program, on one picture that is in the form the program reads.

    Attributes:
        program: The whole network.
        threads: Of a call.
        inputs: Shapes of what the network is called with.
        outputs: Shapes of what the program makes.
        reads: The place among the network's inputs of each that the program reads.
        returned: The place among what the program makes of each that the network returns.
    """

    program: Program
    threads: int
    inputs: tuple[torch.Size, ...]
    outputs: tuple[torch.Size, ...]
    reads: tuple[int, ...]
    returned: tuple[int, ...]

    _arrays: tuple[Any, Any] = field(init=False)
    _given: list[tuple[Any, int]] = field(init=False)
    _wanted: list[tuple[Any, torch.Size]] = field(init=False)

    def __post_init__(self) -> None:
        given, wanted = ((PictureStruct * len(one))() for one in (self.reads, self.outputs))
        for place, number in zip(given, self.reads, strict=True):
            place.floats = self.inputs[number].numel()
        for place, shape in zip(wanted, self.outputs, strict=True):
            place.floats = shape.numel()
        self._arrays = given, wanted
        self._given = list(zip(given, self.reads, strict=True))
        self._wanted = list(zip(wanted, self.outputs, strict=True))

    @staticmethod
    def of(assembly: Assembly, specs: Sequence[InputSpec], threads: int) -> QuickCall | None:
        """For an assembly; None where it is not one program that reads pictures and returns each result once."""
        part = assembly.parts[0] if len(assembly.parts) == 1 else None
        if not isinstance(part, ProgramPart) or any(spec.dtype is not torch.float32 for spec in specs):
            return None
        (turn,), values = part.turns, [value for value, _ in assembly.outputs]
        if len(set(values)) < len(values) or set(values) != set(turn.makes) or not turn.reads:
            return None
        shapes = dict(assembly.outputs)
        return QuickCall(
            part.program,
            threads,
            tuple(torch.Size((1, *spec.shape)) for spec in specs),
            tuple(torch.Size(shapes[value]) for value in turn.makes),
            tuple(assembly.inputs.index(value) for value in turn.reads),
            tuple(turn.makes.index(value) for value in values),
        )

    def __call__(self, inputs: Sequence[Any]) -> list[Tensor] | None:
        """What the network returns; None where anything is to be done to the inputs, or said of them, before."""
        if torch._C._is_tracing() or len(inputs) != len(self.inputs):
            return None
        for one, shape in zip(inputs, self.inputs, strict=True):
            if not _is_ready(one, shape):
                return None
        try:
            addresses = [one.data_ptr() for one in inputs]
        except RuntimeError:  # of tensors that hold no numbers
            return None
        found: list[Tensor] = []
        with self.program.own_lock():
            for place, number in self._given:
                place.values = addresses[number]
            for place, shape in self._wanted:
                found.append(torch.empty(shape, dtype=torch.float32, device="cpu"))
                place.values = found[-1].data_ptr()
            given, wanted = self._arrays
            if self.program.run_at(given, wanted, self.threads):
                return None
        return [found[number] for number in self.returned]

    def __deepcopy__(self, memo: dict[int, Any]) -> QuickCall:
        """Another one for the copy of the program."""
        return replace(self, program=copy.deepcopy(self.program, memo))


def _is_ready(given: Any, shape: torch.Size) -> bool:
    """Whether it is a tensor of this shape whose numbers the program can read where they are."""
    return (
        type(given) is Tensor
        and not given.is_nested
        and given.shape == shape
        and given.dtype is torch.float32
        and given.layout is torch.strided
        and given.is_cpu
        and given.is_contiguous()
        and not given.is_neg()
    )
