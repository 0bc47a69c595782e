"""A program of the engine: operations over one arena, made once and run picture after picture."""

from __future__ import annotations

import ctypes
import hashlib
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from sapwood.errors import EngineError
from sapwood.limits import check_limit
from sapwood.runtime.engine import library as lib
from sapwood.runtime.engine.interface import ACTIVATIONS, BLOCKS, OpKind, OpStruct, PictureStruct, RunResult
from sapwood.runtime.engine.large import is_large
from sapwood.runtime.engine.maps import GAP, Map, plane_stride
from sapwood.runtime.engine.memory import ArenaBlock, relocated
from sapwood.runtime.engine.packing import Packed
from sapwood.runtime.engine.pictures import picture

LARGEST = 2**31 - 1
"""Number that a field of an operation holds."""


@dataclass
class Builder:
    """Collects operations.

    Attributes:
        file: The file that asks for the program, and may not ask for more than ``network_bytes``; None: no limit.
        lanes: Floats of a vector.
        most_vectors: Of a tile.
        block: Output channels that dense weights are packed for.
        wide: Those that are packed for vectors of channels.
        arena: Floats taken so far.
    """

    file: str | None = None
    lanes: int = field(default_factory=lambda: int(lib.library().sw_lanes()))
    most_vectors: int = field(default_factory=lambda: int(lib.library().sw_most_vectors()))
    block: int = field(default_factory=lambda: int(lib.library().sw_block()))
    wide: int = field(default_factory=lambda: int(lib.library().sw_wide()))
    arena: int = 0
    _blocks: list[ArenaBlock] = field(default_factory=list)
    _ops: list[OpStruct] = field(default_factory=list)
    _kept: list[Any] = field(default_factory=list)
    _stays: list[Any] = field(default_factory=list)

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
        self._blocks.append(ArenaBlock(found, overwritten))
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
        """Adds an operation; ``values`` are the fields that its kind has to itself (:data:`BLOCKS`)."""
        op = OpStruct(kind=kind, activation=ACTIVATIONS[activation], slope=slope)
        for name, given in (("in_", source), ("out", out), ("other", other)):
            if given is not None:
                setattr(op, name, given.struct())
        for name, value in values.items():
            block = getattr(op, BLOCKS[kind])
            if isinstance(value, Map):
                setattr(block, name, value.struct())
            elif isinstance(value, np.ndarray):
                self._point(block, name, value)
            else:
                setattr(block, name, _checked(getattr(block, name), name, value))
        self._ops.append(op)

    def keep(self, *arrays: Any) -> None:
        """Keeps what operations point to until the library has copied it."""
        self._kept += arrays

    def stay(self, *arrays: Any) -> bool:
        """Keeps arrays as long as the program, where one of them is large; whether that is so."""
        if not any(map(is_large, arrays)):
            return False
        self._stays += arrays
        return True

    def _point(self, block: Any, name: str, array: Any) -> None:
        """An array of the operation, kept until the library has copied it, and how many numbers it holds."""
        kept = np.ascontiguousarray(array, np.float32)
        self.keep(kept)
        setattr(block, name, kept.ctypes.data)
        setattr(block, COUNTS[name], kept.size)
        if hasattr(block, "stays"):
            block.stays = self.stay(kept)

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
        """Adds a convolution; ``sizes`` are the fields of ``sw_conv`` about its result."""
        arrays = (packed.starts, packed.entries, np.ascontiguousarray(bias, np.float32), packed.weights)
        self.keep(*arrays)
        self.add(
            OpKind.CONV,
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
            num_starts=len(arrays[0]),
            num_entries=len(arrays[1]),
            num_bias=len(arrays[2]),
            groups=packed.groups,
            by_channels=int(packed.by_channels),
            weights=arrays[3].ctypes.data,
            num_weights=arrays[3].size,
            stays=int(self.stay(packed.entries, packed.weights)),
            **sizes,
        )

    def build(self) -> Program:
        """The program.

        Raises:
            EngineError: If the library refuses an operation, or a file asks for too much.
        """
        placed, arena = relocated(self._ops, self._blocks)
        if self.file is not None:
            check_limit("network_bytes", 4 * arena, self.file, EngineError)
        ops = (OpStruct * len(placed))(*placed)
        message = ctypes.create_string_buffer(512)
        handle = lib.library().sw_create(ops, len(placed), max(1, arena), message, len(message))
        if not handle:
            raise EngineError(f"the engine refuses a program: {message.value.decode(errors='replace')}")
        return Program(handle, len(self._ops), _described(placed, arena), self._stays)


