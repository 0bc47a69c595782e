"""Lists of weights, as the library makes them, against a plain loop; what makes no sense is refused."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sapwood.runtime.engine.interface import ENTRY, TapStruct, WeightsStruct
from sapwood.runtime.engine.library import library
from sapwood.runtime.engine.maps import Map
from sapwood.runtime.engine.packing import PlaneGeometry, pack

pytestmark = pytest.mark.usefixtures("engine")


@pytest.mark.parametrize("seed", range(40))
def test_every_weight_is_in_its_list(seed: int) -> None:
    drawn, values = random.Random(seed), np.random.default_rng(seed)
    groups = drawn.choice([1, 1, 2, 3])
    outputs, inputs = groups * drawn.randint(1, 4), drawn.randint(1, 7)
    kernel = drawn.randint(1, 4), drawn.randint(1, 4)
    stride = drawn.randint(1, 3), drawn.randint(1, 3)
    geometry = PlaneGeometry(kernel, stride, (kernel[0] // 2, kernel[1] // 2), (1, drawn.randint(1, 2)))
    weight = values.standard_normal((outputs, inputs, *kernel)).astype(np.float32)
    weight[values.random(weight.shape) < drawn.choice([0.0, 0.5, 0.9, 1.0])] = 0.0
    source = Map(inputs * groups * stride[0] * stride[1], 9, 9, 2, 16, 64, 256)
    packed = pack(weight, source, (9, 9), geometry, groups=groups, lanes=8, rows=2, most_vectors=14,
                  chunk_floats=drawn.choice([50, 200, 10_000]))  # fmt: skip
    wanted: dict[tuple[int, int, int], list[tuple[int, float]]] = defaultdict(list)
    channels = inputs * groups
    at_once = -(-channels // packed.num_chunks)
    moves = {move for _, move in geometry.taps(1)}
    shifted = moves <= {-1, 0, 1} and len(moves) > 1
    for output, channel, row, column in zip(*np.nonzero(weight), strict=True):
        own = int(output) // (outputs // groups) * inputs + int(channel)
        (row_phase, row_move), (column_phase, column_move) = geometry.taps(0)[row], geometry.taps(1)[column]
        plane = (row_phase * stride[1] + column_phase) * channels + own
        kind = {-1: 0, 1: 1}.get(column_move, 2) if shifted else 2
        offset = 4 * (plane * 256 + row_move * 16 + (0 if shifted else column_move))
        wanted[own // at_once, int(output), kind].append((offset, float(weight[output, channel, row, column])))
    assert packed.starts[0] == 0
    assert packed.starts[-1] == len(packed.entries) == np.count_nonzero(weight)
    for number in range(packed.num_chunks * outputs * 3):
        some = packed.entries[packed.starts[number] : packed.starts[number + 1]]
        chunk, output, kind = number // (3 * outputs), number // 3 % outputs, number % 3
        found = list(zip(some["offset"].tolist(), some["value"].tolist(), strict=True))
        assert sorted(found) == sorted(wanted[chunk, output, kind])
        assert found == sorted(found)  # one after the other in memory


def packed_with(change: Callable[[Any], None], room: int = 9) -> int:
    """What the library says of two outputs of two inputs and two taps, all ones, with one thing changed."""
    weight, starts, entries = np.ones((2, 2, 1, 2), np.float32), np.zeros(7, np.int64), np.empty(9, ENTRY)
    taps = (TapStruct * 2)(TapStruct(0, 0, 0, 2), TapStruct(4, 1, 0, 2))
    given = WeightsStruct(weight.ctypes.data, 2, 2, 1, 64, 2, 1, taps, 2)
    change(given)
    return int(library().sw_pack_weights(given, starts.ctypes.data, entries.ctypes.data, room))


def test_there_has_to_be_room() -> None:
    assert [packed_with(lambda _: None, room) for room in (9, 8, 7, 1, 0, -1)] == [8, 8, -1, -1, -1, -1]


@pytest.mark.parametrize("change", [
    {"outputs": 0}, {"outputs": -2}, {"groups": 0}, {"groups": 3}, {"inputs": 0}, {"inputs": -1}, {"at_once": 0},
    {"num_chunks": 0}, {"num_chunks": -1}, {"num_taps": -1},
], ids=str)  # fmt: skip
def test_fields_that_make_no_sense_are_refused(change: dict[str, int]) -> None:
    assert packed_with(lambda given: [setattr(given, name, value) for name, value in change.items()]) == -1


@pytest.mark.parametrize(("name", "value"), [("number", 2), ("number", -1), ("list", 3), ("list", -1)])
def test_taps_that_are_none_are_refused(name: str, value: int) -> None:
    assert packed_with(lambda given: setattr(given.taps[1], name, value)) == -1
