"""The engine's shared library: found, loaded and spoken to through its C interface (``csrc/sapwood_engine.h``)."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from itertools import count, takewhile
from pathlib import Path

from sapwood.errors import EngineError, EngineMissingError
from sapwood.runtime.engine.interface import ABI, FactStruct, OpStruct, PictureStruct, WeightsStruct, disagreements

LIBRARY = {"win32": "sapwood_engine.dll", "darwin": "libsapwood_engine.dylib"}.get(sys.platform, "libsapwood_engine.so")

SHOWN = 3
"""Disagreements that a message names."""


def places() -> list[Path]:
    """Where the library may be, the first that is there is taken: ``SAPWOOD_ENGINE``, then inside the package."""
    named = os.environ.get("SAPWOOD_ENGINE")
    return [*([Path(named)] if named else []), Path(__file__).parent / LIBRARY]


@cache
def library() -> ctypes.CDLL:
    """The loaded library.

    Raises:
        EngineMissingError: If it was not built, cannot be loaded, is another version's, or was compiled with other
            structs or values than Python takes for granted.
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
    _check(loaded, found)
    _declare(loaded)
    return loaded


def _check(loaded: ctypes.CDLL, file: Path) -> None:
    """Looks at all that both sides must agree on, before anything else is called."""
    loaded.sw_abi.restype = ctypes.c_int32
    if loaded.sw_abi() != ABI:
        raise EngineMissingError(f"{file} has interface {loaded.sw_abi()}; expected {ABI}: install Sapwood again")
    if wrong := disagreements(_facts(loaded)):
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise EngineMissingError(
            f"{file} was compiled with another interface: {'; '.join(wrong[:SHOWN])}{more}: install Sapwood again"
        )


def _facts(loaded: ctypes.CDLL) -> dict[str, int]:
    """Sizes, places and values that the library was compiled with."""
    loaded.sw_facts.restype = ctypes.POINTER(FactStruct)
    facts = loaded.sw_facts()
    named = takewhile(lambda fact: fact.name is not None, (facts[number] for number in count()))
    return {fact.name.decode(): fact.value for fact in named}


def _declare(loaded: ctypes.CDLL) -> None:
    """What its functions take and return."""
    loaded.sw_isa.restype = ctypes.c_char_p
    for name in ("sw_has_isa", "sw_set_isa"):
        function = getattr(loaded, name)
        function.restype, function.argtypes = ctypes.c_int32, [ctypes.c_char_p]
    for name in ("sw_lanes", "sw_most_vectors", "sw_block", "sw_wide"):
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
    loaded.sw_pack_weights.restype = ctypes.c_int64
    loaded.sw_pack_weights.argtypes = [
        ctypes.POINTER(WeightsStruct), ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64
    ]  # fmt: skip
    place, number = ctypes.c_void_p, ctypes.c_int64
    loaded.sw_used.restype, loaded.sw_used.argtypes = None, [place, number, number, place]
    loaded.sw_pack_blocks.restype = None
    loaded.sw_pack_blocks.argtypes = [place, number, number, place, number, number, place]
    loaded.sw_squeeze.restype, loaded.sw_squeeze.argtypes = number, [place, number, place, place]
    loaded.sw_hash.restype = None
    loaded.sw_hash.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.POINTER(ctypes.c_uint64)]
    loaded.sw_bytes.restype, loaded.sw_bytes.argtypes = ctypes.c_int64, [ctypes.c_void_p]


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
