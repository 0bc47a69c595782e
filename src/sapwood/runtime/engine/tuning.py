"""Which tiles and chunks are fastest for a convolution on this machine: tried once, then remembered."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import astuple, replace
from functools import cache
from pathlib import Path
from typing import Any

from sapwood.caches import cache_folder
from sapwood.files import keep_json
from sapwood.runtime.cores import processor
from sapwood.runtime.engine.chains import Band, Chain, Tilings
from sapwood.runtime.engine.convolution import CHUNK_FLOATS, COLUMNS, DENSE_CHUNK_FLOATS, Convolution, Tiling, Way
from sapwood.runtime.engine.kept import read_kept, warn_once
from sapwood.runtime.engine.library import instruction_set
from sapwood.runtime.engine.program import Builder, Program

VERSION = 6
"""The version of what is remembered; it changes with the kernels."""

VECTORS = (28, 20, 14, 10, 7, 4)
CHUNKS = (CHUNK_FLOATS // 2, CHUNK_FLOATS, 3 * CHUNK_FLOATS // 2, 2 * CHUNK_FLOATS, 6 * CHUNK_FLOATS, 1 << 30)

PARTS = 20
"""Convolutions are told apart by how many such parts of their weights are not zero."""

WORTH_DENSE = 6
"""The parts from which dense blocks are tried: what is tried follows from what is told apart."""

DENSE_VECTORS = (28, 14, 7)
DENSE_CHUNKS = (CHUNK_FLOATS, DENSE_CHUNK_FLOATS, 1 << 30)

RUNS = 3
"""Runs of each candidate; the fastest counts."""


class Tuner:
    """Finds tilings.

    Args:
        threads: Of a call.
        path: Where they are remembered; the user's cache folder unless given.
        file: Where the network was read: it may not ask for more memory than the limit on files.
    """

    def __init__(self, threads: int, path: Path | None = None, file: str | None = None) -> None:
        self._threads, self._file = threads, file
        self._path = path or cache_file()
        self._known = _read(self._path)
        self._new: dict[str, list[int]] = {}

    def tiling(self, convolution: Convolution) -> Tiling:
        """The fastest tiling of a convolution: remembered, or tried now.

        What is remembered is taken only if it is one of those that are tried: the file may say anything.
        """
        key = self._key(convolution)
        if key in self._known:
            rows, chunk_floats, way = self._known[key]
            found = Tiling(rows, chunk_floats, Way(way))
            if found in set(_candidates(convolution, Builder())):
                return found
            warn_once(self._path, f"a tiling of {found.rows} rows and {found.chunk_floats} floats that is never tried")
        best = _fastest(convolution, self._threads, self._file)
        self._known[key] = self._new[key] = [int(number) for number in astuple(best)]
        return best

    def band(self, chain: Chain) -> Band | None:
        """How a chain goes where it is fastest; None where its operations one after the other are."""
        tilings = self.tilings(chain)
        dense = chain.first is not None and _density(chain.first) >= WORTH_DENSE
        key, candidates = self._chain_key(chain), [None, *chain.bands(dense=dense)]
        if key in self._known:
            rows, one, way = self._known[key]
            found = Band(rows - 1, Way(way)) if rows > 1 else None
            if found in candidates and one == 1:
                return found
            warn_once(self._path, f"a chain of {rows - 1} rows that is never tried")
        programs = []
        for band in candidates:
            builder = Builder(self._file)
            moved = chain.elsewhere(builder)
            if band:
                moved.add(builder, band, tilings)
            else:
                moved.apart(builder, tilings)
            programs.append(builder.build())
        best = candidates[_fastest_of(programs, self._threads)]
        self._known[key] = self._new[key] = [1 + best.rows, 1, int(best.way)] if best else [1, 1, 0]
        return best

    def tilings(self, chain: Chain) -> Tilings:
        """Those of a chain's convolutions, each by itself."""
        return (
            None if chain.first is None else self.tiling(chain.first),
            None if chain.last is None else self.tiling(chain.last),
        )

    def save(self) -> None:
        """Remembers what was tried; a folder that cannot be written is a warning."""
        if self._new:
            keep_json(self._path, _read(self._path) | self._new)

    def _chain_key(self, chain: Chain) -> str:
        window = chain.depthwise.spec
        geometry, source, out = window.geometry, chain.depthwise.source, chain.depthwise.out
        moves = (*geometry.stride, *geometry.padding, *geometry.dilation)
        shape = (*window.weight.shape, *moves, source.height, source.width, source.pitch, out.height, out.pitch)
        density = round(PARTS * float((window.weight != 0).mean()))
        ends = [self._key(one) if one else "" for one in (chain.first, chain.last)]
        return " ".join(map(str, ("chain", ends[0], "|", *shape, density, "|", ends[1])))

    def _key(self, convolution: Convolution) -> str:
        spec = convolution.spec
        shape = (*spec.weight.shape, spec.groups, *spec.geometry.stride, *spec.geometry.dilation, *convolution.size)
        layout = (convolution.source.pitch, int(convolution.phased))
        return " ".join(
            map(str, (_processor(), instruction_set(), self._threads, *shape, *layout, _density(convolution)))
        )


