"""Which tiles and chunks are fastest for a convolution on this machine: tried once, then remembered."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import astuple, replace
from pathlib import Path

from sapwood.files import keep_json
from sapwood.runtime.engine.convolution import CHUNK_FLOATS, Convolution, Tiling
from sapwood.runtime.engine.library import instruction_set
from sapwood.runtime.engine.program import Builder, Program

VERSION = 2
"""Of what is remembered: changes with the kernels."""

VECTORS = (28, 20, 14, 10, 7, 4)
CHUNKS = (CHUNK_FLOATS // 2, CHUNK_FLOATS, 3 * CHUNK_FLOATS // 2, 2 * CHUNK_FLOATS, 6 * CHUNK_FLOATS, 1 << 30)

RUNS = 3
"""Of each candidate, the fastest counts."""


class Tuner:
    """Finds tilings.

    Args:
        threads: Of a call.
        path: Where they are remembered; the user's cache folder unless given.
    """

    def __init__(self, threads: int, path: Path | None = None) -> None:
        self._threads = threads
        self._path = path or cache_file()
        self._known = _read(self._path)
        self._new: dict[str, list[int]] = {}

    def tiling(self, convolution: Convolution) -> Tiling:
        """The fastest tiling of a convolution: remembered, or tried now."""
        key = self._key(convolution)
        if key not in self._known:
            best = _fastest(convolution, self._threads)
            self._known[key] = self._new[key] = list(astuple(best))
        rows, chunk_floats = self._known[key]
        return Tiling(rows, chunk_floats)

    def save(self) -> None:
        """Remembers what was tried; a folder that cannot be written is a warning."""
        if self._new:
            keep_json(self._path, _read(self._path) | self._new)

    def _key(self, convolution: Convolution) -> str:
        spec = convolution.spec
        density = round(20.0 * float((spec.weight != 0).mean()))
        shape = (*spec.weight.shape, spec.groups, *spec.geometry.stride, *spec.geometry.dilation, *convolution.size)
        layout = (convolution.source.pitch, int(convolution.phased))
        return " ".join(map(str, (instruction_set(), self._threads, *shape, *layout, density)))


def cache_file() -> Path:
    """``sapwood/engine-N.json`` in the user's cache folder (``XDG_CACHE_HOME``, else ``~/.cache``)."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return folder / "sapwood" / f"engine-{VERSION}.json"


def _read(path: Path) -> dict[str, list[int]]:
    """What is remembered; nothing where the file is missing or damaged."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        key: value
        for key, value in found.items()
        if isinstance(value, list) and len(value) == 2 and all(type(one) is int and one > 0 for one in value)
    }


def _candidates(convolution: Convolution, builder: Builder) -> Iterator[Tiling]:
    seen = set()
    for vectors in VECTORS:
        for chunk_floats in CHUNKS:
            tiling = convolution.tiling(builder, vectors, chunk_floats)
            if tiling not in seen:
                seen.add(tiling)
                yield tiling


def _fastest(convolution: Convolution, threads: int) -> Tiling:
    """Tiles first, at the usual chunk; then chunks at the best tile."""
    base = convolution.tiling(Builder())
    tilings = list(_candidates(convolution, Builder()))
    first = [tiling for tiling in tilings if tiling.chunk_floats == CHUNK_FLOATS] or [base]
    rows = _best(convolution, first, threads).rows
    return _best(convolution, [tiling for tiling in tilings if tiling.rows == rows] or [base], threads)


def _best(convolution: Convolution, tilings: list[Tiling], threads: int) -> Tiling:
    if len(tilings) == 1:
        return tilings[0]
    programs = [_alone(convolution, tiling) for tiling in tilings]
    times = [float("inf")] * len(programs)
    for _ in range(RUNS):
        for number, program in enumerate(programs):
            start = time.perf_counter()
            program.run((), (), threads)
            times[number] = min(times[number], time.perf_counter() - start)
    return tilings[times.index(min(times))]


def _alone(convolution: Convolution, tiling: Tiling) -> Program:
    """The convolution by itself, on zeros."""
    builder = Builder()
    source, out = (
        builder.map(one.channels, one.height, one.width, margin=one.margin, pitch=one.pitch)
        for one in (convolution.source, convolution.out)
    )
    replace(convolution, source=source, out=out, other=None).add(builder, tiling)
    return builder.build()
