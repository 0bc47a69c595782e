"""What a compiled model and a sparse convolution may be called with, copied to, and taken into another process."""

from __future__ import annotations

import copy
import io
import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sapwood.errors import EngineError
from sapwood.runtime import CompiledModel, SparseConv2d, load
from sapwood.runtime import compile as compile_model
from sapwood.runtime.engine.pictures import picture as taken
from sapwood.runtime.engine.program import Program

pytestmark = pytest.mark.usefixtures("engine")

WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)
FLOATS = (torch.float64, torch.float16, torch.bfloat16)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()


@pytest.fixture(scope="module")
def compiled() -> CompiledModel:
    return compile_model(network(), torch.zeros(1, 3, 8, 10), threads=2, tune=False)


@pytest.fixture(scope="module")
def loaded(compiled: CompiledModel, tmp_path_factory: pytest.TempPathFactory) -> CompiledModel:
    return load(compiled.save(tmp_path_factory.mktemp("calls") / "saved"), threads=2, tune=False)


# --- types -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*WHOLE, torch.complex64], ids=str)
def test_other_types_are_refused(dtype: torch.dtype, compiled: CompiledModel, loaded: CompiledModel) -> None:
    """A picture as uint8 is the commonest mistake: it was read as floats, beyond its end."""
    given = torch.ones(1, 3, 8, 10).to(dtype)
    for one in (compiled, loaded):
        with pytest.raises(EngineError, match=f"input 0 is of {dtype}; compiled for torch.float32"):
            one(given)
        with pytest.raises(EngineError, match=f"input 0 is of {dtype}; compiled for torch.float32"):
            one.timed(given)
    sparse = SparseConv2d(nn.Conv2d(3, 4, 3))
    with pytest.raises(EngineError, match=f"an input of {dtype}; expected a floating-point tensor of shape"):
        sparse(given)
    with pytest.raises(EngineError, match=f"{dtype}"):
        torch.ops.sapwood.sparse_conv2d(given, sparse._number)


def test_pixels_are_told_what_to_do(compiled: CompiledModel) -> None:
    pixels = torch.zeros(1, 3, 8, 10, dtype=torch.uint8)
    for one in (compiled, SparseConv2d(nn.Conv2d(3, 4, 3))):
        with pytest.raises(EngineError, match=r"numbers of pixels are brought there by `picture.float\(\) / 255`"):
            one(pixels)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_other_floats_are_converted(dtype: torch.dtype, compiled: CompiledModel) -> None:
    given = torch.randn(2, 3, 8, 10).to(dtype)
    assert torch.equal(compiled(given), compiled(given.float()))
    sparse = SparseConv2d(nn.Conv2d(3, 4, 3))
    assert torch.equal(sparse(given), sparse(given.float()).to(dtype))


