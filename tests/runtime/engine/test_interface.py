"""Structs and values that Python and the library share are compared when the library is loaded."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sapwood.errors import EngineMissingError
from sapwood.runtime.engine import interface, library

HEADER = Path(__file__).resolve().parents[3] / "csrc" / "sapwood_engine.h"


@pytest.fixture
def loaded_anew(engine: None) -> Iterator[None]:
    library.library.cache_clear()
    yield
    library.library.cache_clear()


class ShorterMap(ctypes.Structure):
    _fields_ = interface.MapStruct._fields_[:-2]


class SwappedMap(ctypes.Structure):
    """Of the right size."""

    _fields_ = (*interface.MapStruct._fields_[:2], *reversed(interface.MapStruct._fields_[2:]))


class LongerOp(ctypes.Structure):
    _fields_ = (*interface.OpStruct._fields_, ("fft", ctypes.c_int64))


def declared() -> set[str]:
    """Names of all facts that the header's structs and enums call for."""
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)
    names = set(re.findall(r"^\s+(SW_\w+) = ", text, re.MULTILINE))
    for body, struct in re.findall(r"typedef struct \w+ \{(.*?)\} (\w+);", text, re.DOTALL):
        if struct != "sw_fact":
            names |= {f"sizeof {struct}", *(f"offsetof {struct}.{f}" for f in re.findall(r"(\w+)(?:\[\d\])?;", body))}
    return names


def test_every_struct_field_and_value_of_the_header_is_compared() -> None:
    names = declared()
    assert {"SW_COPY", "SW_TANH", "SW_NO_THREADS", "sizeof sw_op", "offsetof sw_conv.num_bias"} <= names
    assert names | {"SW_ALIGN", "SW_STRIP", "SW_LARGEST"} == set(interface.own_facts())


@pytest.mark.usefixtures("loaded_anew")
def test_the_library_and_python_agree() -> None:
    assert library._facts(library.library()) == interface.own_facts()


@pytest.mark.usefixtures("loaded_anew")
@pytest.mark.parametrize(
    ("place", "changed", "message"),
    [
        ("ACTIVATIONS", {**interface.ACTIVATIONS, "silu": 3}, r"SW_SILU is 2, expected 3: install Sapwood again"),
        (
            "ACTIVATIONS",
            {**interface.ACTIVATIONS, "selu": 11},
            r"ACTIVATIONS is 11, expected 12; SW_SELU is not there, e",
        ),
        ("ACTIVATIONS", {"linear": 0}, r"SW_LEAKY is 1, expected none; .*; .* and 8 more: install Sapwood again"),
        ("STRUCTS", {**interface.STRUCTS, "sw_map": ShorterMap}, "sizeof sw_map is 40, expected 32; offsetof sw_map.p"),
        ("STRUCTS", {**interface.STRUCTS, "sw_map": SwappedMap}, "offsetof sw_map.channels is 16, expected 36; offset"),
        ("STRUCTS", {**interface.STRUCTS, "sw_op": LongerOp}, r"sizeof sw_op is .*; offsetof sw_op.fft is not there"),
        ("ENTRY", np.dtype([("value", np.float32), ("offset", np.int32)]), "offsetof sw_entry.offset is 0, expected 4"),
        ("ALIGN", 32, "SW_ALIGN is 64, expected 32"),
        ("STRIP", 256, "SW_STRIP is 4096, expected 256"),
        ("LARGEST", 2**30, "SW_LARGEST is 268435456, expected 1073741824"),
    ],
)
def test_what_differs_is_named(place: str, changed: object, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interface, place, changed)
    with pytest.raises(EngineMissingError, match=f"was compiled with another interface: .*{message}"):
        library.library()


@pytest.mark.usefixtures("loaded_anew")
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("int sw_abi(void) { return 4; }", "has interface 4; expected 8: install Sapwood again"),
        (
            'struct fact { const char* name; long long value; } facts[] = {{"SW_CONV", 7}, {0, 0}};'
            "int sw_abi(void) { return 8; } struct fact* sw_facts(void) { return facts; }",
            "SW_CONV is 7, expected 2; SW_ALIGN is not there, expected 64; .* more: install Sapwood again",
        ),
    ],
)
def test_a_library_of_another_version_is_named(
    source: str, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs gcc")
    (tmp_path / "other.c").write_text(source)
    other = tmp_path / library.LIBRARY
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(other), str(tmp_path / "other.c")], check=True)
    monkeypatch.setenv("SAPWOOD_ENGINE", str(other))
    with pytest.raises(EngineMissingError, match=message):
        library.library()