@cache
def _processor() -> str:
    """A short name of this processor: one folder may serve several machines."""
    return hashlib.sha256(processor().encode()).hexdigest()[:8]


def _density(convolution: Convolution) -> int:
    """How many parts of the weights are not zero."""
    return round(PARTS * convolution.density)


def cache_file() -> Path:
    """``engine-N.json`` in the folder of :func:`sapwood.caches.cache_folder`."""
    return cache_folder() / f"engine-{VERSION}.json"


def _read(path: Path) -> dict[str, list[int]]:
    return read_kept(path, "tilings that were found to be fastest", "triples of whole numbers", _tilings)


def _tilings(found: Any) -> dict[str, list[int]]:
    return {key: value for key, value in found.items() if _is_tiling(value)} if isinstance(found, dict) else {}


def _is_tiling(value: object) -> bool:
    if not isinstance(value, list) or len(value) != 3 or any(type(one) is not int for one in value):
        return False
    return min(value[:2]) > 0 and value[2] in set(Way)


def _candidates(convolution: Convolution, builder: Builder) -> Iterator[Tiling]:
    """Lists of single weights, each once; then dense blocks where so many weights are left that they may be faster."""
    dense = _density(convolution) >= WORTH_DENSE and convolution.may_be_dense(builder)
    found = dict.fromkeys(
        convolution.tiling(builder, vectors, chunk_floats) for vectors in VECTORS for chunk_floats in CHUNKS
    )
    if dense and convolution.may_be_columns:
        found[COLUMNS] = None
    if dense:
        found |= dict.fromkeys(
            convolution.tiling(builder, vectors, chunk_floats, way=Way.BLOCKS)
            for vectors in DENSE_VECTORS
            for chunk_floats in DENSE_CHUNKS
        )
    yield from found


def _fastest(convolution: Convolution, threads: int, file: str | None = None) -> Tiling:
    """Of lists tiles first, at the usual chunk; then chunks at the best tile, and dense blocks."""
    base = convolution.tiling(Builder())
    tilings = list(_candidates(convolution, Builder()))
    lists = [tiling for tiling in tilings if not tiling.dense]
    first = [tiling for tiling in lists if tiling.chunk_floats == CHUNK_FLOATS] or [base]
    rows = _best(convolution, first, threads, file).rows
    second = [tiling for tiling in tilings if tiling.dense or tiling.rows == rows] or [base]
    return _best(convolution, second, threads, file)


def _best(convolution: Convolution, tilings: list[Tiling], threads: int, file: str | None) -> Tiling:
    if len(tilings) == 1:
        return tilings[0]
    return tilings[_fastest_of([_alone(convolution, tiling, file) for tiling in tilings], threads)]


def _fastest_of(programs: list[Program], threads: int) -> int:
    times = [float("inf")] * len(programs)
    for _ in range(RUNS):
        for number, program in enumerate(programs):
            start = time.perf_counter()
            program.run((), (), threads)
            times[number] = min(times[number], time.perf_counter() - start)
    return times.index(min(times))


def _alone(convolution: Convolution, tiling: Tiling, file: str | None) -> Program:
    """The convolution by itself, on zeros."""
    builder = Builder(file)
    source, out = (
        builder.map(one.channels, one.height, one.width, margin=one.margin, pitch=one.pitch)
        for one in (convolution.source, convolution.out)
    )
    replace(convolution, source=source, out=out, other=None).add(builder, tiling)
    return builder.build()
