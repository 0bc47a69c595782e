"""Who runs what: decided by times, which are made up here, and remembered; PyTorch's side gives the same numbers."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapwood.runtime import RUNTIME, load
from sapwood.runtime import compile as compile_model
from sapwood.runtime.engine import choice, clock, deciding, kept, remembered
from sapwood.runtime.engine.assembly import Assembly, CallsPart, ProgramPart, Sides
from sapwood.runtime.engine.cheapest import CALL_MS, FLOAT_MS, cheapest
from sapwood.runtime.engine.choice import ENGINE, MIXED, PYTORCH, SidesChoice, choose, movable
from sapwood.runtime.engine.clock import AssemblyClock
from sapwood.runtime.engine.nodes import LINEAR, Combine, Conv, Input, Network, Outside, Pointwise, Value
from sapwood.runtime.engine.packing import ConvSpec, PlaneGeometry
from sapwood.runtime.engine.planning import Step
from sapwood.runtime.engine.rules import lower
from sapwood.runtime.sparse_engine import EngineSession

pytestmark = pytest.mark.usefixtures("engine")


class MadeClock(AssemblyClock):
    """Says what each node takes: ``own`` on the engine, ``theirs`` in PyTorch; a whole is the sum of its nodes."""

    def __init__(self, own: Mapping[Value, float], theirs: Mapping[Value, float], last: float = 1.0) -> None:
        super().__init__(lambda _: pytest.fail("assembled"), ())
        self.own, self.theirs, self.last = own, theirs, last

    def nodes(self, sides: Sides) -> Mapping[Value, float]:
        factor = self.last if sides.channels_last else 1.0
        return {value: factor * time for value, time in self.theirs.items()} if sides.moved else self.own

    def wholes(self, candidates: Sequence[Sides]) -> Sequence[float]:
        return [
            sum(self.nodes(sides)[value] if value in sides.moved else self.own[value] for value in self.own)
            for sides in candidates
        ]


def chain(count: int = 3) -> Network:
    """Activations one after the other."""
    steps = [Input(0, (), "", 0), *(Pointwise(number, (number - 1,), "", LINEAR) for number in range(1, count + 1))]
    return Network(list(steps), dict.fromkeys(range(count + 1), (8, 4, 4)), [(count, (1, 8, 4, 4))])


# --- deciding --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("own", "theirs", "taken", "moved"), [
    ([1, 1, 1], [2, 2, 2], ENGINE, set()),
    ([2, 2, 2], [1, 1, 1], PYTORCH, {1, 2, 3}),
    ([2, 2, 2], [1.98, 1.98, 1.98], ENGINE, set()),
    ([1, 1, 9], [2, 2, 1], MIXED, {3}),
    ([9, 1, 1], [1, 9, 9], MIXED, {1}),
    ([1, 1, 1.03], [3, 3, 1], ENGINE, set()),
])  # fmt: skip
def test_the_fastest_is_taken(own: list[float], theirs: list[float], taken: str, moved: set[Value]) -> None:
    found = choose(chain(), MadeClock(dict(zip((1, 2, 3), own)), dict(zip((1, 2, 3), theirs))))  # noqa: B905
    assert (found.taken, found.sides.moved) == (taken, moved)
    assert found.nodes[3] == (own[2], theirs[2])


def convolved(kernel: int, height: int) -> Network:
    """A convolution, and an activation behind it."""
    spec = ConvSpec(np.ones((8, 8, kernel, 1), np.float32), np.zeros(8, np.float32), PlaneGeometry((kernel, 1)))
    steps = [Input(0, (), "", 0), Conv(1, (0,), "", spec), Pointwise(2, (1,), "", LINEAR)]
    return Network(list(steps), dict.fromkeys(range(3), (8, height, 4)), [(2, (1, 8, height, 4))])


@pytest.mark.parametrize(("network", "last", "kept"), [
    (convolved(1, 4), 0.5, True), (convolved(1, 4), 1.5, False),
    (convolved(2, 1), 0.5, True),
    (convolved(1, 1), 0.5, False),  # a linear layer: it is all the same to PyTorch
    (chain(), 0.5, False),
])  # fmt: skip
def test_channels_are_kept_last_where_that_is_faster(network: Network, last: float, kept: bool) -> None:
    found = choose(network, MadeClock(dict.fromkeys((1, 2, 3), 9.0), dict.fromkeys((1, 2, 3), 1.0), last))
    assert found.taken == PYTORCH
    assert found.sides.channels_last is kept


def test_a_mix_that_is_no_faster_as_a_whole_is_not_taken() -> None:
    class Slower(MadeClock):
        def wholes(self, candidates: Sequence[Sides]) -> Sequence[float]:
            return [5.0 if sides.moved == {3} else 4.0 for sides in candidates]

    found = choose(chain(), Slower({1: 1, 2: 1, 3: 9}, {1: 2, 2: 2, 3: 1}))
    assert found.taken == ENGINE
    assert found.wholes == {ENGINE: 4.0, PYTORCH: 4.0, MIXED: 5.0}


def test_a_mix_that_promises_little_is_not_tried() -> None:
    found = choose(chain(), MadeClock({1: 10, 2: 10, 3: 10}, {1: 19, 2: 19, 3: 9.5}))
    assert found.wholes == {ENGINE: 30, PYTORCH: 47.5}


def test_long_runs_are_timed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "NODE_SECONDS", 0.0)
    runs = []

    class Timed:
        def run(self, inputs: Sequence[torch.Tensor], times: list[tuple[Step, float]]) -> None:
            runs.append(len(inputs))
            times += [(Step("", "", out=1), 3.0 / len(runs)), (Step("", "", out=1), 1.0), (Step("", "unpack"), 1.0)]

    assert AssemblyClock(lambda _: Timed(), [torch.zeros(2, 3)]).nodes(Sides()) == {1: 2.5}  # type: ignore[arg-type,return-value]
    assert len(runs) == 2


def test_a_way_there_and_back_costs_more_than_a_moment() -> None:
    ways = CALL_MS + FLOAT_MS * 8 * 16
    own = {1: 1.0, 2: 1.0 + ways, 3: 1.0}
    assert cheapest(chain(), own, {1: 9.0, 2: 1.0, 3: 9.0}, {1, 2, 3}) == set()
    own[2] += 1.1 * ways
    assert cheapest(chain(), own, {1: 9.0, 2: 1.0, 3: 9.0}, {1, 2, 3}) == {2}


def taken_by(network: Network, own: Mapping[Value, float], theirs: Mapping[Value, float], moved: set[Value]) -> float:
    """What a choice takes, added up plainly."""
    there = moved | {node.out for node in network.nodes if isinstance(node, Input | Outside)}
    total = sum(theirs[value] if value in moved else own[value] for value in own)
    for node in network.nodes:
        readers = [reader.out in there for reader in network.nodes if node.out in reader.inputs]
        readers += [True for value, _ in network.outputs if value == node.out]
        if any(side != (node.out in there) for side in readers):
            total += CALL_MS + FLOAT_MS * 8 * 16
    return total


@pytest.mark.parametrize("seed", range(12))
def test_no_other_choice_is_cheaper(seed: int) -> None:
    """All of them are tried, on random networks."""
    drawn = random.Random(seed)
    network = Network([Input(0, (), "", 0)], dict.fromkeys(range(8), (8, 4, 4)), [(7, (1, 8, 4, 4))])
    for number in range(1, 8):
        inputs = drawn.randrange(number), drawn.randrange(number)
        network.nodes.append(Combine(number, inputs, "", "add"))
    own, theirs = ({number: round(drawn.uniform(0.0, 0.06), 3) for number in range(1, 8)} for _ in range(2))
    every = [set(some) for count in range(8) for some in combinations(range(1, 8), count)]
    least = min(taken_by(network, own, theirs, moved) for moved in every)
    found = set(cheapest(network, own, theirs, set(range(1, 8))))
    assert taken_by(network, own, theirs, found) == pytest.approx(least, abs=2e-3)


# --- the other side gives the same ------------------------------------------------------------------------------------


class Gated(nn.Module):
    """Parts of channels, products with one place, sums with two readers, concatenation, nearest upsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(4, 4, 1)
        self.norm, self.gate, self.last = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1), nn.Linear(8, 5)
        self.norm.running_mean = torch.randn(8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.hardswish(self.norm(self.one(x)))
        x = x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid()
        left, right = x.chunk(2, 1)
        x = torch.cat([self.other(left) + right, F.relu6(right)], 1)
        up = F.interpolate(x, scale_factor=2, mode="nearest")
        return self.last(F.silu(x).mean((2, 3))), self.norm(up)


class Pooled(nn.Module):
    """Windows that end outside, and paddings of one side."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (
            F.max_pool2d(x, 3, 2, 1),
            F.max_pool2d(x, 3, 2, ceil_mode=True),
            F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-torch.inf), 2, 1),
            F.max_pool2d(F.pad(x, (2, 0, 1, 0), value=-torch.inf), 3, 2),
            F.avg_pool2d(x, 3, 2, 1),
            F.avg_pool2d(x, 3, 1, 1, count_include_pad=False),
            F.adaptive_avg_pool2d(x, 1),
        )


class Rows(nn.Module):
    """A linear layer on rows, mostly zeros, between calls of PyTorch that change in place."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(6, 8)
        with torch.no_grad():
            self.line.weight[2:] = 0.0

    def forward(self, x: Tensor) -> Tensor:
        return self.line(F.layer_norm(x, (6,))).add_(1.0).softmax(-1)


class Activations(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        names = ("relu", "leaky_relu", "silu", "mish", "hardswish", "sigmoid", "tanh", "relu6", "hardsigmoid")
        functions: list[Callable[..., Tensor]] = [getattr(torch, name, None) or getattr(F, name) for name in names]
        return (*(apply(x) for apply in functions), *(apply(x + x) for apply in functions))


def convolutions() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 8, (3, 5), (2, 1), (1, 2)), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8),
        nn.LeakyReLU(0.2), nn.Conv2d(8, 12, 1, groups=2), nn.BatchNorm2d(12), nn.Conv2d(12, 4, 1), nn.Tanh(),
    )  # fmt: skip


