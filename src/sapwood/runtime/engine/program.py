"""A program of the engine: operations over one arena, made once and run picture after picture."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sapwood.errors import EngineError
from sapwood.runtime.engine import library as lib
from sapwood.runtime.engine.maps import GAP, Map, plane_stride
from sapwood.runtime.engine.memory import Block, relocated
from sapwood.runtime.engine.packing import Packed


@dataclass
class Builder:
    """Collects operations.

    Attributes:
        lanes: Floats of a vector.
        most_vectors: Of a tile.
        arena: Floats taken so far.
    """

    lanes: int = field(default_factory=lambda: int(lib.library().sw_lanes()))
    most_vectors: int = field(default_factory=lambda: int(lib.library().sw_most_vectors()))
    arena: int = 0
    _blocks: list[Block] = field(default_factory=list)
    _ops: list[lib.OpStruct] = field(default_factory=list)
    _kept: list[Any] = field(default_factory=list)

    def map(self, channels: int, height: int, width: int, *, margin: int, pitch: int, overwritten: bool = True) -> Map:
        """A new map; its place is final once the program is built.

        Args:
            channels: Planes.
            height: Rows of values.
            width: Values of a row.
            margin: Rows of zeros above and below.
            pitch: Floats from a row to the next.
            overwritten: Whether every run writes all of its values: its memory may have held another map.
        """
        stride = plane_stride(height, margin, pitch)
        found = Map(channels, height, width, margin, pitch, self.arena + GAP, stride)
        self.arena += GAP + channels * stride
        self._blocks.append(Block(found, overwritten))
        return found

    def add(
        self,
        kind: int,
        source: Map | None = None,
        out: Map | None = None,
        *,
        other: Map | None = None,
        activation: str = "linear",
        slope: float = 0.0,
        **values: Any,
    ) -> None:
        """Adds an operation; ``values`` are fields of ``sw_op``."""
        op = lib.OpStruct(kind=kind, activation=lib.ACTIVATIONS[activation], slope=slope)
        for name, given in (("in_", source), ("out", out), ("other", other)):
            if given is not None:
                setattr(op, name, given.struct())
        for name, value in values.items():
            setattr(op, name, type(getattr(op, name))(*value) if isinstance(value, tuple) else value)
        self._ops.append(op)

    def convolution(
        self,
        source: Map,
        out: Map,
        packed: Packed,
        bias: Any,
        *,
        other: Map | None = None,
        activation: str = "linear",
        slope: float = 0.0,
        **sizes: int,
    ) -> None:
        """Adds a convolution; ``sizes`` are the fields of ``sw_op`` about its result."""
        arrays = (packed.starts, packed.entries, np.ascontiguousarray(bias, np.float32))
        self._kept.append(arrays)
        self.add(
            lib.CONV,
            source,
            out,
            other=other,
            activation=activation,
            slope=slope,
            rows=packed.rows,
            columns=packed.columns,
            num_chunks=packed.num_chunks,
            starts=arrays[0].ctypes.data,
            entries=arrays[1].ctypes.data,
            bias=arrays[2].ctypes.data,
            **sizes,
        )

    def build(self) -> Program:
        """The program.

        Raises:
            EngineError: If the library refuses an operation.
        """
        placed, arena = relocated(self._ops, self._blocks)
        ops = (lib.OpStruct * len(placed))(*placed)
        message = ctypes.create_string_buffer(512)
        handle = lib.library().sw_create(ops, len(placed), max(1, arena), message, len(message))
        if not handle:
            raise EngineError(f"the engine refuses a program: {message.value.decode(errors='replace')}")
        return Program(handle, len(self._ops))


class Program:
    """Operations that the library has checked and copied."""

    def __init__(self, handle: int, num_ops: int) -> None:
        self._handle: int | None = handle
        self._num_ops = num_ops
        self._lock = threading.Lock()

    def run(self, inputs: Sequence[int], outputs: Sequence[int], threads: int) -> None:
        """Runs one picture; inputs and outputs are addresses of dense float32 NCHW pictures.

        Raises:
            EngineError: If threads cannot be started.
        """
        self._call(inputs, outputs, threads, None)

    def timed(self, inputs: Sequence[int], outputs: Sequence[int], threads: int) -> list[int]:
        """Runs one picture; nanoseconds of each operation."""
        times = (ctypes.c_int64 * self._num_ops)()
        self._call(inputs, outputs, threads, times)
        return list(times)

    @property
    def num_bytes(self) -> int:
        """Memory that the library holds for it."""
        return int(lib.library().sw_bytes(self._handle))

    def _call(self, inputs: Sequence[int], outputs: Sequence[int], threads: int, times: Any) -> None:
        given, wanted = ((ctypes.c_void_p * max(1, len(one)))(*one) for one in (inputs, outputs))
        with self._lock:  # one arena: calls from several threads wait for each other
            failed = lib.library().sw_run(self._handle, given, wanted, threads, times)
        if failed:
            raise EngineError(f"{threads} threads cannot be started")

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            lib.library().sw_free(self._handle)
            self._handle = None