class Looked(nn.Module):
    """Numbers of words, and a picture of bytes that the model itself brings to floats."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.conv = nn.Embedding(10, 4), nn.Conv2d(3, 4, 3)

    def forward(self, words: Tensor, pixels: Tensor) -> Tensor:
        return self.conv(pixels.float() / 255).mean((2, 3)) + self.table(words).sum(1)


def test_types_are_those_of_the_examples(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Looked().eval()
    words, pixels = torch.randint(10, (1, 5)), torch.randint(256, (1, 3, 8, 8)).to(torch.uint8)
    ours = compile_model(model, (words, pixels), threads=1, tune=False)
    for one in (ours, load(ours.save(tmp_path / "saved"), threads=1, tune=False)):
        assert torch.allclose(one(words, pixels), model(words, pixels).detach(), atol=1e-5)
        assert torch.equal(one(words.int(), pixels), one(words, pixels))  # every int32 is an int64
        with pytest.raises(EngineError, match=r"input 1 is of torch.float32; compiled for torch.uint8"):
            one(words, pixels.float())
        with pytest.raises(EngineError, match=r"input 0 is of torch.float32; compiled for torch.int64"):
            one(words.float(), pixels)
        with pytest.raises(EngineError, match=r"input 1 is of torch.int16; compiled for torch.uint8"):
            one(words, pixels.short())
        assert "PyTorch" in one.explain()


def test_models_of_doubles_stay_so() -> None:
    model = nn.Sequential(nn.Linear(4, 3)).double().eval()
    given = torch.randn(2, 4, dtype=torch.float64)
    ours = compile_model(model, given, threads=1)
    assert torch.allclose(ours(given), model(given).detach(), rtol=1e-12)
    assert ours(given.float()).dtype is torch.float64
    half = compile_model(nn.ReLU(), torch.zeros(1, 3, dtype=torch.float16), threads=1)
    with pytest.raises(EngineError, match=r"input 0 is of torch.float32; compiled for torch.float16"):
        half(torch.zeros(1, 3))


@pytest.mark.parametrize(("inputs", "message"), [
    ((), r"0 inputs; compiled for 1: batches of \[\(3, 8, 10\)\]"),
    ((None,), "input 0 is of type NoneType; expected a tensor"),
    (([torch.zeros(1, 3, 8, 10)],), "input 0 is of type list; expected a tensor"),
    ((np.zeros((1, 3, 8, 10), np.float32),), "input 0 is of type ndarray; expected a tensor"),
    (("picture.jpg",), "input 0 is of type str; expected a tensor"),
    ((torch.zeros(1, 3, 8, 10),) * 2, "2 inputs; compiled for 1"),
    ((torch.tensor(1.0),), r"inputs of shapes \[\(\)\]; compiled for batches of \[\(3, 8, 10\)\]"),
    ((torch.zeros(0, 3, 8, 10),), r"inputs of shapes \[\(0, 3, 8, 10\)\]; compiled for batches"),
    ((torch.zeros(3, 8, 10),), r"inputs of shapes \[\(3, 8, 10\)\]; compiled for batches"),
    ((torch.zeros(1, 3, 8, 10, device="meta"),), "input 0 is a tensor of kind meta; expected a dense one"),
    ((torch.zeros(1, 3, 8, 10).to_sparse(),), "input 0 is a tensor of kind torch.sparse_coo; expected a dense one"),
], ids=str)  # fmt: skip
def test_what_is_no_batch_of_pictures_is_refused(
    inputs: tuple[Any, ...], message: str, compiled: CompiledModel
) -> None:
    with pytest.raises(EngineError, match=message):
        compiled(*inputs)


@pytest.mark.parametrize("given", [None, [torch.zeros(1, 3, 8, 8)], np.zeros((1, 3, 8, 8), np.float32)], ids=str)
def test_a_convolution_takes_tensors(given: Any) -> None:
    with pytest.raises(EngineError, match=f"an input of type {type(given).__name__}; expected a floating-point tensor"):
        SparseConv2d(nn.Conv2d(3, 4, 3))(given)


def test_numbers_whose_sign_is_a_flag_are_read_right(compiled: CompiledModel) -> None:
    flagged = torch.conj(torch.randn(1, 3, 8, 10, dtype=torch.complex64)).imag
    assert flagged.is_neg()
    assert torch.equal(compiled(flagged), compiled(flagged.resolve_neg().clone()))


class Flagged(nn.Module):
    """A call of PyTorch whose result is such a one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(torch.conj(torch.fft.fft(x)).imag)


def test_signs_of_what_pytorch_made() -> None:
    torch.manual_seed(0)
    model, given = Flagged().eval(), torch.randn(1, 3, 8, 10)
    assert torch.allclose(compile_model(model, given, threads=1)(given), model(given).detach(), atol=1e-4)


def test_subclasses_of_tensors_are_read() -> None:
    from torchvision.tv_tensors import Image

    ours, given = compile_model(network(), torch.zeros(1, 3, 8, 10), threads=1), torch.randn(1, 3, 8, 10)
    assert torch.equal(ours(Image(given)), ours(given))


@pytest.mark.parametrize("tensor", [
    torch.zeros(4, dtype=torch.int32), torch.zeros(4, dtype=torch.float64), torch.zeros(4, 4).T[1:],
    torch.zeros(4, device="meta"), torch.zeros(0),
], ids=str)  # fmt: skip
def test_no_address_is_taken_of_anything_else(tensor: Tensor) -> None:
    with pytest.raises(EngineError, match="a picture"):
        taken(tensor)