MODELS: list[tuple[Callable[[], nn.Module], tuple[int, ...]]] = [
    (convolutions, (1, 3, 11, 14)),
    (Gated, (1, 3, 12, 10)),
    (Pooled, (1, 3, 11, 12)),
    (Rows, (1, 5, 6)),
    (Activations, (1, 2, 5, 7)),
    (lambda: nn.Sequential(nn.Flatten(), nn.Linear(24, 8), nn.ReLU(), nn.Linear(8, 3)), (1, 2, 3, 4)),
]


def moved_to(monkeypatch: pytest.MonkeyPatch, sides: Callable[[Network], Sides]) -> None:
    """What is compiled from here on is assembled so."""
    monkeypatch.setattr(
        deciding, "choose", lambda network, _: SidesChoice(sides(network), PYTORCH, {ENGINE: 2.0, PYTORCH: 1.0})
    )


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(("make", "shape"), MODELS, ids=lambda one: getattr(one, "__name__", ""))
def test_pytorch_gives_the_same(
    make: Callable[[], nn.Module],
    shape: tuple[int, ...],
    last: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    model = make().eval()
    picture = torch.randn(shape)
    moved_to(monkeypatch, lambda network: Sides(movable(network), last))
    ours = compile_model(model, picture, threads=1)
    assert ours.choice.sides.moved
    assert all(isinstance(part, CallsPart) for part in ours._assembly.parts)
    check(ours, model, picture)


def test_a_saved_network_is_assembled_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model, picture = Gated().eval(), torch.randn(1, 3, 12, 10)
    moved_to(monkeypatch, lambda network: Sides(movable(network), channels_last=True))
    folder = compile_model(model, picture, threads=1).save(tmp_path / "net")
    check(load(folder, threads=1), model, picture)
    moved_to(monkeypatch, lambda _: Sides())
    check(load(folder, threads=1), model, picture)


@pytest.mark.parametrize("seed", range(6))
def test_any_mix_gives_the_same(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = random.Random(seed)
    for make, shape in MODELS:
        torch.manual_seed(seed)
        moved_to(
            monkeypatch,
            lambda network: Sides(
                frozenset(one for one in sorted(movable(network)) if drawn.random() < 0.5), drawn.random() < 0.5
            ),
        )
        model, picture = make().eval(), torch.randn(shape)
        check(compile_model(model, picture, threads=1 + seed % 2), model, picture)


def check(ours: nn.Module, model: nn.Module, picture: Tensor) -> None:
    """One picture, three, and the first again: nothing is left over, and what was given is as before."""
    batch = torch.cat([picture, torch.randn(2, *picture.shape[1:])])
    given = batch.clone()
    for pictures in (batch[:1], batch, batch[:1]):
        with torch.no_grad():
            wanted = model(pictures)
        found = ours(pictures)
        pairs = zip(found, wanted, strict=True) if isinstance(wanted, tuple) else [(found, wanted)]
        for one, other in pairs:
            assert one.shape == other.shape
            assert torch.allclose(one, other, rtol=1e-5, atol=1e-5)
    assert torch.equal(batch, given)


def test_nothing_is_kept_that_nobody_reads() -> None:
    model, picture = convolutions().eval(), torch.randn(1, 3, 11, 14)
    network = lower(model, picture)
    assembly = Assembly(network, Sides(movable(network)), 1)
    values = {0: picture}
    assembly.parts[0].run(values, 1)
    assert set(values) == {network.outputs[0][0]}


def test_weights_are_not_kept_twice() -> None:
    """A program has its own copy of what is no zero: the matrices that it was made of are gone with the network."""
    network = lower(convolutions().eval(), torch.randn(1, 3, 11, 14))
    (part,) = Assembly(network, Sides(), 1).parts
    assert isinstance(part, ProgramPart)
    assert not any(isinstance(one, Network) for one in vars(part).values())


# --- remembering -----------------------------------------------------------------------------------------------------


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The real choice, by times that favour PyTorch in the second half; counts how often it is made."""
    made: list[str] = []

    class Clock(AssemblyClock):
        def nodes(self, sides: Sides) -> Mapping[Value, float]:
            first = {1: 1.0, 2: 1.0, 3: 9.0, 4: 9.0, 5: 9.0}
            made.append("nodes")
            return {value: 10.0 - time for value, time in first.items()} if sides.moved else first

        def wholes(self, candidates: Sequence[Sides]) -> Sequence[float]:
            return [12.5, 12.25, 7.75][: len(candidates)]

    monkeypatch.setenv("SAPWOOD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(deciding, "AssemblyClock", Clock)
    monkeypatch.setattr(deciding, "choose", choice.choose)
    monkeypatch.setattr(deciding, "keep", remembered.keep)
    monkeypatch.setattr(kept, "_warned", set())
    return made


def compiled(zeros: float = 0.0) -> Any:
    torch.manual_seed(0)
    convs = [nn.Conv2d(4, 4, 3, padding=1) for _ in range(3)]
    with torch.no_grad():
        for conv in convs:
            conv.weight[torch.rand(conv.weight.shape) < zeros] = 0.0
    return compile_model(nn.Sequential(*convs), torch.rand(1, 4, 6, 6), threads=1)


def test_a_choice_is_remembered(times: list[str]) -> None:
    first = compiled()
    assert (first.choice.taken, len(first.choice.sides.moved)) == (MIXED, 1)
    count = len(times)
    again = compiled()
    assert again.choice == first.choice
    assert len(times) == count
    compiled(zeros=0.6)  # other zeros are another network
    assert len(times) == 2 * count
    assert len(json.loads(remembered.choices_file().read_text())) == 2


@pytest.mark.parametrize("change", [
    {"taken": "nobody"}, {"taken": ENGINE}, {"taken": PYTORCH}, {"moved": [99]}, {"moved": [-1]}, {"moved": [0]},
    {"moved": [True]}, {"moved": 3}, {"channels_last": 1}, {"wholes": {"x": 1.0}}, {"wholes": {MIXED: "fast"}},
    {"wholes": {}}, {"nodes": [[1, 2.0]]}, {"nodes": [[1, -1.0, 2.0]]}, {"nodes": None}, None, [], 5,
], ids=str)  # fmt: skip
def test_what_cannot_be_is_decided_anew(change: Any, times: list[str]) -> None:
    first, file = compiled(), remembered.choices_file()
    ((key, stored),) = json.loads(file.read_text()).items()
    file.write_text(json.dumps({key: {**stored, **change} if isinstance(change, dict) else change}))
    count = len(times)
    assert compiled().choice == first.choice
    assert len(times) > count
    assert json.loads(file.read_text()) == {key: stored}


@pytest.mark.parametrize(("text", "fault"), [("{", "is not JSON"), ("[]", "is damaged; expected choices by network")])
def test_a_damaged_file_is_named_once(text: str, fault: str, times: list[str]) -> None:
    file = remembered.choices_file()
    file.parent.mkdir(parents=True)
    file.write_text(text)
    with pytest.warns(UserWarning, match=f"{fault}.*; what is needed is tried and remembered anew"):
        compiled()
    file.write_text(text)
    compiled()  # warnings are errors here: it is not said again


def test_explain_says_who_runs_what_and_why(times: list[str]) -> None:
    lines = compiled().explain().splitlines()
    assert lines[-3:] == [
        "the whole network: the engine 12.500 ms, PyTorch 12.250 ms, both in turns 7.750 ms; "
        "it is run by both in turns",
        "0 to 1: the engine 2.000 ms, PyTorch 18.000 ms; it is run by the engine",
        "2: the engine 9.000 ms, PyTorch 1.000 ms; it is run by PyTorch",
    ]
    assert any(line.split()[:3] == ["2", "convolution", "(PyTorch)"] for line in lines)


def test_without_tuning_the_engine_runs_what_it_can(times: list[str]) -> None:
    ours = compile_model(nn.Conv2d(4, 4, 3), torch.rand(1, 4, 6, 6), threads=1, tune=False)
    assert not times
    assert ours.explain().splitlines()[-1] == "PyTorch was not tried in place of the engine: not asked for"


class Words(nn.Module):
    """Fails for words of number 0."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.line = nn.Embedding(9, 4), nn.Conv2d(4, 4, 1)

    def forward(self, words: Tensor) -> Tensor:
        return self.line(self.table(words - 1).permute(0, 2, 1)[..., None])


def test_a_loaded_network_that_cannot_be_timed_runs_on_the_engine(times: list[str], tmp_path: Path) -> None:
    class Clock(AssemblyClock):
        """The real one."""

    deciding.AssemblyClock = Clock  # type: ignore[misc]  # the fixture puts it back
    words = torch.tensor([[1, 2, 3]])
    model = Words().eval()
    folder = compile_model(model, words, threads=1).save(tmp_path / "net")
    remembered.choices_file().unlink()
    loaded = load(folder, threads=1)
    assert loaded.choice.untried.startswith("the model fails on numbers that were drawn for it: index out of range")
    assert torch.allclose(loaded(words), model(words).detach(), atol=1e-6)


def test_the_real_clock_times_every_node() -> None:
    network = lower(convolutions().eval(), torch.randn(1, 3, 11, 14))
    watch = AssemblyClock(lambda sides: Assembly(network, sides, 1), [torch.randn(1, 3, 11, 14)])
    both = movable(network)
    for sides in (Sides(), Sides(both)):
        assert set(watch.nodes(sides)) == both
    assert watch.assembly(Sides()) is watch.assembly(Sides())
    assert len(watch.wholes([Sides(), Sides(both)])) == 2


def test_layers_are_timed_where_they_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `mask --latency` reads: the same layers, on whichever side."""
    model, picture = convolutions().eval(), torch.randn(2, 3, 11, 14)
    found = []
    for take in (lambda _: frozenset(), movable):
        moved_to(monkeypatch, lambda network, take=take: Sides(take(network)))
        times = EngineSession(model, picture, 1).layer_times(2)
        found.append({name for name, time in times.items() if name != RUNTIME and time > 0.0})
    assert {"0", "2", "4", "6"} <= found[0] == found[1]
