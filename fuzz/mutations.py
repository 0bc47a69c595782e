"""Damage to small documents: bytes anywhere, and values in the place of other values where the form is known.

Every function takes the document and a source of random numbers (``random.Random``, or Hypothesis's, which shrinks).
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

Mutation = Callable[[bytes, Random], bytes]

NUMBERS = (0, 1, -1, 2, 3, 7, 255, 256, 65535, 10**5, 2**31 - 1, 2**31, -(2**31), 2**32, 2**53, 2**63 - 1, 2**63, 2**64)
REALS = (0.5, -0.0, 1e-300, 1e300, float("inf"), float("-inf"), float("nan"), 1e18, 3.0000001)
TEXTS = (
    "", "0", "-1", "a", "x" * 300, "../../etc", "/", ".", "~", "\u0000", "nan", "1e999", "true", "canary:factory",
    "canary", "-o", "--out=x", "{}", "[1]", "Ünï", "a.b.c", "0x10", "1_000", "%s%n", "weight_orig",
    "aten.add.Tensor", "float32",
)  # fmt: skip
LARGEST = 1 << 18


def of_bytes(data: bytes, random: Random) -> bytes:
    """Flips, drops, doubles, moves and overwrites bytes."""
    found = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        start = random.randrange(len(found) + 1)
        end = min(len(found), start + random.choice((1, 1, 2, 4, 8, 64)))
        kind = random.randrange(6)
        if kind == 0 and start < len(found):
            found[start] ^= 1 << random.randrange(8)
        elif kind == 1:
            del found[start:end]
        elif kind == 2:
            found[start:start] = found[start:end] * random.choice((1, 2, 20))
        elif kind == 3:
            found[start:end] = bytes(random.randrange(256) for _ in range(end - start))
        elif kind == 4:
            number = random.choice(NUMBERS) & (2**64 - 1)
            width = random.choice((1, 2, 4, 8))
            order = random.choice(("little", "big"))
            found[start : start + width] = (number % 256**width).to_bytes(width, order)
        elif found:
            other = random.randrange(len(found))
            found[start:start] = found[other : other + random.choice((1, 4, 16, 200))]
    return bytes(found[:LARGEST])


_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


def of_text(data: bytes, random: Random) -> bytes:
    """Numbers become other numbers; words and lines are swapped, dropped, doubled; or bytes change."""
    kind = random.randrange(6)
    if kind == 0:
        return of_bytes(data, random)
    if kind <= 2:
        places = list(_NUMBER.finditer(data))
        if places:
            place = random.choice(places)
            return data[: place.start()] + repr(_number(random)).encode() + data[place.end() :]
    cut = random.choice((b"\n", b" ", b",", b"="))
    parts = data.split(cut)
    first, second = random.randrange(len(parts)), random.randrange(len(parts))
    if kind == 3:
        parts[first] = parts[second]
    elif kind == 4:
        parts[first] = random.choice(TEXTS).encode()
    else:
        parts[first:first] = parts[second : second + random.choice((1, 3))] * random.choice((1, 1, 30))
    return cut.join(parts)[:LARGEST]


def of_json(data: bytes, random: Random) -> bytes:
    """A value of a JSON document becomes another, goes, comes twice, or is nested; or its text changes."""
    if random.random() < 0.15:
        return of_text(data, random)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return of_text(data, random)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        value = changed(value, random)
    return json.dumps(value).encode()[:LARGEST]


def changed(value: Any, random: Random) -> Any:
    """One change somewhere in a value that JSON can hold."""
    holders: list[tuple[Any, Any]] = []
    _collect(value, holders)
    if not holders or random.random() < 0.02:
        return _value(random, value)
    holder, key = random.choice(holders)
    kind = random.randrange(10)
    if kind <= 4:
        holder[key] = _value(random, holder[key])
    elif kind == 5:
        del holder[key]
    elif kind == 6:
        other, there = random.choice(holders)
        holder[key] = json.loads(json.dumps(other[there]))
    elif kind == 7 and isinstance(holder, list):
        holder[key:key] = [holder[key]] * random.choice((1, 2, 100))
    elif kind == 8 and isinstance(holder, dict):
        holder[random.choice(TEXTS)] = _value(random, None)
    else:
        holder[key] = [holder[key]] if random.random() < 0.5 else {"a": holder[key]}
    return value


def _collect(value: Any, holders: list[tuple[Any, Any]]) -> None:
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        holders.append((value, key))
        _collect(value[key], holders)


def _number(random: Random) -> int | float:
    return random.choice((*NUMBERS, *REALS, random.randrange(-5, 70), random.random()))


def _value(random: Random, now: Any) -> Any:
    """A value to put in the place of another; half of the time of the same type."""
    if random.random() < 0.5:
        if isinstance(now, bool):
            return not now
        if isinstance(now, int):
            return now + random.choice((-1, 1, 2, -now, now))
        if isinstance(now, str) and now:
            return now[: random.randrange(len(now))] + random.choice(("", "x", now))
        if isinstance(now, list):
            return now[: random.randrange(len(now) + 1)]
    options: tuple[Any, ...] = (None, True, False, [], {}, [[]], [None], {"a": []}, [0] * 5000)
    return random.choice((random.choice(options), _number(random), random.choice(TEXTS)))


def of_safetensors(data: bytes, random: Random) -> bytes:
    """The header changes as JSON, its length follows; or bytes change."""
    size = int.from_bytes(data[:8], "little")
    if random.random() < 0.3 or not 0 < size <= len(data) - 8:
        return of_bytes(data, random)
    header = of_json(data[8 : 8 + size], random)
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


def of_png(data: bytes, random: Random) -> bytes:
    """A chunk of a PNG changes, its checksum follows; or bytes change."""
    if random.random() < 0.3 or not data.startswith(b"\x89PNG"):
        return of_bytes(data, random)
    chunks, place = [], 8
    while place + 8 <= len(data):
        (size,) = struct.unpack(">I", data[place : place + 4])
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + size]))
        place += size + 12
    if not chunks:
        return of_bytes(data, random)
    number = random.randrange(len(chunks))
    name, body = chunks[number]
    chunks[number] = (name, of_bytes(body, random))
    if random.random() < 0.2:
        chunks.insert(number, random.choice(chunks))
    return data[:8] + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