def test_sizes_are_compared_where_the_address_goes(compiled: CompiledModel) -> None:
    program = compiled._assembly.parts[0]._crew.first  # type: ignore[union-attr]
    with pytest.raises(
        EngineError, match=r"pictures of \[239, 320\] numbers; expected those that the program was made for"
    ):
        program.run([torch.zeros(239)], [torch.zeros(320)], 1)
    with pytest.raises(EngineError, match=r"pictures of \[240\] numbers"):
        program.run([torch.zeros(240)], [], 1)


def test_traces_are_refused(compiled: CompiledModel) -> None:
    for one in (compiled, SparseConv2d(nn.Conv2d(3, 4, 3)).eval(), nn.Sequential(compiled)):
        with pytest.raises(EngineError, match=r"torch.jit.trace cannot record a (compiled model|sparse convolution)"):
            traced(one)


def traced(model: nn.Module) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions warn of all tracing
        torch.jit.trace(model, torch.zeros(1, 3, 8, 10))


# --- copies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copies_give_the_same(copied: Any, compiled: CompiledModel, loaded: CompiledModel, tmp_path: Path) -> None:
    given = torch.randn(2, 3, 8, 10)
    for number, one in enumerate((compiled, loaded)):
        twin = copied(one)
        assert type(twin) is CompiledModel
        assert torch.equal(twin(given), one(given))
        assert torch.equal(load(twin.save(tmp_path / str(number)), threads=1, tune=False)(given), one(given))
        del twin
        assert one(given).shape == (2, 4, 8, 10)
    inside = copied(nn.Sequential(compiled, nn.ReLU()))
    assert torch.equal(inside(given), compiled(given).relu())


def test_a_deep_copy_has_memory_of_its_own() -> None:
    one = compile_model(network(), torch.zeros(1, 3, 8, 10), threads=2, tune=False)
    pictures = torch.randn(2, 1, 3, 8, 10)
    wanted = [one(picture) for picture in pictures]
    both = [one, copy.deepcopy(one)]
    assert both[0]._assembly.parts[0]._crew.first is not both[1]._assembly.parts[0]._crew.first  # type: ignore[union-attr]
    equal: list[bool] = []

    def run(number: int) -> None:
        equal.extend(torch.equal(both[number](pictures[number]), wanted[number]) for _ in range(100))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert equal == [True] * 200
    del one, both[0]
    assert torch.equal(both[0](pictures[0]), wanted[0])


def test_pickles_say_how_to_save(compiled: CompiledModel) -> None:
    for act in (pickle.dumps, lambda one: torch.save(one, io.BytesIO()), lambda one: pickle.dumps(nn.Sequential(one))):
        with pytest.raises(
            EngineError, match=r"write it with .save\(directory\), and read it with sapwood.runtime.load"
        ):
            act(compiled)


def test_a_pickled_convolution_is_its_own() -> None:
    """The number by which the operator finds it is not that of another one."""
    one, given = SparseConv2d(nn.Conv2d(3, 4, 3)).eval(), torch.randn(1, 3, 8, 10)
    wanted = one(given)
    data = pickle.dumps(one)
    twin = pickle.loads(data)
    assert twin._number != one._number
    assert not twin.training
    assert torch.equal(twin(given), wanted)
    del one
    assert torch.equal(twin(given), wanted)
    assert torch.equal(copy.copy(twin)(given), wanted)