def _described(ops: Sequence[OpStruct], arena: int) -> str:
    """A hash of operations, but for the places of their arrays."""
    hashed = hashlib.sha256(str(arena).encode())
    for op in ops:
        plain = OpStruct.from_buffer_copy(op)
        block = getattr(plain, BLOCKS[op.kind]) if op.kind in BLOCKS else plain
        for name, kind in block._fields_:
            if kind is ctypes.c_void_p:
                setattr(block, name, None)
        hashed.update(bytes(plain))
    return hashed.hexdigest()


def _checked(field: Any, name: str, value: Any) -> Any:
    """A value for a field of an operation: ctypes would cut off what does not fit."""
    numbers = value if isinstance(value, tuple) else (value,)
    if name in _POINTERS:
        return value
    if any(not -LARGEST <= number <= LARGEST for number in numbers):
        raise EngineError(f"{name} {value} of an operation; expected numbers up to {LARGEST}")
    return type(field)(*value) if isinstance(value, tuple) else value


_POINTERS = frozenset({"starts", "entries", "bias", "weights"})


COUNTS = {"values": "num_values", "table": "num_values", "factors": "num_factors", "shifts": "num_shifts"}
"""The field that says how many numbers an array of an operation holds."""


class Program:
    """Operations that the library has checked and copied, but for large arrays, which are kept here.

    Attributes:
        described: A hash of the operations: where maps stand, and how they are gone through; not of the weights.
    """

    def __init__(self, handle: int, num_ops: int, described: str, stays: Sequence[Any]) -> None:
        self.described, self._stays = described, stays
        self._handle: int | None = handle
        self._num_ops = num_ops
        self._lock, self._process = threading.Lock(), os.getpid()
        self._run = lib.library().sw_run

    def run(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], threads: int) -> None:
        """Runs one picture: dense float32 tensors, of which the outputs are written.

        Raises:
            EngineError: If threads cannot be started, or a tensor is of another size or type than the program's.
        """
        self._call(inputs, outputs, threads, None)

    def timed(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], threads: int) -> list[int]:
        """Runs one picture; nanoseconds of each operation."""
        times = (ctypes.c_int64 * self._num_ops)()
        self._call(inputs, outputs, threads, times)
        return list(times)

    @property
    def num_bytes(self) -> int:
        """Memory that it holds."""
        return int(lib.library().sw_bytes(self._handle) + sum(array.nbytes for array in self._stays))

    def _call(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], threads: int, times: Any) -> None:
        given, wanted = ((PictureStruct * len(one))(*map(picture, one)) for one in (inputs, outputs))
        with self.own_lock():
            failed = self.run_at(given, wanted, threads, times)
        if failed == RunResult.WRONG_PICTURES:
            sizes = [tensor.numel() for tensor in (*inputs, *outputs)]
            raise EngineError(f"pictures of {sizes} numbers; expected those that the program was made for")
        if failed == RunResult.WRONG_ROW:
            raise EngineError("index out of range: an embedding was asked for a row that its table does not have")
        if failed:
            raise EngineError(f"{threads} threads cannot be started")

    def run_at(self, given: Any, wanted: Any, threads: int, times: Any = None) -> int:
        """Runs one picture from and to where it stands, within :meth:`own_lock`: arrays of ``PictureStruct``.

        Returns:
            A :class:`RunResult`.
        """
        return int(self._run(self._handle, given, len(given), wanted, len(wanted), threads, times))

    def own_lock(self) -> threading.Lock:
        """The lock of its one arena: calls from several threads wait for each other.

        Another one after ``fork``, for the parent's may be held by a thread that is not here.
        """
        if self._process != os.getpid():
            self._lock, self._process = threading.Lock(), os.getpid()
        return self._lock

    def __deepcopy__(self, memo: object) -> Program:
        """The same operations over memory of their own."""
        handle = lib.library().sw_copy(self._handle)
        if not handle:
            raise EngineError("there is no memory for a copy of a program")
        return Program(handle, self._num_ops, self.described, self._stays)

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            lib.library().sw_free(self._handle)
            self._handle = None
