"""A program is not compared twice with its model; whatever is another program, model or machine is compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sapwood.errors import EngineError
from sapwood.runtime import compile as compile_model
from sapwood.runtime.engine import compiled, confirmed, hashing, instruction_set, kept, library, set_instruction_set
from sapwood.runtime.engine.hashing import ContentHash

pytestmark = pytest.mark.usefixtures("engine")


class Net(nn.Module):
    """A convolution, a norm, a table of numbers and one that is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1)
        self.shift, self.factor = torch.rand(4, 1, 1), 2.0
        with torch.no_grad():
            self.last.weight[:, ::2] = 0.0

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.conv(x)).relu()) * self.factor + self.shift


@pytest.fixture
def compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Gets an entry for each comparison."""
    monkeypatch.setenv("SAPWOOD_CACHE", str(tmp_path))
    monkeypatch.setattr(kept, "_warned", set())
    found: list[str] = []
    real = compiled._check
    monkeypatch.setattr(compiled, "_check", lambda *pair: (found.append("compared"), real(*pair)))
    return found


PICTURE = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def run(model: nn.Module, picture: Tensor = PICTURE, threads: int = 1) -> Tensor:
    found: Tensor = compile_model(model.eval(), picture, threads=threads)(picture)
    assert torch.allclose(found, model(picture), atol=1e-5, rtol=1e-4)
    return found


def test_the_same_is_compared_once(compared: list[str]) -> None:
    first, second = run(Net()), run(Net())
    assert len(compared) == 1
    assert torch.equal(first, second)


def one_weight(net: Net) -> None:
    net.conv.weight[7, 2, 2, 2] += 2.0**-20


def one_bit(net: Net) -> None:
    bits = net.last.weight.view(torch.int32)
    bits[3, 7, 0, 0] ^= 1


def a_statistic(net: Net) -> None:
    net.norm.running_mean[3] += 1e-3  # type: ignore[index,operator]


def a_constant(net: Net) -> None:
    net.shift[2] += 1e-3


def the_pattern(net: Net) -> None:
    net.last.weight[0, 1] = 0.0


def the_sign_of_a_zero(net: Net) -> None:
    net.last.weight[0, 0] = -0.0


def weights_in_turn(net: Net) -> None:
    net.last.weight.copy_(net.last.weight[torch.tensor([1, 0, 2, 3])])


def a_number_of_the_code(net: Net) -> None:
    net.factor = 2.5


def the_code(net: Net) -> None:
    net.forward = lambda x: net.last(net.norm(net.conv(x)).relu()) * net.factor - net.shift  # type: ignore[method-assign]


def an_epsilon(net: Net) -> None:
    net.norm.eps = 2e-5


CHANGES = (
    one_weight, one_bit, a_statistic, a_constant, the_pattern, the_sign_of_a_zero, weights_in_turn,
    a_number_of_the_code, the_code, an_epsilon,
)  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda one: one.__name__)
@torch.no_grad()
def test_another_model_is_compared(compared: list[str], change: Callable[[Net], None]) -> None:
    run(Net())
    other = Net()
    change(other)
    run(other)
    assert len(compared) == 2


@torch.no_grad()
def test_another_type_of_weights_or_input_is_compared(compared: list[str]) -> None:
    run(Net())
    half = Net()
    for one in half.parameters():
        one.copy_(one.half().float())
    run(half)
    run(Net(), torch.rand(1, 3, 8, 8))
    run(Net(), torch.rand(1, 3, 8, 9))
    run(Net(), PICTURE.double().float() + 0.0)
    assert len(compared) == 4  # the last one is the first one again


CIRCUMSTANCES: dict[str, tuple[object, str, Any]] = {
    "processor": (confirmed, "processor", lambda: "another one"),
    "code or library": (confirmed, "code", lambda: "another one"),
    "version of the file": (confirmed, "VERSION", 99),
    "threads of PyTorch": (torch, "get_num_threads", lambda: 77),
}


@pytest.mark.parametrize("name", CIRCUMSTANCES)
def test_under_other_circumstances_it_is_compared(
    name: str, compared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(Net())
    monkeypatch.setattr(*CIRCUMSTANCES[name])
    run(Net())
    assert len(compared) == 2


def test_with_another_number_of_threads_it_is_compared(compared: list[str]) -> None:
    run(Net())
    run(Net(), threads=2)
    assert len(compared) == 2


def test_with_another_instruction_set_it_is_compared(compared: list[str]) -> None:
    before = instruction_set()
    run(Net())
    try:
        set_instruction_set("scalar")
        run(Net())
    finally:
        set_instruction_set(before)
    assert len(compared) == (2 if before != "scalar" else 1)


def test_other_tilings_are_another_program(compared: list[str]) -> None:
    picture = PICTURE
    compile_model(Net().eval(), picture, threads=1)
    compile_model(Net().eval(), picture, threads=1, tune=False)
    chosen = [
        compile_model(Net().eval(), picture, threads=1, tune=tune)._assembly.described() for tune in (True, False)
    ]
    assert len(compared) == len({json.dumps(one) for one in chosen})


def test_what_was_found_wrong_is_not_kept(compared: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: object) -> None:
        raise EngineError("wrong")

    with monkeypatch.context() as patch:
        patch.setattr(compiled, "_check", wrong)
        with pytest.raises(EngineError, match="wrong"):
            compile_model(Net().eval(), PICTURE, threads=1)
    run(Net())
    assert len(compared) == 1


class Undecided(nn.Module):
    """Its next operation depends on a value that no call shows."""

    def forward(self, x: Tensor) -> Tensor:
        return x.relu() if x.numpy().sum() > 0 else -x.relu()


def test_a_model_that_looks_at_values_is_run_with_them(compared: list[str]) -> None:
    for sign in (1.0, -1.0, 1.0):
        picture = sign * PICTURE
        assert torch.equal(compile_model(Undecided(), picture, threads=1)(picture), Undecided()(picture))
    assert len(compared) == 4  # two programs, on the example inputs and on other values


@pytest.mark.parametrize("text", ["", "{", "{}", "[1]", '["a", null]'])
def test_a_damaged_file_is_named_and_made_anew(text: str, compared: list[str]) -> None:
    file = confirmed.confirmed_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    with pytest.warns(UserWarning, match="what is needed is tried and remembered anew"):
        run(Net())
    run(Net())
    assert len(compared) == 1
    assert len(json.loads(file.read_text())) == 2, "the program, and that it takes batches"


def test_the_last_ones_are_kept(compared: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirmed, "MOST", 2)
    for count in (1, 2, 3):
        compile_model(nn.Conv2d(3, count, 1).eval(), PICTURE, threads=1)
    assert len(compared) == 3
    assert len(json.loads(confirmed.confirmed_file().read_text())) == 2


def test_operators_of_others_are_compared_each_time(compared: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(confirmed.RULES._owners, "other.op", "a plugin")
    run(Net())
    run(Net())
    assert len(compared) == 2
    assert not confirmed.confirmed_file().exists()


def test_code_that_cannot_be_read_is_no_code(compared: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> str:
        raise FileNotFoundError("gone")

    monkeypatch.setattr(confirmed, "code", gone)
    run(Net())
    run(Net())
    assert len(compared) == 2


def test_the_hash_of_code_covers_library_and_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = hashing.code.__wrapped__()
    source = Path(compiled.__file__)
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: real(path) + b" " * (path == source))
    changed = hashing.code.__wrapped__()
    other = Path(library.library()._name)
    monkeypatch.setattr(Path, "read_bytes", lambda path: real(path) + b" " * (path == other))
    assert len({before, changed, hashing.code.__wrapped__()}) == 3


def hashed(*tensors: Tensor) -> str:
    found = ContentHash()
    for one in tensors:
        found.tensor(one)
    return found.hexdigest()


@pytest.mark.parametrize("size", [1, 2, 3, 15, 16, 17, 31, 32, 33, 100, 257])
def test_each_bit_of_each_number_counts(size: int) -> None:
    torch.manual_seed(size)
    tensor = torch.randn(size)
    bits = tensor.view(torch.int32)
    found = {hashed(tensor)}
    for place in range(size):
        for bit in range(32):
            mask = 1 << bit if bit < 31 else -(1 << 31)
            bits[place] ^= mask
            found.add(hashed(tensor))
            bits[place] ^= mask
    assert len(found) == 1 + 32 * size


def test_sizes_types_order_and_boundaries_count() -> None:
    zeros = [torch.zeros(size) for size in range(40)]
    others = [
        torch.zeros(4, 2), torch.zeros(2, 4), torch.zeros(2, 4).t(), torch.zeros(8, dtype=torch.int32),
        torch.zeros(8, dtype=torch.bfloat16), torch.zeros(4, dtype=torch.complex64), torch.tensor(0.0),
    ]  # fmt: skip
    assert len({hashed(one) for one in (*zeros, *others)}) == len(zeros) + len(others)
    one, other = torch.rand(8), torch.rand(8)
    parts = [(one, other), (other, one), (torch.cat([one, other]),), (torch.cat([other, one]),), (one,), (one, one)]
    assert len({hashed(*some) for some in parts}) == len(parts)
    views = torch.rand(3, 4)
    assert hashed(views[:, 1]) == hashed(torch.rand(3, 4).copy_(views)[:, 1])


def test_blocks_in_another_order_differ() -> None:
    """Blocks of 64 bytes go through one state: what changes places there is another content."""
    torch.manual_seed(0)
    tensor = torch.randn(16 * 24)
    found = {hashed(tensor)}
    for first in range(24):
        for second in range(first):
            order = torch.arange(24)
            order[[first, second]] = order[[second, first]]
            found.add(hashed(tensor.view(24, 16)[order].flatten()))
    assert len(found) == 1 + 24 * 23 // 2


class Reading(nn.Module):
    """Its code makes a number of what it computed, by what is no call."""

    def __init__(self, read: Callable[[Tensor], float]) -> None:
        super().__init__()
        self.conv, self.read = nn.Conv2d(3, 8, 3, padding=1), read

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).relu()
        return x * self.read(x)


@pytest.mark.parametrize(
    "read",
    [
        lambda x: float(x.detach().numpy().mean()),
        lambda x: x.flatten().tolist()[0] + 1.0,
        lambda x: float(x.numpy().max()),
    ],
    ids=["mean of numpy", "tolist", "largest of numpy"],
)
def test_values_that_code_reads_past_the_calls_are_told(read: Callable[[Tensor], float], compared: list[str]) -> None:
    torch.manual_seed(0)
    with pytest.raises(
        EngineError, match=r"away from the model on inputs of other values.*reads values past PyTorch's"
    ):
        run(Reading(read))
    assert compared == ["compared"] * 2


@pytest.mark.parametrize("read", [lambda x: float(x.data_ptr() > 0), lambda x: len(str(x)) * 0.0 + 1.0])
def test_code_that_asks_for_values_and_does_not_use_them_is_compiled(
    read: Callable[[Tensor], float], compared: list[str]
) -> None:
    run(Reading(read))
    assert compared == ["compared"] * 2
