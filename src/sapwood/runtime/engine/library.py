"""The engine's shared library: found, loaded and spoken to through its C interface (``csrc/sapwood_engine.h``)."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from pathlib import Path

from sapwood.errors import EngineError, EngineMissingError

ABI = 4
"""What this Python code expects of the library."""

LIBRARY = {"win32": "sapwood_engine.dll", "darwin": "libsapwood_engine.dylib"}.get(sys.platform, "libsapwood_engine.so")

PACK, UNPACK, CONV, PHASES, MAXPOOL, AVGPOOL, UPSAMPLE, ADD, MUL, COPY = range(10)
"""Kinds of operations."""

ACTIVATIONS = {
    "linear": 0,
    "leaky": 1,
    "silu": 2,
    "mish": 3,
    "hardswish": 4,
    "sigmoid": 5,
    "tanh": 6,
    "relu6": 7,
    "hardsigmoid": 8,
}
"""Activations by name; ReLU is ``leaky`` of slope 0."""


class MapStruct(ctypes.Structure):
    """``sw_map``."""

    _fields_ = (
        ("offset", ctypes.c_int64),
        ("stride", ctypes.c_int64),
        ("channels", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("margin", ctypes.c_int32),
        ("pitch", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    )


class OpStruct(ctypes.Structure):
    """``sw_op``."""

    _fields_ = (
        ("kind", ctypes.c_int32),
        ("activation", ctypes.c_int32),
        ("slope", ctypes.c_float),
        ("index", ctypes.c_int32),
        ("in_", MapStruct),
        ("other", MapStruct),
        ("out", MapStruct),
        ("kernel", ctypes.c_int32 * 2),
        ("step", ctypes.c_int32 * 2),
        ("pad", ctypes.c_int32 * 2),
        ("all_places", ctypes.c_int32),
        ("phased", ctypes.c_int32),
        ("channels", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("rows", ctypes.c_int32),
        ("columns", ctypes.c_int32),
        ("num_chunks", ctypes.c_int32),
        ("starts", ctypes.c_void_p),
        ("entries", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("num_starts", ctypes.c_int64),
        ("num_entries", ctypes.c_int64),
        ("num_bias", ctypes.c_int64),
    )


class PictureStruct(ctypes.Structure):
    """``sw_picture``."""

    _fields_ = (("values", ctypes.c_void_p), ("floats", ctypes.c_int64))


def places() -> list[Path]:
    """Where the library may be, the first that is there is taken: ``SAPWOOD_ENGINE``, then inside the package."""
    named = os.environ.get("SAPWOOD_ENGINE")
    return [*([Path(named)] if named else []), Path(__file__).parent / LIBRARY]


@cache
def library() -> ctypes.CDLL:
    """The loaded library.

    Raises:
        EngineMissingError: If it was not built, cannot be loaded, or is another version's.
    """
    found = next((place for place in places() if place.is_file()), None)
    if found is None:
        raise EngineMissingError(
            f"the sparse engine is not built: no {LIBRARY} in {', '.join(str(place.parent) for place in places())}. "
            "Installing Sapwood builds it where a C++17 compiler is found; with one, run "
            "`pip install --force-reinstall --no-deps sapwood`"
        )
    try:
        loaded = ctypes.CDLL(str(found))
    except OSError as error:
        raise EngineMissingError(f"{found} cannot be loaded: {error}") from None
    loaded.sw_abi.restype = ctypes.c_int32
    if loaded.sw_abi() != ABI:
        raise EngineMissingError(f"{found} has interface {loaded.sw_abi()}; expected {ABI}: install Sapwood again")
    loaded.sw_isa.restype = ctypes.c_char_p
    for name in ("sw_has_isa", "sw_set_isa"):
        function = getattr(loaded, name)
        function.restype, function.argtypes = ctypes.c_int32, [ctypes.c_char_p]
    for name in ("sw_lanes", "sw_most_vectors"):
        getattr(loaded, name).restype = ctypes.c_int32
    loaded.sw_create.restype = ctypes.c_void_p
    loaded.sw_create.argtypes = [
        ctypes.POINTER(OpStruct), ctypes.c_int32, ctypes.c_int64, ctypes.c_char_p, ctypes.c_int32
    ]  # fmt: skip
    loaded.sw_copy.restype, loaded.sw_copy.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    loaded.sw_free.restype, loaded.sw_free.argtypes = None, [ctypes.c_void_p]
    loaded.sw_run.restype = ctypes.c_int32
    loaded.sw_run.argtypes = [
        ctypes.c_void_p, ctypes.POINTER(PictureStruct), ctypes.c_int32, ctypes.POINTER(PictureStruct), ctypes.c_int32,
        ctypes.c_int32, ctypes.POINTER(ctypes.c_int64),
    ]  # fmt: skip
    loaded.sw_bytes.restype, loaded.sw_bytes.argtypes = ctypes.c_int64, [ctypes.c_void_p]
    return loaded


def instruction_set() -> str:
    """The instruction set in use: ``"avx512"``, ``"avx2"``, ``"neon"`` or ``"scalar"``; ``SAPWOOD_ISA`` forces one."""
    return str(library().sw_isa().decode())


def set_instruction_set(name: str) -> None:
    """Takes another instruction set for what is compiled from now on.

    Raises:
        EngineError: If the library has no code for it, or this processor cannot run it.
    """
    if library().sw_set_isa(name.encode()):
        known = [one for one in ("avx512", "avx2", "neon", "scalar") if library().sw_has_isa(one.encode())]
        raise EngineError(f"instruction set {name!r}; this processor and build have {', '.join(known)}")