def test_what_has_changed_since_it_was_loaded_is_not_saved_elsewhere(tmp_path: Path) -> None:
    folder = compile_model(network(), torch.zeros(1, 3, 8, 10), threads=1, tune=False).save(tmp_path / "saved")
    loaded = load(folder, threads=1, tune=False)
    compile_model(nn.ReLU(), torch.zeros(1, 2, 4, 4), threads=1, tune=False).save(folder)
    with pytest.raises(EngineError, match="has changed since it was loaded"):
        loaded.save(tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


# --- fork ------------------------------------------------------------------------------------------------------------

FORK = """
import os, sys, threading
import torch
from torch import nn
from sapwood.runtime import SparseConv2d, compile as compile_model
torch.set_num_threads(1)
model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 16, 3, stride=2)).eval()
picture, size = torch.randn(1, 3, 64, 64), torch.randn(1, 3, 40, 40)
compiled, sparse = compile_model(model, picture, threads=3, tune=False), SparseConv2d(nn.Conv2d(3, 4, 3), threads=3)
wanted, convolved = compiled(picture), sparse(picture)
busy = sys.argv[1] == "busy"
ending = threading.Event()

def call():
    while not ending.is_set():
        compiled(picture)

caller = threading.Thread(target=call)
if busy:
    caller.start()
for todo in ("drop", "run", "exit") * (4 if busy else 1):
    child = os.fork()
    if child == 0:
        if todo == "drop":
            del compiled
        if todo == "run":
            assert all(torch.equal(compiled(picture), wanted) for _ in range(3))
            assert torch.equal(sparse(picture), convolved)
            sparse(size)  # compiled here
            grandchild = os.fork()
            assert torch.equal(compiled(picture), wanted)
            if grandchild:
                assert os.waitpid(grandchild, 0)[1] == 0
        if busy:
            os._exit(0)
        sys.exit(0)
    status = os.waitpid(child, 0)[1]
    assert status == 0, status
ending.set()
if busy:
    caller.join()
assert torch.equal(compiled(picture), wanted)
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("busy", ["idle", "busy"])
def test_children_of_fork(busy: str) -> None:
    """The parent's threads are not in the child, and its locks may be held there by nobody."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK, busy]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (run.returncode, run.stdout.strip()) == (0, "done"), run.stderr[-2000:]


# --- batches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7])
def test_a_batch_over_threads_is_its_pictures_one_by_one(threads: int, count: int) -> None:
    ours = compile_model(network(), torch.zeros(1, 3, 8, 10), threads=threads, tune=False)
    batch = torch.randn(count, 3, 8, 10)
    wanted = torch.cat([ours(batch[number : number + 1]) for number in range(count)])
    for _ in range(3):
        assert torch.equal(ours(batch), wanted)
    assert torch.equal(ours(batch.flip(0)), wanted.flip(0))


def test_pictures_go_to_copies_that_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = compile_model(network(), torch.zeros(1, 3, 8, 10), threads=2, tune=False)
    ran: list[tuple[object, int]] = []
    run = Program.run_at

    def watched(self: Program, given: Any, wanted: Any, threads: int, times: Any = None) -> int:
        ran.append((self, threads))
        return run(self, given, wanted, threads, times)

    monkeypatch.setattr(Program, "run_at", watched)
    ours(torch.randn(1, 3, 8, 10))
    assert [threads for _, threads in ran] == [2]
    before = ours.num_bytes
    ours(torch.randn(5, 3, 8, 10))
    assert sorted(threads for _, threads in ran[1:]) == [1, 1, 1, 1, 2]
    assert ours.num_bytes > before


def test_what_fails_in_a_thread_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = compile_model(network(), torch.zeros(1, 3, 8, 10), threads=2, tune=False)
    ours(torch.randn(2, 3, 8, 10))
    copies = ours._assembly.parts[0]._crew._programs  # type: ignore[union-attr]
    run = Program.run

    def failing(self: Program, inputs: Any, outputs: Any, threads: int) -> None:
        if self is copies[1]:
            raise EngineError("no memory")
        time.sleep(0.01)  # so that the other one takes a picture
        run(self, inputs, outputs, threads)

    monkeypatch.setattr(Program, "run", failing)
    with pytest.raises(EngineError, match="no memory"):
        ours(torch.randn(6, 3, 8, 10))


def test_batches_from_several_threads_at_once() -> None:
    ours = compile_model(network(), torch.zeros(1, 3, 8, 10), threads=2, tune=False)
    batches = torch.randn(4, 6, 3, 8, 10)
    wanted = [ours(batch) for batch in batches]
    equal: list[bool] = []

    def call(number: int) -> None:
        equal.extend(torch.equal(ours(batches[number]), wanted[number]) for _ in range(20))

    callers = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert equal == [True] * 80
