"""Lists of weights, as the library makes them, against a plain loop; what makes no sense is refused."""

from __future__ import annotations

import copy
import gc
import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sapwood.runtime import compile as compile_model
from sapwood.runtime import load
from sapwood.runtime.engine.blocks import pack_blocks
from sapwood.runtime.engine.encoding import squeezed
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


@pytest.mark.parametrize("seed", range(20))
def test_dense_blocks_hold_each_weight(seed: int) -> None:
    drawn, values = random.Random(seed), np.random.default_rng(seed)
    groups, block = drawn.choice([1, 1, 2, 3]), drawn.choice([6, 8])
    of_group, inputs = drawn.randint(1, 20), drawn.randint(1, 7)
    kernel = drawn.randint(1, 3), drawn.randint(1, 3)
    geometry = PlaneGeometry(kernel, (1, 1), (kernel[0] // 2, kernel[1] // 2))
    weight = values.standard_normal((groups * of_group, inputs, *kernel)).astype(np.float32)
    weight[values.random(weight.shape) < drawn.choice([0.0, 0.5, 0.95, 1.0])] = 0.0
    source = Map(inputs * groups, 9, 9, 2, 16, 64, 256)
    packed = pack_blocks(weight, source, 9, geometry, groups=groups, lanes=8, rows=2, most_vectors=14, block=block,
                         chunk_floats=drawn.choice([50, 200, 10_000]))  # fmt: skip
    blocks, at_once = -(-of_group // block), -(-inputs // packed.num_chunks)
    at = 0
    for number in range(packed.num_chunks * groups):
        chunk, group = divmod(number, groups)
        some = packed.entries["offset"][packed.starts[number] : packed.starts[number + 1]]
        own = weight.reshape(groups, of_group, inputs, *kernel)[group]
        for first in range(0, blocks * block, block):
            for offset in some.tolist():
                plane, place = divmod(offset // 4 + 40, 256)
                row, column = divmod(place - 40 + 2 * 16 + 8, 16)
                taps = own[first : first + block, plane - group * inputs, row - 2 + kernel[0] // 2]
                wanted = np.zeros(block, np.float32)
                wanted[: len(taps)] = taps[:, column - 8 + kernel[1] // 2]
                assert packed.weights[at : at + block].tolist() == wanted.tolist()
                assert chunk == (plane - group * inputs) // at_once
                at += block
    assert at == len(packed.weights)
    assert len(packed.entries) == np.count_nonzero(np.any(weight.reshape(groups, of_group, -1), axis=1))


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 64, 1000])
def test_squeezed_is_what_numpy_makes(size: int) -> None:
    values = np.random.default_rng(size).standard_normal(size).astype(np.float32)
    values[::3], values[1::5] = 0.0, -0.0
    values[2::7] = np.float32(1e-45)
    mask, kept = squeezed(values, np.count_nonzero(values))
    assert mask.tolist() == np.packbits(values != 0).tolist()
    assert kept.tolist() == values[values != 0].tolist()


class LargeLayers(nn.Module):
    """Weights of megabytes, with zeros and without, and a table."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.sparse, self.dense = nn.Embedding(1200, 1100), nn.Linear(1100, 1100), nn.Linear(1100, 1100)
        with torch.no_grad():
            self.sparse.weight[torch.rand(1100, 1100) < 0.42] = 0.0
            self.sparse.weight[:, 5] = 0.0

    def forward(self, places: Tensor) -> Tensor:
        return self.dense(self.sparse(self.table(places)).relu())


@pytest.mark.parametrize("zeros", [0.0, 0.2])
def test_large_arrays_stay_as_they_were(zeros: float, tmp_path: Path) -> None:
    model, places = LargeLayers().eval(), torch.randint(1200, (1, 20))
    with torch.no_grad():
        model.table.weight[torch.rand(1200, 1100) < zeros] = 0.0
        wanted = model(places)
        compiled = compile_model(model, places, threads=1, tune=False)
        twin = copy.deepcopy(compiled)
        for one in model.parameters():
            one.fill_(float("nan"))
    compiled.save(tmp_path / "saved")
    held = compiled.num_bytes
    found = [compiled(places), twin(places)]
    del compiled, model
    gc.collect()
    found += [twin(places), load(tmp_path / "saved", threads=1, tune=False)(places)]
    assert held > 4 * 3 * 1100 * 1100
    for one in found:
        assert torch.allclose(one, wanted, rtol=1e-4, atol=1e-5)
